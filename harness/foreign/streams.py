"""Standard streams and the descriptors 0, 1 and 2: remembered, told apart, and brought back after they were closed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

NAMES = ("stdin", "stdout", "stderr")
_NAMED = vars(sys).get
_instead: dict[int, tuple[Any, Any]] = {}  # of a stream that was opened again: itself, and the one that was closed
_copies: dict[tuple[int, int, int], int] = {}  # (descriptor, device, inode) -> a descriptor of the same open file


def look() -> tuple[Any, ...]:
    """Which files the descriptors lead to, which objects are sys.stdin, stdout and stderr, and whether these are open.

    An open file that is seen for the first time is kept open besides, so that it can be brought back.
    """
    places = _place(0), _place(1), _place(2)
    for key in places:
        if key not in _copies and key is not None:
            _copies[key] = os.dup(key[0])
    objects = tuple([*map(_NAMED, NAMES)])
    first = tuple([_instead[id(one)][1] if id(one) in _instead else one for one in objects]) if _instead else objects
    return places, first, tuple([bool(getattr(one, "closed", False)) for one in objects])


def bring_back(was: tuple[Any, ...]) -> None:
    """Bring descriptors and objects back; a stream that was closed is opened again on its descriptor."""
    places, objects, closed = was
    for number, key in enumerate(places):
        if key != _place(number):
            with suppress(OSError):
                os.dup2(_copies[key], number) if key in _copies else os.close(number)
    for number, (name, stream, ended) in enumerate(zip(NAMES, objects, closed, strict=True)):
        if not ended and getattr(stream, "closed", False) and places[number] is not None:
            opened = _opened(number, stream)
            _instead[id(opened)] = opened, stream
            stream = opened
        setattr(sys, name, stream)


def told(before: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    """`sys.stdout replaced`, `descriptor 1 closed`."""
    clauses = []
    for number, (was, held) in enumerate(zip(before[0], now[0], strict=True)):
        if was != held:
            clauses.append(f"descriptor {number} {'closed' if held is None else 'led elsewhere'}")
    for name, was, held, shut, ended in zip(NAMES, before[1], now[1], before[2], now[2], strict=True):
        if was is not held or shut != ended:
            clauses.append(f"sys.{name} {'replaced' if was is not held else 'closed'}")
    return " and ".join(clauses)


def _place(number: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return number, found.st_dev, found.st_ino


def _opened(number: int, stream: Any) -> TextIO:
    encoding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None)
    return open(number, "r" if number == 0 else "w", encoding=encoding, errors=errors, closefd=False)
