"""Shards -> BatchDone on Ray, embedded or a running cluster; Ray's errors end here. Beside: cluster_fit, cluster_reach.

Every batch of a lease is one call of an actor, a few of them sent ahead: what a call has returned stays readable when
the actor dies during the next one, and a lease can be cut without asking. Ray itself never tries anything again.
"""

from __future__ import annotations

import os
import pickle
import resource
import socket
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self, cast

from harness.contracts import BatchDone, Recipe, Shard
from harness.errors import ClusterError, HarnessError
from harness.executors import carried, cluster_reach, placement
from harness.executors import ray_surroundings as surroundings
from harness.executors.cluster_metrics import Meters
from harness.executors.placement import Place
from harness.executors.pool import Event, Finished, Lost, Message, Ready
from harness.executors.scheduler import Scheduler
from harness.executors.seam import Worker, open_worker, steadily
from harness.executors.unanswered import Question
from harness.foreign import interrupts
from harness.learning import fitting
from harness.learning.fitting import Ended, FitJob, Sharing

SMALL_BYTES = 2**16  # of a message; Ray takes 100 KiB to be small
LOOK_SECONDS = 5.0  # between looks at the size of the cluster
GET_SECONDS = 60.0  # for what Ray says is there
# After such an error every later call on this card fails too, in this process; which image it was is not known.
RUINED = (
    "device-side assert", "illegal memory access", "illegal instruction", "misaligned address",
    "invalid program counter", "hardware stack error", "unspecified launch failure", "launch timed out",
    "uncorrectable ECC error",
)  # fmt: skip


