"""Batches of a benchmark flow in; each with its images read flows out, the next ones read in a thread meanwhile.

The first batch is read while nothing else runs, and the process is looked at around every image. A benchmark that left
a trace, or draws from the generators that all have in common, is never read ahead of the work. What was read while a
method left something is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from harness.contracts import Batch, Origin, Sample
from harness.foreign import chance, interrupts
from harness.foreign.calls import Elsewhere, Guard, LeftTrace
from harness.recipes.origins import DataSource
from harness.work.slots import Load, Place

READ_AHEAD = 1  # batches decoded while one is computed

Read = Callable[[Load, Batch], tuple[Place, ...]]


class Reading:
    """One benchmark, as a worker reads it from shard to shard. elsewhere: for who looks at the process meanwhile."""

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self._known = False  # it was watched for a batch
        self.elsewhere = Elsewhere()

    def classes(self) -> tuple[str, ...]:
        """The names of the benchmark's classes."""
        classes: tuple[str, ...] = self._source.benchmark.classes
        return classes

    def batches(self, batches: Sequence[Batch], read: Read) -> Iterator[tuple[Batch, tuple[Place, ...]]]:
        """Every batch with its images, in order."""
        with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
            ahead: list[tuple[Future[tuple[Place, ...]], int]] = []
            for position, batch in enumerate(batches):
                watched = not self._known or self.elsewhere.blamed
                task = partial(self._watched, read) if watched else partial(read, self._load)
                until = position + 1 + (0 if watched else READ_AHEAD)
                for coming in batches[position + len(ahead) : until]:
                    ahead.append((pool.submit(task, coming), self.elsewhere.traces))
                reading, traces = ahead.pop(0)
                slots = reading.result()
                if traces != self.elsewhere.traces:  # it was read beside a method that left something: read it alone
                    slots = pool.submit(task, batch).result()
                yield batch, slots

    def _watched(self, read: Read, batch: Batch) -> tuple[Place, ...]:
        """A batch that is read while nothing else runs."""
        guard = Guard()
        guard.settle()
        try:
            return read(partial(self._look, guard), batch)
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
        with self.elsewhere.lock:
            self.elsewhere.calls += 1
            try:
                return self._source.load(image_id, check)
            except BaseException as raised:
                raise interrupts.foreign(raised) from None
