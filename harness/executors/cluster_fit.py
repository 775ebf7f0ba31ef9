"""A fit to do flows in; it is done by Ray Train, on one or several GPUs or CPUs; the only other file that imports Ray.

Every worker runs the code that a single process runs: Ray Train only joins them by torch.distributed. The artefact's
folder is written by the first of them, so on several machines it must lie on a file system that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import ClusterError
from harness.executors.placement import Node, Place, joined
from harness.learning import fitting
from harness.learning.fitting import FitJob

RETRIES = 2  # after a worker was lost; the fit goes on from its last checkpoint


def fit_on_ray(job: FitJob, nodes: Sequence[Node], place: Place, at_most: int | None, threads: int | None) -> None:
    """Fit with as many workers as there is room and use for. nodes, place, threads: see placement.joined."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    most = fitting.most_workers(job) or 1
    workers, place = joined(nodes, place, min(at_most or most, most), threads)
    share = {"GPU": place.gpus} if place.gpus else {"CPU": place.cpus}
    trainer = TorchTrainer(
        work,
        train_loop_config={"job": job, "threads": place.threads},
        torch_config=TorchConfig(backend="nccl" if place.gpus >= 1 else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=place.gpus > 0, resources_per_worker=share),
        run_config=RunConfig(
            name=job.artefact_id, storage_path=f"{job.folder}/unfinished/ray",
            failure_config=FailureConfig(max_failures=RETRIES),
        ),
    )  # fmt: skip
    try:
        trainer.fit()
    except Exception as error:
        raise ClusterError(f"The fit {job.artefact_id} failed: {_cause(error)}") from error


def work(given: dict[str, Any]) -> None:
    """What one worker does; Ray Train has joined it with the others."""
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
