"""A piece of code runs; the files that it opened for reading flow out, each as it was when it was opened.

Python tells of every file that it opens, and sqlite3 of its data bases (audit events). What a library in another
language, or another process, opens by itself is not told: of such a benchmark no file is known, and it should name its
files itself (see harness.contracts).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.contracts import Mark

_CODE = (".py", ".pyc", ".pyd", ".so", ".pth")  # what imports open; code has stamps of its own
_OPENING = ("open", "sqlite3.connect")
_MACHINE = ("/proc/", "/sys/", "/dev/")
_ear = threading.local()
_lock = threading.Lock()
_hooked: list[bool] = []

Marks = dict[str, Mark]


def mark_of(path: str) -> Mark:
    """A file as it is; of -1 bytes where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return Mark(path, -1, 0)
    return Mark(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@contextmanager
def opened() -> Iterator[Marks]:
    """What this thread opens for reading meanwhile: path -> mark. Files that are gone at the end are left out."""
    before, marks = listen()
    try:
        yield marks
    finally:
        hush(before, marks)


def listen() -> tuple[Marks | None, Marks]:
    """What `hush` is to be given: what is listened for already, and what this thread opens from now on."""
    _hook()
    before, marks = getattr(_ear, "marks", None), Marks()
    _ear.marks = marks
    return before, marks


def hush(before: Marks | None, marks: Marks) -> None:
    """The end of what `listen` began."""
    _ear.marks = before
    for path, mark in list(marks.items()):
        if mark.size >= 0 and not os.path.exists(path):  # a file made for the moment
            del marks[path]


def _hook() -> None:
    """Listen, once a process: a hook cannot be taken off again."""
    with _lock:
        if not _hooked:
            sys.addaudithook(_hear)
            _hooked.append(True)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _OPENING:
        return
    marks = getattr(_ear, "marks", None)
    if marks is None:
        return
    try:
        name, *more = arguments
        reads = event != "open" or more[1] & os.O_ACCMODE == os.O_RDONLY
        if isinstance(name, str | bytes | os.PathLike) and reads:
            path = os.path.abspath(os.fsdecode(name).removeprefix("file:").partition("?")[0])
            if path not in marks and not path.endswith(_CODE) and not path.startswith(_MACHINE):
                marks[path] = mark_of(path)
    except Exception:  # whoever opens a file must never see an error of ours
        return
