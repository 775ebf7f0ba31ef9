"""A fit to do flows in; it is done on Ray, on one or several GPUs or CPUs; the only other file that imports Ray.

Every worker runs the code that a single process runs: Ray Train joins several by torch.distributed. One alone needs no
joining and is a plain task: Ray Train's controller and watchers are six processes more, each dearer than a small fit.
The artefact's folder is written by the first, so on several machines it must lie on a file system that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.errors import ClusterError
from harness.executors.placement import Node, Place, joined
from harness.learning import fitting
from harness.learning.fitting import FitJob

RETRIES = 2  # after a worker was lost; the fit goes on from its last checkpoint
LOOK_SECONDS = 1.0
LOST = ("RayError", "RayTrainError", "DistError")  # classes of errors that tell of lost workers
RAISED = ("RayTaskError", "UserExceptionWithTraceback")  # those among them that carry what the learner raised
LINES_CUT = ("connection closed by peer", "connection reset by peer", "gloo", "nccl")  # of who waited for a lost one


def fit_on_ray(
    job: FitJob, nodes: Sequence[Node], place: Place, at_most: int | None, threads: int | None, look: Callable[[], None]
) -> None:
    """Fit with as many workers as there is room and use for. nodes, place, threads: see placement.joined.

    look: raises when this Ray has ended for good; asked every second while one worker fits alone.
    """
    most = fitting.most_workers(job) or 1
    workers, place = joined(nodes, place, min(at_most or most, most), threads)
    for attempt in range(RETRIES + 1):
        try:
            if workers == 1:
                fit_alone(job, place, look)
            else:
                _trainer(job, workers, place, attempt).fit()
            return
        except ClusterError:
            raise
        except Exception as error:
            if attempt == RETRIES or not lost(error):
                raise ClusterError(f"The fit {job.artefact_id} failed: {_cause(error)}") from error


def fit_alone(job: FitJob, place: Place, look: Callable[[], None]) -> None:
    """Fit in a process of its own, which ends with the fit: a learner may leave there what it likes."""
    import ray

    task = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus, max_calls=1, max_retries=0)(work)
    done = task.remote({"job": job, "threads": place.threads})
    while not ray.wait([done], timeout=LOOK_SECONDS)[0]:
        look()
    ray.get(done)


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
