"""Work of ours that need not be done at once flows in; it is done in a thread of its own, in order, meanwhile."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from harness.foreign import strays
from harness.foreign.elsewhere import REST, Elsewhere

T = TypeVar("T")


class Later:
    """One thread, which keeps out of the way of who looks at the process."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self.elsewhere = elsewhere
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="count", initializer=strays.adopt)
        self._pool.submit(_compute_alone).result()

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Do this after all that was given before."""
        return self._pool.submit(self._done, task)

    def tidy(self) -> None:
        """After all that was given before, let Python collect its garbage here, by its own rules: else it would do so
        in the midst of a batch, in the thread that feeds a network."""
        self._pool.submit(self._done, _fill_up)

    def close(self) -> None:
        """What was not begun is let go."""
        self._pool.shutdown(cancel_futures=True)

    def _done(self, task: Callable[[], T]) -> T:
        with self.elsewhere.at_work():
            return task()


class Bundle:
    """Tasks that come one by one while other threads rest: they are given to the one that does them all at once, when
    the last is there or that rest is over. To wake it for each would take Python from who reads."""

    def __init__(self, later: Later) -> None:
        self._later, self._until = later, time.monotonic() + REST
        self._waiting: list[Callable[[], None]] = []
        self._begun: list[Future[None]] = []

    def submit(self, task: Callable[[], None]) -> Bundle:
        """Do this after all that was given before; `result` waits for it."""
        self._waiting.append(task)
        if time.monotonic() >= self._until:
            self.begin()
        return self

    def begin(self) -> None:
        """Nothing more comes."""
        tasks, self._waiting = self._waiting, []
        if tasks:
            self._begun.append(self._later.submit(partial(_one_after_another, tasks)))

    def result(self) -> None:
        """Wait until all is done, and raise what it raised."""
        self.begin()
        for one in self._begun:
            one.result()


def _one_after_another(tasks: Iterable[Callable[[], None]]) -> None:
    for task in tasks:
        task()


def _compute_alone() -> None:
    """This thread is given no others for its sums. Bundle with those of the thread that feeds a network they would be
    more than there are cores, and then OpenMP's threads fall asleep after every operation, the network's too. Where the
    network is on a card nobody else needs them."""
    torch = sys.modules.get("torch")
    if torch is not None and not torch.cuda.is_available() and (threads := torch.get_num_threads()) > 1:
        torch.set_num_threads(1)
        others = threading.Thread(target=torch.set_num_threads, args=(threads,))  # for those that begin later
        others.start()
        others.join()


def _fill_up() -> None:
    """As many new objects as are lacking until Python looks for garbage by itself."""
    _ = [[] for _ in range(gc.get_threshold()[0] - gc.get_count()[0] + 1)]


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
