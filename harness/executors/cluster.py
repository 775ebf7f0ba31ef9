"""Shards -> BatchDone on Ray, embedded or a running cluster; Ray's errors end here.

Beside it: ray_pool and seat (calls of actors, and what they do), ray_errors, cluster_fit, cluster_reach.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Literal, Self, cast

from harness.contracts import BatchDone, Recipe, Shard
from harness.errors import ClusterError, HarnessError
from harness.executors import cluster_reach, placement
from harness.executors.cluster_metrics import Meters
from harness.executors.placement import Place
from harness.executors.ray_errors import classify, is_ray_error
from harness.executors.ray_pool import RayPool
from harness.executors.scheduler import Scheduler
from harness.foreign import interrupts
from harness.learning import fitting
from harness.learning.fitting import Ended, FitJob, Sharing


class RayExecutor:
    """Runs shards on Ray actors; starts, or reaches, Ray when the first shards come.

    workers: how many at most, or "auto". address: None for a private Ray on this machine, or that of a running cluster.
    threads: per worker (None: the machine's CPUs shared out). gpus_per_worker: share of a GPU (0: CPUs only).
    gpu: the kind of GPU that workers ask for, by the label of a node.
    stall_seconds: silence after which a worker counts as hung. ready_seconds: how long one may take to start.
    """

    def __init__(
        self,
        worker: Recipe,
        *,
        workers: int | Literal["auto"] = "auto",
        address: str | None = None,
        threads: int | None = None,
        gpus_per_worker: float = 1.0,
        gpu: str | None = None,
        stall_seconds: float | None = None,
        ready_seconds: float = 600.0,
        on_event: Callable[[dict[str, object]], None] = lambda event: None,
    ) -> None:
        self._recipe, self._address, self._tell = worker, address, on_event
        self._workers = None if workers == "auto" else workers
        self._threads, self._gpus, self._gpu = threads, gpus_per_worker, gpu
        self._stall_seconds, self._ready_seconds = stall_seconds, ready_seconds
        self._connection: cluster_reach.Connection | None = None
        self._pool: RayPool | None = None
        self._scheduler: Scheduler | None = None
        self._meters: Meters | None = None

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        if not shards:
            return
        try:
            scheduler = self._scheduler or self._start()
            yield from self._measured(scheduler.run(shards), shards)
        except HarnessError:
            raise
        except Exception as error:
            if not is_ray_error(error):
                raise
            raise ClusterError(f"Ray cannot go on: {classify(error)[1]}") from error

    def _measured(self, results: Iterator[BatchDone], shards: Sequence[Shard]) -> Iterator[BatchDone]:
        """Results as they come, counted for Ray's exporter."""
        assert self._meters is not None
        self._meters.begin(shards)
        with closing(cast("Generator[BatchDone]", results)):  # what is abandoned ends at once
            for done in results:
                self._meters.did(done)
                yield done

    def _note(self, event: dict[str, object]) -> None:
        if self._meters is not None:
            self._meters.note(event)
        self._tell(event)

    def fit(self, jobs: Sequence[FitJob], begin: Callable[[FitJob], None]) -> Iterator[Ended]:
        shared: dict[str, Sharing] = {}
        for job in jobs:
            try:
                sharing = fitting.sharing(job)
            except Exception as error:
                yield job, error
                continue
            if sharing is None:
                yield from fitting.one_by_one([job], begin)
            else:
                shared[job.artefact_id] = sharing
        if shared:
            yield from self._fit_on_ray([job for job in jobs if job.artefact_id in shared], shared, begin)

    def _fit_on_ray(
        self, jobs: Sequence[FitJob], shared: Mapping[str, Sharing], begin: Callable[[FitJob], None]
    ) -> Iterator[Ended]:
        from harness.executors import cluster_fit

        self._let_go()  # fits take the place of the workers
        try:
            place = self._connected()
        except ClusterError as error:
            yield from ((job, error) for job in jobs)
            return
        import ray

        # Of others' Ray nothing is known.
        look = partial(cluster_reach.check_alive, ray) if self._address is None else lambda: None
        room = cluster_fit.FittingRoom(cluster_reach.alive(ray), place, self._workers, self._threads, look)
        yield from cluster_fit.fit_on_ray(jobs, shared, room, begin)

    def close(self) -> None:
        self._let_go()
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _let_go(self) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._meters is not None:
            self._meters.end()
        self._pool = self._scheduler = self._meters = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self) -> Scheduler:
        place = self._connected()
        self._pool = RayPool(self._recipe, place, self._workers, self._address is None, gpu=self._gpu)
        self._tell({"event": "workers", "at_most": self._pool.capacity(), "threads": place.threads, "gpus": place.gpus})
        self._meters = Meters()
        self._scheduler = Scheduler(
            self._pool, stall_seconds=self._stall_seconds, ready_seconds=self._ready_seconds, on_event=self._note,
            closing=interrupts.closing,
        )  # fmt: skip
        return self._scheduler

    def _connected(self) -> Place:
        """Reach Ray, if that is still to be done; what one worker takes."""
        self._connection = self._connection or cluster_reach.connect(self._address)
        import ray

        return placement.choose_place(cluster_reach.some_with(ray, self._gpu), self._workers, self._threads, self._gpus)
