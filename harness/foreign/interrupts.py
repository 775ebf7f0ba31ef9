"""Signals that ask this process to end flow in; a KeyboardInterrupt that is known to be ours flows out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import MethodError, in_words

_told = threading.Event()  # a signal has asked us to end; a plug-in may have swallowed what was raised
_deaf = threading.Event()


@contextmanager
def listening() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, and SIGHUP unless it is ignored (nohup), end what is done meanwhile in one way."""
    _told.clear()
    here = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if here else []
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        _told.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def deafen() -> None:
    """In a process that somebody else ends, Ctrl-C is not for us: every KeyboardInterrupt is a plug-in's own."""
    _deaf.set()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _told.set()
    raise KeyboardInterrupt


def pending() -> bool:
    """Whether a signal has asked us to end."""
    return _told.is_set()


def foreign(error: BaseException) -> Exception:
    """What a plug-in raised, as an exception that fails its row; an interrupt of ours goes on instead.

    Where nobody listens (a notebook) every KeyboardInterrupt counts as ours.
    """
    if pending() or (isinstance(error, KeyboardInterrupt) and not _listens()):
        raise KeyboardInterrupt from None
    if isinstance(error, Exception):
        return error
    return MethodError(f"it ended with {in_words(error)}; what a plug-in raises ends no sweep")


def _listens() -> bool:
    return _deaf.is_set() or signal.getsignal(signal.SIGINT) is _interrupt
