"""A sweep's beginning, its beats and its end flow into the events of a results folder, so that others can follow it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType

from harness.errors import HarnessError, StoreError

BEAT_SECONDS = 30.0
UNFORESEEN = 1


class Pulse:
    """A context around a sweep that tells it: nothing where nothing is to be done. tell: takes an event.

    code: the exit code, known at the end.
    """

    def __init__(self, tell: Callable[[Mapping[str, object]], None], beat: float = BEAT_SECONDS) -> None:
        self._tell, self._beat = tell, beat
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.code: int | None = None

    def start(self, content: Mapping[str, object]) -> None:
        """A plan is about to be done; called again where what was done is planned on."""
        self._tell({"event": "sweep", **content})
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)
            self._thread.start()

    def __enter__(self) -> Pulse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        with suppress(StoreError):  # whatever ended the sweep is told by others
            self._tell({"event": "end", "exit": self._code_of(error)})

    def _code_of(self, error: BaseException | None) -> int | None:
        if error is None:
            return self.code
        if isinstance(error, KeyboardInterrupt):
            return 130
        return error.exit_code if isinstance(error, HarnessError) else UNFORESEEN

    def _watch(self) -> None:
        while not self._over.wait(self._beat):
            with suppress(StoreError):  # the next row that cannot be written says so
                self._tell({"event": "beat"})
