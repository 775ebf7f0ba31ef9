"""What Ray finds around it when a private one is started here: environment, token, folder; and what it leaves behind.

Ray reads its environment when it is imported and when it starts; nothing set here may reach a cluster job, where it
would keep nodes from joining. So everything is put back right after the start. Knows no Ray.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from harness.errors import ClusterError

LONGEST_ADDRESS = 80  # letters of it that are shown
PREFIX, LOCK = "ray-", "lock"
LONGEST_FOLDER = 45  # bytes; Ray appends 62 and a socket's path may have 107
ANYWHERE = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}  # workers run the interpreter that runs the driver
ATTACHED = {**ANYWHERE, "RAY_NUM_REDIS_GET_RETRIES": "2"}  # tries of 40 s each at a port where something else listens
EMBEDDED = {
    **ANYWHERE,
    "RAY_prestart_worker_first_driver": "0",  # one for each core: workers have an environment, and start anew for it
    "RAY_enable_worker_prestart": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # everything listens on loopback only, on Linux too
}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while. Afterwards all of Ray's, those that it set itself included, are as they were."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") or name in values]:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def own_signals() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM when it starts; the one that was there before comes back. What Ray's own one
    makes of a signal that came in between, an exit with its number, is the interrupt that ours makes of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if ended.code != signal.SIGTERM or not callable(before):
            raise
        before(signal.SIGTERM, None)
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


class RayFolder:
    """A short folder for Ray's sockets and logs that only this user can enter, with a token for Ray's processes.

    Its lock is held as long as this process lives, whatever ends it; folders whose lock is free are taken away first.
    """

    def __init__(self) -> None:
        usual = tempfile.gettempdir()
        fits = len(os.fsencode(usual)) + len("/ray-12345678/r") <= LONGEST_FOLDER
        place = Path(usual if fits else "/tmp")
        remove_abandoned(place)
        self._outer = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._lock = _locked(self._outer)
        self.path = self._outer / "r"  # Ray opens its own folder to everyone
        self.path.mkdir()
        token = self._outer / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        self.variables = {**EMBEDDED, "RAY_AUTH_TOKEN_PATH": str(token)}
        atexit.register(self.remove)  # runs after Ray's own end, which comes last when its start has failed

    def remove(self) -> None:
        """Take the folder away; processes that are just ending may still write into it."""
        shutil.rmtree(self._outer, ignore_errors=True)
        self._lock.close()


def remove_abandoned(place: Path) -> None:
    """Take away the folders in `place` that killed drivers of this user left; those of living ones are locked."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another start may be at it, or it is somebody else's
            lock = folder / LOCK
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open(os.open(lock, os.O_RDWR | os.O_NOFOLLOW), "rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> IO[bytes]:
    """A lock file in a folder that was never there without being locked; the processes that we start do not hold it."""
    fresh = folder / f"{LOCK}.new"
    lock = fresh.open("xb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    fresh.rename(folder / LOCK)
    return lock


def worker_environment(threads: int, folder: str | None, gpus: bool) -> dict[str, str]:
    """What worker processes are given: where our packages are, how many threads they may use, which GPUs they see."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    checkout = str(Path(__file__).resolve().parents[2])
    paths = [path for path in (checkout, folder, *known) if path]
    threading_variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    values = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **dict.fromkeys(threading_variables, str(threads))}
    return values if gpus else {**values, "CUDA_VISIBLE_DEVICES": ""}


def check_place(folder: Path) -> None:
    """ClusterError for a folder that Ray unpacked a job into: it goes with the session, and the results with it."""
    parts = folder.absolute().parts
    if any(part.startswith("session_") for part in parts) and "working_dir_files" in parts:
        raise ClusterError(
            f"--results {folder}: this is where Ray unpacked the job, and it goes with the session; name a folder that "
            "stays, such as --results /shared/runs"
        )


def check_reachable(address: str, seconds: float = 5.0) -> None:
    """ClusterError when nothing listens at `host:port` or `ray://host:port`; `auto` passes."""
    if address == "auto":
        return
    shown = address if len(address) <= LONGEST_ADDRESS else f"{address[:LONGEST_ADDRESS]}... ({len(address)} letters)"
    form = f"--address {shown}: write auto, HOST:PORT (as in `ray start`) or ray://HOST:PORT"
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ClusterError(form) from None
    if parts.scheme not in ("", "ray") or not host or not port:
        raise ClusterError(form)
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except (OSError, ValueError) as error:  # ValueError: a name that no machine can have
        cure = "start one with `ray start --head`, or leave the address out"
        raise ClusterError(f"No Ray cluster answers at {shown} ({error}); {cure}.") from None
