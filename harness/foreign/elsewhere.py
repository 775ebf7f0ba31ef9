"""Threads of this process that read and count flow in; whose turn it is beside a plug-in's call flows out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.foreign.turns import Turns

REST = 0.02  # seconds that other threads wait at most while what a network left is read


@dataclass
class Elsewhere:
    """What other threads of this process do meanwhile: `at_work` is around each of their turns, `lock` keeps all of
    them out; calls counts those of plug-ins."""

    lock: Turns = field(default_factory=Turns)
    calls: int = 0
    traces: int = 0  # times that a plug-in left something: what was read or counted meanwhile may be wrong
    blamed: bool = False  # one of its calls, or one here, left something: from now on they must not overlap
    _rested: threading.Event = field(default_factory=threading.Event)
    _until: float = 0.0

    def rest(self) -> None:
        """For a moment no turn begins: who feeds a network has Python for itself until it waits for that again."""
        self._until = time.monotonic() + REST
        self._rested.clear()

    def go_on(self) -> None:
        """Turns begin again."""
        self._rested.set()

    @contextmanager
    def at_work(self, call: bool = False) -> Iterator[None]:
        """A turn of another thread. call: it calls a plug-in."""
        if (left := self._until - time.monotonic()) > 0:
            self._rested.wait(left)
        with self.lock.shared():
            self.calls += call
            yield
