"""A folder goes in; out comes the right to be its only writer, held by a file `LOCK` that names host and process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import StoreError

LOCK = "LOCK"


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
            json.dump(_myself(), file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def release(folder: Path) -> None:
    """Give the lock back, if it is still ours."""
    path = folder / LOCK
    with _guard(folder):
        if _owner(path) == _myself():
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


def _myself() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _owner(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None without one. A lock whose text was never finished belongs to nobody alive."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_stale(owner: dict[str, Any]) -> bool:
    """True when the owner was a process of this host that is no more, or whose number another process has now."""
    pid = owner.get("pid")
    if not isinstance(pid, int):
        return True
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return owner.get("started") != _started(pid)


def _started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot; None where the system has no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _refusal(path: Path, owner: dict[str, Any]) -> str:
    return (
        f"{path.parent} is being written by process {owner.get('pid')} on {owner.get('host')}; "
        f"wait until it ends, or delete {path} if you are sure that it has ended"
    )
