"""Addresses of plug-ins flow in; which are strangers, who had a turn in this process, and how it ends flow out."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from harness.foreign.foundations import OURS

UNANSWERED = "unanswered"  # the name of threads that may wait for ever, see harness.executors.unanswered
_met: set[str] = set()  # plug-ins of others that had their turn in this process


def is_strange(use: str) -> bool:
    """Whether a plug-in is none of ours, whose code our tests hold: it is looked at more closely."""
    return use.partition(".")[0] not in OURS


def first_turn(who: str) -> bool:
    """Whether a plug-in of others had no turn in this process yet; it has one now."""
    first = who not in _met
    _met.add(who)
    return first


def alone() -> bool:
    """Whether no plug-in of others had a turn in this process, be it only that it was imported."""
    return not _met


def leave(code: int) -> NoReturn:
    """End this process with this code, once all is done. Where a plug-in of others had its turn, what it registered for
    the end (`atexit`) and threads that it left have no say in it; nor has anything where a question is open."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if _met or unanswered():
        os._exit(code)
    sys.exit(code)


def unanswered() -> bool:
    """Whether a thread waits for what may never come."""
    return any(one.name == UNANSWERED for one in threading.enumerate())
