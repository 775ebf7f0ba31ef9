"""Threads flow in; those whose turns may overlap flow on together, and one that must be alone waits, and is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class Turns:
    """A lock that many hold at once (`shared`), or one alone (`with turns:`), who comes before those that wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._wanted = 0  # by those who want to be alone, and by the one who is

    @contextmanager
    def shared(self) -> Iterator[None]:
        """A turn that may overlap with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    def __enter__(self) -> None:
        with self._changed:
            self._wanted += 1
            self._changed.wait_for(lambda: not self._sharing)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._wanted -= 1
            self._changed.notify_all()
