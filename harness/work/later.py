"""Work of ours that need not be done at once flows in; it is done in a thread of its own, in order, meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from harness.foreign import strays
from harness.foreign.calls import Elsewhere

T = TypeVar("T")


class Later:
    """One thread, which keeps out of the way of who looks at the process."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self.elsewhere = elsewhere
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="count", initializer=strays.adopt)

    def submit(self, task: Callable[[], None]) -> Future[None]:
        """Do this after all that was given before."""
        return self._pool.submit(self._done, task)

    def close(self) -> None:
        """What was not begun is let go."""
        self._pool.shutdown(cancel_futures=True)

    def _done(self, task: Callable[[], None]) -> None:
        with self.elsewhere.at_work():
            task()


def one_behind(begun: Iterator[Callable[[], T]]) -> Iterator[T]:
    """What each call gives, asked for when the next one is there; also where that one cannot be had."""
    before: Callable[[], T] | None = None
    try:
        for one in begun:
            if before is not None:
                yield before()
            before = one
    except (Exception, KeyboardInterrupt):  # an interrupted sweep keeps what is done
        if before is not None:
            yield before()
        raise
    if before is not None:
        yield before()
