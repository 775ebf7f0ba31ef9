"""Fits to do flow in, are done on Ray, on GPUs or CPUs, and flow out as they end; beside cluster, where Ray is spoken.

Every worker runs the code that a single process runs: Ray Train joins several by torch.distributed. One alone needs no
joining and is a plain task: Ray Train's controller and watchers are six processes more, each dearer than a small fit.
The artefact's folder is written by the first, so on several machines it must lie on a file system that they share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.errors import ClusterError
from harness.executors.placement import Node, Place, joined
from harness.executors.ray_surroundings import environment
from harness.learning import fitting
from harness.learning.fitting import Ended, FitJob, Sharing

RETRIES = 2  # after a worker was lost; the fit goes on from its last checkpoint
LOOK_SECONDS = 1.0
LOST = ("RayError", "RayTrainError", "DistError")  # classes of errors that tell of lost workers
RAISED = ("RayTaskError", "UserExceptionWithTraceback")  # those among them that carry what the learner raised
NO_WATCHER = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}  # a process for news that no learner hears
LINES_CUT = ("connection closed by peer", "connection reset by peer", "gloo", "nccl")  # of who waited for a lost one


@dataclass(frozen=True)
class FittingRoom:
    """What there is to fit on. nodes, place, threads: see placement.joined. at_most: workers that were asked for.

    look: raises when this Ray has ended for good; asked every second while single workers fit.
    """

    nodes: Sequence[Node]
    place: Place
    at_most: int | None
    threads: int | None
    look: Callable[[], None]

    def shared_by(self, most: int) -> tuple[int, Place]:
        """How many workers there are for what at most `most` can share, and what each takes."""
        return joined(self.nodes, self.place, min(self.at_most or most, most), self.threads)

    def for_one(self, sharing: Sharing) -> tuple[int, Place]:
        """The same for one fit: on GPUs, all those of the node that has most; two that share a GPU gain nothing."""
        if self.place.gpus < 1:
            return self.shared_by(sharing.cpus)
        return self.shared_by(min(sharing.gpus, max(self.place.slots_of(node) for node in self.nodes)))

    def full(self, fits: int) -> bool:
        """Whether so many fits keep all GPUs busy with one each, which costs less than to share every fit."""
        slots = self.place.slots(self.nodes)
        return self.place.gpus > 0 and fits >= min(self.at_most or slots, slots)


def fit_on_ray(
    jobs: Sequence[FitJob], sharing: Mapping[str, Sharing], room: FittingRoom, begin: Callable[[FitJob], None]
) -> Iterator[Ended]:
    """Do fits: those of one worker side by side, as far as there is room; then, one by one, those that several share.

    sharing: by artefact, how many workers can share its fit. begin: told of each that starts.
    """
    if room.full(len(jobs)):
        yield from fit_alone(jobs, room, begin)
        return
    places = [room.for_one(sharing[job.artefact_id]) for job in jobs]
    if alone := [job for job, (workers, _) in zip(jobs, places, strict=True) if workers == 1]:
        yield from fit_alone(alone, room, begin)
    for job, (workers, place) in zip(jobs, places, strict=True):
        if workers > 1:
            begin(job)
            yield job, fitting.failure_of(partial(_fit_together, job, workers, place))


def fit_alone(jobs: Sequence[FitJob], room: FittingRoom, begin: Callable[[FitJob], None]) -> Iterator[Ended]:
    """Every fit in a process of its own, which ends with the fit: a learner may leave there what it likes."""
    import ray

    workers, place = room.shared_by(len(jobs))
    task = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus, max_calls=1, max_retries=0)(work)
    waiting, tries, running = deque(jobs), Counter[str](), dict[Any, FitJob]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                begin(waiting[0])
                job = waiting.popleft()
                running[task.remote({"job": job, "threads": place.threads})] = job
            for call in _ended(ray, list(running), room.look):
                job, error = running.pop(call), fitting.failure_of(partial(ray.get, call))
                tries[job.artefact_id] += 1
                if error is not None and lost(error) and tries[job.artefact_id] <= RETRIES:
                    running[task.remote({"job": job, "threads": place.threads})] = job
                else:
                    yield job, _told(job, error)
    except ClusterError as error:  # nothing more is to be had of this Ray
        yield from ((job, error) for job in (*running.values(), *waiting))
        running.clear()
    finally:
        for call in running:
            with suppress(Exception):  # it may have ended, or Ray with it
                ray.cancel(call, force=True)


def _ended(ray: Any, calls: list[Any], look: Callable[[], None]) -> list[Any]:
    """Those calls that ended within a second or so; ClusterError when Ray has."""
    try:
        ended: list[Any] = ray.wait(calls, num_returns=1, timeout=LOOK_SECONDS)[0]
    except Exception as error:
        look()
        raise ClusterError(f"Ray cannot go on: {_cause(error)}") from error
    if not ended:
        look()
    return ended


def _fit_together(job: FitJob, workers: int, place: Place) -> None:
    """A fit that Ray Train shares out; ClusterError with its reason."""
    for attempt in range(RETRIES + 1):
        try:
            with environment(NO_WATCHER):
                _trainer(job, workers, place, attempt).fit()
            return
        except Exception as error:
            if attempt == RETRIES or not lost(error):
                raise ClusterError(f"The fit {job.artefact_id} failed: {_cause(error)}") from error


def _told(job: FitJob, error: Exception | None) -> ClusterError | None:
    return None if error is None else ClusterError(f"The fit {job.artefact_id} failed: {_cause(error)}")


def _trainer(job: FitJob, workers: int, place: Place, attempt: int) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    share = {"GPU": place.gpus} if place.gpus else {"CPU": place.cpus}
    return TorchTrainer(
        work,
        train_loop_config={"job": job, "threads": place.threads},
        torch_config=TorchConfig(backend="nccl" if place.gpus >= 1 else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=place.gpus > 0, resources_per_worker=share),
        run_config=RunConfig(
            name=f"{job.artefact_id}-{attempt}", storage_path=f"{job.folder}/unfinished/ray",
            failure_config=FailureConfig(max_failures=0),
        ),
    )  # fmt: skip


def lost(error: Exception) -> bool:
    """Whether a worker died, or waited for one that had; what a learner raises would be raised again."""
    failures = list((getattr(error, "worker_failures", None) or {}).values()) or [error]
    return any(_of_a_loss(failure) for failure in failures)


def _of_a_loss(failure: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(failure).__mro__}
    said = str(failure).lower()
    foreign = kinds.isdisjoint(LOST) or not kinds.isdisjoint(RAISED)
    return not foreign or any(words in said for words in LINES_CUT)


def work(given: dict[str, Any]) -> None:
    """What one worker does; Ray Train has joined it with the others, if there are any."""
    import torch
    import torch.distributed as workers

    torch.set_num_threads(given["threads"])
    together = workers.is_initialized()
    fitting.fit(given["job"], first=not together or workers.get_rank() == 0)


def _cause(error: Exception) -> str:
    """The last line that says something, of errors that wrap errors."""
    failures = getattr(error, "worker_failures", None) or {}
    inner: BaseException = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return (lines[-1] if lines else type(inner).__name__)[:400]
