"""Signals that ask this process to end flow in; a KeyboardInterrupt that is known to be ours flows out.

SIGUSR1 asks for an end with the batch that is at work; so does a first SIGTERM where there are seconds of grace.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import MethodError, in_words

_LOOK = 0.2  # seconds between looks for a signal that leaves time
_told = threading.Event()  # a signal has asked us to end; a plug-in may have swallowed what was raised
_deaf = threading.Event()
_closing = threading.Event()  # a signal has asked us to end with the batch that is at work


class Closed(KeyboardInterrupt):
    """The batch that was at work is done and stored, and no other was begun, since a signal asked for it."""


@contextmanager
def listening() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, and SIGHUP unless it is ignored (nohup), end what is done meanwhile in one way; SIGUSR1
    lets the batch that is at work end first."""
    _told.clear()
    _closing.clear()
    here = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1] if here else []
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler is not signal.SIG_IGN:
            signal.signal(number, _close if number == signal.SIGUSR1 else _interrupt)
    try:
        yield
    finally:
        _told.clear()
        _closing.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def grace(seconds: float) -> Iterator[None]:
    """Meanwhile a first SIGTERM lets the batch that is at work end, if that takes no longer; a second ends at once."""
    over = threading.Event()
    if not seconds or signal.getsignal(signal.SIGTERM) is not _interrupt:
        yield
        return

    def watch() -> None:
        while not over.wait(_LOOK):
            if _closing.is_set() and not over.wait(seconds):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watching = threading.Thread(target=watch, name="grace", daemon=True)
    watching.start()
    signal.signal(signal.SIGTERM, _close)
    try:
        yield
    finally:
        over.set()
        watching.join()


def _close(number: int, frame: FrameType | None) -> None:
    if _closing.is_set():
        _interrupt(number, frame)
    _closing.set()


def closing() -> bool:
    """Whether a signal has asked us to begin nothing more."""
    return _closing.is_set()


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
