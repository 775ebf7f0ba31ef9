"""A train split flows in; images, and the classes that a teacher was offered for them, flow out, and nothing else.

The benchmark, from which truth could be loaded, lives in threads of its own: whoever holds a `Shown` holds a queue.
"""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future
from functools import cached_property
from queue import SimpleQueue
from typing import Any, TypeAlias

from harness.contracts import Benchmark, Image, Recipe, Run, Sample, Words
from harness.protocol.given import check_classes, checked_sample
from harness.protocol.offering import Offer, numbers_of, offer, tagged
from harness.recipes import loading

MOST = 8  # images that are read at once
_Queue: TypeAlias = "SimpleQueue[tuple[str, tuple[str, ...], Future[Any]] | None]"


class Shown:
    """What a learner may see of a train split; fails as the benchmark does."""

    def __init__(self, run: Run, folder: str | None) -> None:
        self._asked: _Queue = SimpleQueue()
        threads = max(1, min(MOST, (os.cpu_count() or 2) // 2))
        split = _Split(run, folder)
        for _ in range(threads):
            threading.Thread(target=_serve, args=(split, self._asked), name="lessons", daemon=True).start()
        weakref.finalize(self, _end, self._asked, threads)

    def names(self) -> Words:
        """The words of all classes."""
        return self._ask("names")  # type: ignore[no-any-return]

    def image(self, image_id: str) -> Image:
        """(height, width, 3) uint8."""
        return self._ask("image", image_id)  # type: ignore[no-any-return]

    def offered(self, image_id: str) -> Offer:
        """The classes that the teacher was offered for an image: what the protocol lets it know."""
        return self._ask("offered", image_id)  # type: ignore[no-any-return]

    def _ask(self, what: str, *given: str) -> Any:
        answer: Future[Any] = Future()
        self._asked.put((what, given, answer))
        return answer.result()


class _Split:
    """A run's benchmark, opened when it is first asked."""

    def __init__(self, run: Run, folder: str | None) -> None:
        self._run, self._folder = run, folder
        self._opening = threading.Lock()

    def names(self) -> Words:
        return self._run.names or tuple([(name,) for name in self._opened.classes])

    def image(self, image_id: str) -> Image:
        return self._sample(image_id).image

    def offered(self, image_id: str) -> Offer:
        rules, names, sample = self._run.protocol, self.names(), self._sample(image_id)
        if rules.tagger is not None:
            return offer(tagged(self._tagger, sample.image, names, rules, image_id), names, rules)
        return offer(numbers_of(sample.truth, len(names), rules), names, rules)

    def _sample(self, image_id: str) -> Sample:
        return checked_sample(self._opened.load(image_id), image_id, len(self.names()))

    @property
    def _opened(self) -> Benchmark:
        with self._opening:
            return self._benchmark

    @cached_property
    def _benchmark(self) -> Benchmark:
        if self._folder:
            loading.add_folder(self._folder)
        benchmark: Benchmark = loading.build(self._run.benchmark)
        check_classes(benchmark, self._run.classes)
        return benchmark

    @cached_property
    def _tagger(self) -> Any:
        assert isinstance(self._run.protocol.tagger, Recipe)
        return loading.build(self._run.protocol.tagger)


def _serve(split: _Split, asked: _Queue) -> None:
    """Answer until nobody can ask any more."""
    while (request := asked.get()) is not None:
        what, given, answer = request
        try:
            answer.set_result(getattr(split, what)(*given))
        except BaseException as error:
            answer.set_exception(error.with_traceback(None))  # its frames hold the benchmark
        del request, answer


def _end(asked: _Queue, threads: int) -> None:
    for _ in range(threads):
        asked.put(None)
