"""Batches of a benchmark flow in; each with its images read flows out, the next ones read in threads meanwhile.

As many threads read as there are cores: images are decoded, resized and cut side by side. A benchmark that does not say
that several threads may load from it is asked by one at a time. The first batch is read while nothing else runs, and
the process is looked at around every image. A benchmark that left a trace, or draws from the generators that all have
in common, is never read ahead of the work. What was read while a method left something is read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import Any

from harness.contracts import Batch, Origin, Sample
from harness.foreign import chance, interrupts, strays
from harness.foreign.calls import Guard
from harness.foreign.complaints import LeftTrace
from harness.foreign.elsewhere import Elsewhere
from harness.recipes.origins import DataSource
from harness.work.slots import Load, Place

READ_AHEAD = 1  # batches decoded while one is computed
THREADS = min(8, os.cpu_count() or 1)

Read = Callable[[Load, str | None], Place]


class Reading:
    """One benchmark, as a worker reads it from shard to shard. elsewhere: for who looks at the process meanwhile."""

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self._known = False  # it was watched for a batch
        together = getattr(type(source.benchmark), "loads_in_threads", False) is True and source.names_files
        self._one_by_one = nullcontext() if together else Lock()
        self.elsewhere = Elsewhere()

    def classes(self) -> tuple[str, ...]:
        """The names of the benchmark's classes."""
        classes: tuple[str, ...] = self._source.benchmark.classes
        return classes

    def batches(self, batches: Sequence[Batch], read: Read) -> Iterator[tuple[Batch, tuple[Place, ...]]]:
        """Every batch with its images, in order."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode", initializer=strays.adopt)
        ahead: list[tuple[list[Future[Place]], int]] = []
        try:
            for position, batch in enumerate(batches):
                if not self._known or self.elsewhere.blamed:
                    while ahead:  # it was begun before somebody was to blame
                        _let_go(ahead.pop()[0])
                    yield batch, pool.submit(self._watched, read, batch).result()
                    continue
                for coming in batches[position + len(ahead) : position + 1 + READ_AHEAD]:
                    ahead.append((self._begun(pool, read, coming), self.elsewhere.traces))
                reading, traces = ahead.pop(0)
                if not all([one.done() for one in reading]):
                    self.elsewhere.go_on()
                places = tuple([one.result() for one in reading])
                if traces != self.elsewhere.traces:  # it was read beside a method that left something: read it alone
                    places = tuple([one.result() for one in self._begun(pool, read, batch)])
                yield batch, places
        finally:
            pool.shutdown(cancel_futures=True)

    def _begun(self, pool: ThreadPoolExecutor, read: Read, batch: Batch) -> list[Future[Place]]:
        return [pool.submit(read, self._load, image_id) for image_id in batch.slots]

    def _watched(self, read: Read, batch: Batch) -> tuple[Place, ...]:
        """A batch that is read while nothing else runs."""
        guard = Guard()
        guard.settle()
        try:
            return tuple([read(partial(self._look, guard), image_id) for image_id in batch.slots])
        finally:
            self.elsewhere.blamed |= bool(guard.rare_traces())
            guard.leave()
            self._known = True

    def _look(self, guard: Guard, image_id: str, check: Callable[[Any], Sample]) -> tuple[Sample, Origin]:
        words = self._source.use, image_id
        chance.seed(*words)
        seeded = chance.keep()
        try:
            return guard.call(self._source.use, words, partial(self._source.load, image_id, check))
        except LeftTrace:
            self.elsewhere.blamed = True
            raise
        finally:
            self.elsewhere.blamed |= chance.drawn(seeded)

    def _load(self, image_id: str, check: Callable[[Any], Sample]) -> tuple[Sample, Origin]:
        """An image that is read ahead: what this leaves is seen by the looks of the thread that computes."""
        with self._one_by_one, self.elsewhere.at_work(call=True):
            try:
                return self._source.load(image_id, check)
            except BaseException as raised:
                raise interrupts.foreign(raised) from None


def _let_go(reading: Sequence[Future[Place]]) -> None:
    """What was begun in vain ends before anything else is read."""
    for one in reading:
        one.cancel()
    for one in reading:
        if not one.cancelled():
            one.exception()
