"""An address and a checksum flow in; the file flows out, whole or not at all, however often the line breaks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

from benchmarks.faults import DataError

PIECE = 1 << 20  # bytes that are read at once
TRIES = 6  # in a row without a new byte
SILENCE = 60.0  # seconds without a byte after which a line counts as broken
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Told = Callable[[int, int | None], object]  # bytes that are here, and how many there will be, where that is known


class CannotFetch(DataError):
    """A file could not be had, or is not the one that was promised."""

    kind: ClassVar[str] = "cannot fetch"


class _Broken(Exception):
    """The line broke: what came stays, and the rest is asked for again."""


class _Foreign(Exception):
    """What lies here is no beginning of what the server has: everything is asked for anew."""


def download(address: str, target: Path, md5: str, *, told: Told | None = None, loopback: bool = False,
             pause: float = 1.0) -> Path:  # fmt: skip
    """The file at an address, as `target`, once its md5 (hexadecimal digits) is the promised one.

    What has come is kept in `<target>.part` and continued, in this call or in a later one. Redirections are followed to
    https alone. CannotFetch for an address that does not answer, a full disk, another file or one that is being
    fetched.
    told: is called as bytes come. loopback: http to and redirections within this machine are followed too, for tests.
    pause: seconds before the second try; each further one waits twice as long.
    """
    if target.is_file():
        check_md5(target, md5, f"{target} is not the file that was promised")
        return target
    _check_address(address, loopback, first=True)
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotFetch(f"{part} is being written by another process; wait for it.") from None
        continued = file.tell() > 0
        try:
            _fill(address, file, told or (lambda *_: None), loopback, pause)
        finally:
            if file.seek(0, 2) == 0:
                part.unlink()  # nothing came: nothing is to be continued
        if _digest(part) != md5 and continued:  # of what was begun long ago, or elsewhere
            file.truncate(0)
            _fill(address, file, told or (lambda *_: None), loopback, pause)
        try:
            check_md5(part, md5, f"{address} gave another file than promised")
        except CannotFetch:
            part.unlink()
            raise
        part.rename(target)
    return target


def _fill(address: str, file: BinaryIO, told: Told, loopback: bool, pause: float) -> None:
    """Append to a file what it lacks. CannotFetch when nothing comes any more."""
    opener = urllib.request.build_opener(_Redirections(loopback))
    failed = 0
    while True:
        before = file.seek(0, 2)
        try:
            _append(opener, address, file, told)
            return
        except _Foreign:
            file.truncate(0)
            reason, failed = "it did not continue what was begun", failed + (before == 0)
        except (_Broken, OSError, http.client.HTTPException) as problem:
            code = problem.code if isinstance(problem, urllib.error.HTTPError) else 0
            if 300 <= code < 500 and code not in (408, 429):
                raise CannotFetch(f"{address} was not given: {problem}.") from None
            if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CannotFetch(f"{file.name} cannot be written: {problem.strerror}.") from None
            reason = str(problem) or type(problem).__name__
        failed = 0 if file.seek(0, 2) > before else failed + 1
        if failed >= TRIES:
            kept = f"{file.tell()} bytes are kept; the same command continues" if file.tell() else "Nothing came"
            raise CannotFetch(f"{address} could not be read to its end: {reason} ({failed} times in a row). {kept}.")
        time.sleep(min(pause * 2 ** max(0, failed - 1), 60.0))


def _append(opener: urllib.request.OpenerDirector, address: str, file: BinaryIO, told: Told) -> None:
    """One request for what a file lacks, written as it comes. _Broken when it ended early."""
    have = file.seek(0, 2)
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity", "User-Agent": "stableseg"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = opener.open(request, timeout=SILENCE)
    except urllib.error.HTTPError as problem:
        if problem.code == 416:  # nothing is behind what is here
            if _length_after(problem.headers.get("Content-Range", "")) == have:
                return
            raise _Foreign from None
        raise
    with answer:
        total = _whole_length(answer, have)
        if answer.status != 206 and have:
            file.truncate(0)
            have = 0
        _check_room(file, have, total)
        for piece in iter(lambda: answer.read(PIECE), b""):
            file.write(piece)
            have += len(piece)
            told(have, total)
        file.flush()
    if total is not None and have != total:
        raise _Broken(f"it promised {total} bytes and gave {have}")


def _whole_length(answer: Any, have: int) -> int | None:
    """How long the whole file is, where the server says so. _Foreign when it continues at another place."""
    if answer.status != 206:
        length = answer.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None
    span = answer.headers.get("Content-Range", "")
    start = span.removeprefix("bytes ").partition("-")[0]
    if not start.isdigit() or int(start) != have:
        raise _Foreign
    return _length_after(span)


def _length_after(span: str) -> int | None:
    """The whole length in a Content-Range."""
    length = span.rpartition("/")[2]
    return int(length) if length.isdigit() else None


def _check_room(file: IO[bytes], have: int, total: int | None) -> None:
    free = shutil.disk_usage(Path(str(file.name)).parent).free
    if total is not None and total - have > free:
        raise CannotFetch(f"{file.name} needs {total - have} bytes more, and {free} are free on its disk.")


def check_md5(path: Path, md5: str, sentence: str) -> None:
    """CannotFetch, with a sentence, when a file is another one."""
    found = _digest(path)
    if found != md5:
        raise CannotFetch(f"{sentence}: its md5 is {found}, and {md5} was promised; remove it and fetch it again.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows to https alone; within this machine to http too, where a caller says so."""

    max_redirections = 5

    def __init__(self, loopback: bool):
        self._loopback = loopback

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl, self._loopback, first=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(address: str, loopback: bool, *, first: bool) -> None:
    """CannotFetch for an address that is not followed. The first one may be http: the checksum stands for what came."""
    parts = urllib.parse.urlsplit(address)
    here = loopback and parts.hostname in LOOPBACK
    if parts.scheme != "https" and not (parts.scheme == "http" and (first or here)):
        raise CannotFetch(f"{address} is where a redirection leads, and only https is followed.")