class Seat:
    """The actor: one worker, and the lease that it is at."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._batches: Iterator[BatchDone] = iter(())

    def ready(self, recipe: Recipe, plug_ins: Mapping[str, bytes]) -> dict[str, object]:
        """Open the worker, with the plug-ins that its machine lacks; says where it is."""
        import ray

        carried.bring_missing(recipe.as_dict().get("folder"), plug_ins)
        self._worker = open_worker(recipe)
        context = ray.get_runtime_context()
        here = {"pid": os.getpid(), "host": socket.gethostname(), "node": context.get_node_id()}
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        card = context.get_node_labels().get(cluster_reach.CARD, "") if gpu else ""
        return {**here, "gpu": gpu, **({"card": card} if card else {})}

    def step(self, shard: Shard | None) -> bytes:
        """The next batch of the lease, which a shard opens, packed."""
        if shard is not None and self._worker is not None:
            self._batches = steadily(self._worker, shard)
        return packed(replace(next(self._batches), memory=_most_memory()))

    def end(self) -> None:
        """The lease is over; what the worker had read ahead is let go."""
        self._batches = iter(())


def _most_memory() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def packed(done: BatchDone) -> bytes:
    """A batch as it travels: small messages do not need the object store, so that larger ones are made small."""
    content = pickle.dumps(done, protocol=5)
    return content if len(content) <= SMALL_BYTES else zlib.compress(content, 1)


def unpacked(message: bytes) -> BatchDone:
    """The batch of a message of our own worker."""
    done = pickle.loads(message if message.startswith(pickle.PROTO) else zlib.decompress(message))
    assert isinstance(done, BatchDone)
    return done


@dataclass
class _Desk:
    """What the driver knows of one actor: its open calls in order, and how far its lease has been asked for."""

    actor: Any
    calls: deque[Any] = field(default_factory=deque)
    ready: bool = False
    lease: int = 0
    keep: int = 0
    asked: int = 0
    ahead: int = 1

    def ask(self, shard: Shard | None = None) -> None:
        """Keep some calls ahead of the worker."""
        while self.asked < self.keep and len(self.calls) < self.ahead:
            self.calls.append(self.actor.step.remote(shard))
            shard, self.asked = None, self.asked + 1


def _library() -> Any:
    """Ray, imported where it is used."""
    import ray
    import ray.exceptions

    return ray


class RayPool:
    """Actors as a pool of workers; see scheduler.Pool. limit: the most workers at once (None: as many as fit).

    private: whether the Ray is our own, so that it ends for good with its only node. library, clock: in place of
    Ray and of `time`, where time is virtual. gpu: the kind that workers ask for.
    """

    def __init__(
        self,
        worker: Recipe,
        place: Place,
        limit: int | None,
        private: bool = False,
        library: Any = None,
        clock: Any = time,
        gpu: str | None = None,
    ) -> None:
        self._ray, self._place, self._limit, self._clock = library or _library(), place, limit, clock
        settings = worker.as_dict()
        self._worker = Recipe.of(worker.use, **{"threads": place.threads, **settings})
        variables = surroundings.worker_environment(place.threads, settings.get("folder"), gpus=place.gpus > 0)
        self._options = {
            "num_cpus": place.cpus, "num_gpus": place.gpus, "max_restarts": 0, "max_task_retries": 0,
            "runtime_env": {"env_vars": variables},
        }  # fmt: skip
        self._avoided: list[str] = []
        self._gpu, self._seat = gpu, self._ray.remote(Seat).options(**self._options)
        if gpu is not None:
            self._choose()
        folder = None if private else settings.get("folder")  # on this machine they are there
        self._plug_ins = carried.plug_ins_of(folder)
        self._desks: dict[int, _Desk] = {}
        self._fronts: dict[Any, int] = {}  # the open call that every actor is at, and its number
        self._numbers = count(1)
        self._looked, self._slots = float("-inf"), 0
        self._private = private
        self._nodes = self._alive if private or clock is not time else Question(self._alive).latest

    def capacity(self) -> int:
        if self._private:
            cluster_reach.check_alive(self._ray)
        if self._clock.monotonic() - self._looked > LOOK_SECONDS:
            self._slots, self._looked = self._place.slots(self._nodes()), self._clock.monotonic()
        return self._slots if self._limit is None else min(self._limit, self._slots)

    def _alive(self) -> list[dict[str, float]]:
        return cluster_reach.alive(self._ray, self._avoided, self._gpu)

    def spawn(self) -> int:
        number = next(self._numbers)
        actor = self._seat.remote()
        self._desks[number] = _Desk(actor, deque([actor.ready.remote(self._worker, self._plug_ins)]))
        self._look_at(number)
        return number

    def lease(self, worker: int, lease: int, shard: Shard) -> None:
        desk = self._desks[worker]
        desk.lease, desk.keep, desk.asked = lease, len(shard.batches), 0
        desk.ask(shard)
        self._look_at(worker)

    def cut(self, worker: int, lease: int, keep: int) -> int:
        desk = self._desks[worker]
        if lease == desk.lease:
            desk.keep = min(desk.keep, max(keep, desk.asked))
        return desk.keep

    def ahead(self, worker: int, batches: int) -> None:
        desk = self._desks[worker]
        desk.ahead = batches
        if desk.calls:
            desk.ask()

    def poll(self, timeout: float) -> Sequence[Event]:
        fronts = list(self._fronts)
        if not fronts:
            self._clock.sleep(min(timeout, 0.1))
            return []
        self._ray.wait(fronts, num_returns=1, timeout=timeout)
        done, _ = self._ray.wait(fronts, num_returns=len(fronts), timeout=0)
        return [event for call in done for event in self._events(self._fronts.pop(call), call)]

    def avoid(self, node: str) -> None:
        self._avoided.append(node)
        self._choose()
        self._looked = float("-inf")

    def _choose(self) -> None:
        """From now on workers start on nodes alone that are not avoided, and have the kind of GPU that is asked for."""
        labels = {"ray.io/node-id": f"!in({','.join(self._avoided)})"} if self._avoided else {}
        labels |= {} if self._gpu is None else {cluster_reach.CARD: self._gpu}
        self._seat = self._ray.remote(Seat).options(**self._options, label_selector=labels)

    def kill(self, worker: int) -> None:
        desk = self._desks.pop(worker, None)
        if desk is not None:
            if desk.calls:
                self._fronts.pop(desk.calls[0], None)
            with suppress(Exception):  # it may be gone already, in many ways
                self._ray.kill(desk.actor, no_restart=True)

    def close(self) -> None:
        """End all workers."""
        for number in list(self._desks):
            self.kill(number)

    def _events(self, number: int, call: object) -> list[Event]:
        """What a call tells that has come back."""
        desk = self._desks[number]
        try:
            value = self._ray.get(call, timeout=GET_SECONDS)
        except Exception as error:
            desk.calls.clear()
            return [self._loss(number, desk, error)]
        desk.calls.popleft()
        said = self._said(number, desk, value)
        self._look_at(number)
        return said

    def _look_at(self, number: int) -> None:
        """Wait for what an actor is at."""
        if calls := self._desks[number].calls:
            self._fronts[calls[0]] = number

    def _said(self, number: int, desk: _Desk, value: Any) -> list[Event]:
        if not desk.ready:
            desk.ready = True
            return [Ready(number, value)]
        done = unpacked(value)
        if ruined := [error for error in done.rows.errors.values() if any(words in error for words in RUINED)]:
            return [Lost(number, "ruined", ruined[0])]
        desk.ask()
        message = Message(number, desk.lease, done)
        if desk.calls:
            return [message]
        desk.actor.end.remote()  # nobody waits for it
        return [message, Finished(number, desk.lease)]

    def _loss(self, number: int, desk: _Desk, error: Exception) -> Lost:
        kind, reason = classify(error, self._ray.exceptions)
        if kind == "fatal":
            raise ClusterError(f"Ray cannot go on: {reason}") from error
        return Lost(number, "init" if kind == "error" and not desk.ready else kind, reason)


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


def is_ray_error(error: Exception) -> bool:
    """Whether Ray, or the connection to it, raised this."""
    from ray.exceptions import RayError

    return isinstance(error, RayError | ConnectionError)


def classify(error: Exception, rays: Any = None) -> tuple[str, str]:
    """What a loss means to the scheduler, and one line that says why. Most of Ray's errors are no RayActorError.

    rays: its errors.
    """
    rays = rays or _library().exceptions
    if isinstance(error, rays.RayTaskError):  # also an instance of what was raised, so it has to be asked for first
        cause = error.cause if isinstance(error.cause, Exception) else error
        return "error", str(cause) if isinstance(cause, HarnessError) else f"{type(cause).__name__}: {cause}"
    if isinstance(error, rays.ActorDiedError) and error.preempted:
        return "preempted", cluster_reach.first_line(error)
    if isinstance(error, rays.ActorDiedError) and "node has died" in str(error):
        return "node", cluster_reach.first_line(error)
    kinds: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("fatal", ("LocalRayletDiedError", "AuthenticationError", "OutOfDiskError", "ObjectStoreFullError")),
        ("oom", ("OutOfMemoryError",)),
        ("node", ("NodeDiedError",)),
        ("died", ("ActorDiedError", "WorkerCrashedError")),
        ("timeout", ("GetTimeoutError",)),
        ("unavailable", ("ActorUnavailableError", "ObjectLostError", "RaySystemError", "TaskCancelledError")),
        ("init", ("RuntimeEnvSetupError", "ActorUnschedulableError", "ActorPlacementGroupRemoved")),
    )
    for kind, names in kinds:
        if isinstance(error, tuple([getattr(rays, name) for name in names if hasattr(rays, name)])):
            return kind, cluster_reach.first_line(error)
    return "fatal", f"{type(error).__name__}: {cluster_reach.first_line(error)}"
