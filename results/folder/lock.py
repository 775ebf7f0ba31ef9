"""A folder goes in; out comes the right to be its only writer, held by a file `LOCK` that names host and process.

The owner touches the file every few seconds. Who cannot see whether it lives (another host, another container) waits
until it is touched, or takes over after a minute of silence, by the file server's own clock. Who was silent for so long
and comes back finds that the lock is no more its own, and writes nothing more.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from results.folder.durable import ASIDE, read_whole

LOCK = "LOCK"
BEAT = 10.0  # seconds between two touches
SILENCE = 60.0  # seconds without one, after which an owner that cannot be looked at counts as gone
_LOOK = 1.0  # seconds between looks of who waits
_BLINK = 0.2  # seconds in which a rival may have put aside, by mistake, a lock that it gives back
_PIDS = 2**31  # no process has a number so high
_CURE = "delete it if you are sure that nobody writes to this folder"


class Lock:
    """A lock that this process holds, and keeps fresh."""

    def __init__(self, folder: Path, mine: Mapping[str, object]) -> None:
        self._folder, self._path, self._mine = folder, folder / LOCK, dict(mine)
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """StoreError where the lock is another process's by now; one that a person deleted is taken again."""
        for wait in (_BLINK, 0.0):
            owner = _owner(self._path)
            if owner == self._mine:
                return
            if owner is None:
                with suppress(FileExistsError):
                    _create(self._path, self._mine)
                    return
            time.sleep(wait)
        raise StoreError(
            f"{self._path} was taken over by {_named(owner or {})} while nothing was heard of this process; it writes "
            "nothing more. What it had stored is kept."
        )

    def release(self) -> None:
        """Give the lock back, if it is still ours. Where nothing can be written any more it stays, a dead process's."""
        self._over.set()
        self._beating.join()
        with suppress(OSError, StoreError), _guard(self._folder):
            if _owner(self._path) == self._mine:
                self._path.unlink()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError, StoreError):  # who writes next is told
                if _owner(self._path) == self._mine:
                    os.utime(self._path)


def acquire(folder: Path) -> Lock:
    """Take the folder's lock; that of a dead process is taken over, and of one that says nothing any more.

    StoreError when a writer lives. Waits up to a minute where only silence can tell.
    """
    path, touched = folder / LOCK, None
    mine = {**myself(), "beat": BEAT, "token": uuid.uuid4().hex}
    while not _taken(folder, path, mine):
        owner, last = _owner(path), _touched(path)
        if owner and (lives(owner) is not None or "beat" not in owner or (touched and last and last != touched)):
            raise StoreError(_refusal(path, owner))
        touched = touched or last
        time.sleep(_LOOK)
    return Lock(folder, mine)


def _taken(folder: Path, path: Path, mine: Mapping[str, object]) -> bool:
    """Whether the lock could be made, the one of an owner that is gone put out of the way."""
    with _guard(folder):
        owner = _owner(path)
        if owner is not None and not (_is_stale(owner) or _is_silent(folder, path, owner)):
            return False
        if owner is not None:
            _put_away(path, owner)
        try:
            _create(path, mine)
        except FileExistsError:  # a rival on another host was faster
            return False
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"{path} cannot be made ({reason}); name a folder that can be written to") from None
    return True


def _put_away(path: Path, seen: Mapping[str, object]) -> None:
    """Remove a lock that was seen to be stale. StoreError where it is another one by now, which stays."""
    aside = path.with_name(f"{LOCK}.{uuid.uuid4().hex}{ASIDE}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    found = _owner(aside)
    if found != seen:
        with suppress(OSError):  # its owner has made it again meanwhile
            os.link(aside, path)
        aside.unlink()
        raise StoreError(_refusal(path, found or {}))
    aside.unlink()


def _is_silent(folder: Path, path: Path, owner: Mapping[str, object]) -> bool:
    """Whether an owner that cannot be looked at, and should touch its lock, has not done so for too long."""
    if "beat" not in owner or lives(owner) is not None:
        return False
    probe, last = folder / f"now.{uuid.uuid4().hex}{ASIDE}", _touched(path)
    try:
        probe.touch()
        now = probe.stat().st_mtime  # the file server's clock, as in the lock
        probe.unlink()
    except OSError:
        return False
    return last is not None and now - last > SILENCE


def _touched(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _create(path: Path, mine: Mapping[str, object]) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(mine, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


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
    here = {"host": socket.gethostname(), "boot": _boot(), "namespace": _namespace()}
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


def _is_stale(owner: Mapping[str, object]) -> bool:
    """True when the owner was a process of this host that is no more, or whose number another process has now.

    What cannot be judged from here counts as alive: another host, another PID namespace, a number no process can have.
    """
    return not owner or lives(owner) is False


def lives(owner: Mapping[str, object]) -> bool | None:
    """Whether a process lives that was written down by `myself`; None where that cannot be seen from here."""
    pid, here = owner.get("pid"), myself()
    if any(owner.get(name, here[name]) != here[name] for name in ("host", "boot", "namespace")):
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


def _boot() -> str | None:
    """Which start of which machine this is; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


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


def _named(owner: Mapping[str, object]) -> str:
    return f"process {owner.get('pid')} on {owner.get('host')}"


def _refusal(path: Path, owner: Mapping[str, object]) -> str:
    return (
        f"{path.parent} is being written by {_named(owner)}; wait until it ends, or delete {path} if you are sure that "
        "it has ended"
    )
