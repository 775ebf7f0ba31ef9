"""The address of a Ray flows in; one that was started, reached or found flows out, with what its nodes have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from harness.errors import ClusterError, nearest
from harness.executors import ray_surroundings as surroundings
from harness.executors.unanswered import in_time

STORE_BYTES = 128 * 2**20  # only rows travel
CARD = "ray.io/accelerator-type"  # a node's label that names its kind of GPU
CENTRAL = ("raylet", "gcs_server")  # processes without which a private Ray is none


class Connection:
    """A Ray that was started, reached or found; closing ends what was started, and leaves the rest as it was."""

    def __init__(self, folder: surroundings.RayFolder | None = None, found: bool = False) -> None:
        self._folder, self._found = folder, found

    def close(self) -> None:
        if self._found:
            return
        import ray

        in_time(ray.shutdown)
        if self._folder is not None:
            _forget_token()
            self._folder.remove()


def _forget_token() -> None:
    """Ray remembers in this process that its servers ask for a token, and which: the next Ray's centre, if it has
    none, could not ask this driver whether an actor is still wanted, and would end it."""
    import ray

    with suppress(AttributeError):  # no public call does it
        ray._raylet.Config.initialize("")  # first: a thread that is just ending may look for the token while it is due
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def connect(address: str | None) -> Connection:
    """A private Ray on loopback (None), or a running cluster; ClusterError when there is none to be had."""
    if address is not None:
        surroundings.check_reachable(address)
    folder = surroundings.RayFolder() if address is None else None
    variables = surroundings.ATTACHED if folder is None else folder.variables
    with surroundings.environment(variables), surroundings.own_signals():
        import ray

        if ray.is_initialized():
            if folder:
                folder.remove()
            return Connection(found=True)
        try:
            _init(ray, address, folder)
        except BaseException as error:
            ray.shutdown()
            if folder:
                folder.remove()
            if not isinstance(error, Exception):
                raise
            where = "Ray does not start on this machine" if address is None else f"No Ray cluster answers at {address}"
            cure = "use --local" if address is None else "start one with `ray start --head`, or leave the address out"
            raise ClusterError(f"{where} ({first_line(error)}); {cure}.") from error
    return Connection(folder)


def _init(ray: Any, address: str | None, folder: surroundings.RayFolder | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    _mute(ray)
    if folder is None:
        ray.init(address=address, **quiet)
        return
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False  # in case Ray was imported before its environment was set
    own = {"include_dashboard": False, "object_store_memory": STORE_BYTES, "_temp_dir": str(folder.path)}
    with _without_idlers(ray):
        try:
            ray.init(address="local", **own, **quiet)
        except Exception:  # side processes have a fixed time to start, too short on a busy machine
            ray.shutdown()
            ray.init(address="local", **own, **quiet)


@contextmanager
def _without_idlers(ray: Any) -> Iterator[None]:
    """Meanwhile a start of Ray leaves out what scales a cluster, of which this is none, and what carries the workers'
    output to a driver, which asks for none. No public setting does it."""
    kind = getattr(getattr(ray._private, "node", None), "Node", None)
    held = {name: getattr(kind, name) for name in ("start_monitor", "start_log_monitor") if hasattr(kind, name)}
    for name in held:
        setattr(kind, name, lambda self: None)
    try:
        yield
    finally:
        for name, start in held.items():
            setattr(kind, name, start)


def _mute(ray: Any) -> None:
    """Ray prints long blocks about every lost worker, whatever its log level; events say it in one line."""
    with suppress(AttributeError):
        ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None


def check_alive(ray: Any) -> None:
    """ClusterError when a central process of a private Ray has ended: it does not come back, and nothing else would
    tell before Ray's own patience ends."""
    with suppress(AttributeError):  # no public call says so
        for name, process in ray._private.worker._global_node.dead_processes():
            if name in CENTRAL:
                raise ClusterError(
                    f"The private Ray on this machine has died (its process {name} ended with code "
                    f"{process.returncode}; out of memory?); what is done is kept, the same command goes on from there."
                )


def alive(ray: Any, avoided: Collection[str] = (), gpu: str | None = None) -> list[dict[str, float]]:
    """The resources of every node that is alive, not avoided, and has GPUs of a kind, if one is asked for."""
    there = [node for node in ray.nodes() if node["Alive"] and node.get("NodeID") not in avoided]
    return [node["Resources"] for node in there if gpu in (None, node.get("Labels", {}).get(CARD))]


def some_with(ray: Any, gpu: str | None) -> list[dict[str, float]]:
    """The same; ClusterError where a kind of GPU is asked for, and no node has it."""
    nodes = alive(ray, gpu=gpu)
    if gpu is not None and not nodes:
        kinds = sorted({kind for node in ray.nodes() if (kind := node.get("Labels", {}).get(CARD))})
        raise ClusterError(
            f"The grid asks for workers on GPUs of the kind {gpu!r} (`cluster: {{gpu: ...}}`), and its nodes "
            f"have {', '.join(kinds) or 'none that it knows a kind of'}{nearest(gpu, kinds)}."
        )
    return nodes


def first_line(error: BaseException) -> str:
    """What a long message says about the cause, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    detail = re.search(r"Worker exit detail: (.*?)(?: Some common causes|$)", text)
    return (detail[1] if detail else text)[:300].rstrip(". ")
