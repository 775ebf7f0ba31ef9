"""A folder goes in; out comes the right to be its only writer, held by a file `LOCK` that names host and process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from results.folder.durable import read_whole

LOCK = "LOCK"
_PIDS = 2**31  # no process has a number so high
_CURE = "delete it if you are sure that nobody writes to this folder"


def acquire(folder: Path) -> None:
    """Take the folder's lock; a lock of a dead process of this host is taken over. StoreError when a writer lives."""
    path = folder / LOCK
    with _guard(folder):
        owner = _owner(path)
        if owner is not None:
            if not _is_stale(owner):
                raise StoreError(_refusal(path, owner))
            path.unlink()
        try:
            _create(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"{path} cannot be made ({reason}); name a folder that can be written to") from None


def _create(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(myself(), file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def release(folder: Path) -> None:
    """Give the lock back, if it is still ours."""
    path = folder / LOCK
    with _guard(folder):
        if _owner(path) == myself():
            path.unlink()


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Only one process of this host at a time looks at LOCK, so that two cannot take over one stale lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be opened to write results ({error.strerror}); name another folder"
        ) from None
    try:
        # A file system without flock still has O_EXCL, which alone keeps out a second writer.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def myself() -> dict[str, object]:
    """This process, so that others can tell whether it lives."""
    here = {"host": socket.gethostname(), "namespace": _namespace()}
    return {**here, "pid": os.getpid(), "started": _started(os.getpid())}


def _owner(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None without one, empty where its text was never finished. StoreError for a foreign thing."""
    if not path.exists() and not path.is_symlink():
        return None
    text = read_whole(path, _CURE).decode("utf-8", errors="replace")
    if not text.endswith("}"):
        return {}
    try:
        owner = json.loads(text)
    except (ValueError, RecursionError):
        owner = None
    if not isinstance(owner, dict):
        raise StoreError(f"{path} is no lock that a sweep makes; {_CURE}")
    return owner


def _is_stale(owner: dict[str, object]) -> bool:
    """True when the owner was a process of this host that is no more, or whose number another process has now.

    What cannot be judged from here counts as alive: another host, another PID namespace, a number no process can have.
    """
    return not owner or lives(owner) is False


def lives(owner: Mapping[str, object]) -> bool | None:
    """Whether a process lives that was written down by `myself`; None where that cannot be seen from here."""
    pid, here = owner.get("pid"), myself()
    if owner.get("host") != here["host"] or owner.get("namespace", here["namespace"]) != here["namespace"]:
        return None
    if not isinstance(pid, int) or not 0 < pid < _PIDS:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner.get("started") == _started(pid)


def _namespace() -> str | None:
    """In which namespace our process numbers mean something; None where the system knows none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot; None where the system has no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _refusal(path: Path, owner: dict[str, object]) -> str:
    return (
        f"{path.parent} is being written by process {owner.get('pid')} on {owner.get('host')}; "
        f"wait until it ends, or delete {path} if you are sure that it has ended"
    )
