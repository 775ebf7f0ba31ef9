"""A question that may never be answered goes in; its last answer comes out in time.

Ray's questions to its centre have no limit of time: a driver whose own link was cut at the wrong moment would stand in
one for ever, though workers go on and their answers arrive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from harness.errors import ClusterError
from harness.foreign.company import UNANSWERED, unanswered

T = TypeVar("T")
SECONDS = 20.0  # that an answer may take
AGAIN = 0.05  # seconds that one waits once it is late


class Question(Generic[T]):
    """Asked in a thread of its own, one at a time. seconds: how long an answer may take."""

    def __init__(self, ask: Callable[[], T], seconds: float = SECONDS) -> None:
        self._ask, self._seconds = ask, seconds
        self._asked: threading.Thread | None = None
        self._came: list[T] = []
        self._error: BaseException | None = None

    def latest(self) -> T:
        """Ask, and wait: the answer, or the one before where it is late. Raises what asking raised, and ClusterError
        where nothing was ever answered."""
        late = self._asked is not None
        if self._asked is None:
            self._asked = threading.Thread(target=self._take, name=UNANSWERED, daemon=True)
            self._asked.start()
        self._asked.join(AGAIN if late else self._seconds)
        if not self._asked.is_alive():
            self._asked, error, self._error = None, self._error, None
            if error is not None:
                raise error
        if not self._came:
            raise ClusterError(
                f"Ray's head has not said within {self._seconds:.0f} s which nodes it has; look whether this machine "
                "reaches it. What is done is kept."
            )
        return self._came[-1]

    def _take(self) -> None:
        try:
            self._came = [self._ask()]
        except BaseException as error:
            self._error = error


def in_time(end: Callable[[], object], seconds: float = SECONDS) -> None:
    """Call what ends a connection; where a question is open, which it would wait for, for so long and no longer."""
    if not unanswered():
        end()
        return
    thread = threading.Thread(target=end, name=UNANSWERED, daemon=True)
    thread.start()
    thread.join(seconds)
