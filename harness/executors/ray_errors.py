"""Errors of Ray flow in; what they mean to whoever hands out work, and a line that says why, flow out."""

from __future__ import annotations

from typing import Any

from harness.errors import HarnessError
from harness.executors import cluster_reach


def imported_ray() -> Any:
    """Ray, imported where it is used."""
    import ray
    import ray.exceptions

    return ray


def is_ray_error(error: Exception) -> bool:
    """Whether Ray, or the connection to it, raised this."""
    from ray.exceptions import RayError

    return isinstance(error, RayError | ConnectionError)


def classify(error: Exception, rays: Any = None) -> tuple[str, str]:
    """What a loss means to the scheduler, and one line that says why. Most of Ray's errors are no RayActorError.

    rays: its errors.
    """
    rays = rays or imported_ray().exceptions
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
