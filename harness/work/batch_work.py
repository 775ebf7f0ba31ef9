"""The images of one batch and the methods -> rows: every pass once, features to every reader, failures as rows.

Where images are cut into windows, window number k of all of them makes up one batch for the networks, with fillers for
images that have no such window: what goes through a network together keeps its shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from harness.contracts import Backbone, Features, Parts, Pass, Query, Reader, Recipe, Row, Run
from harness.work import lesson_masks, pictures
from harness.work.judge import Judge
from harness.work.slots import Slot

Waiting = tuple[Run, Reader, Mapping[Pass, Parts]]
Left = dict[Pass, tuple[Sequence[Features], float]]  # features of every place, and the seconds a reader answers for


class BatchWork:
    """One batch under all methods of a shard. blank: the query of a place that holds no image.

    lessons: for runs that gather, the teacher's masks as files.
    """

    def __init__(
        self,
        methods: Sequence[tuple[Run, Any]],
        slots: Sequence[Slot],
        blank: Query,
        backbone: Callable[[Recipe], Backbone],
        keep: frozenset[str] = frozenset(),
        lessons: Mapping[str, bytes] | None = None,
    ) -> None:
        self._methods, self._slots, self._blank, self._backbone = methods, slots, blank, backbone
        self._lessons = lessons or {}
        self._judges = {
            (run.run_id, place): Judge(run, slot, slot.image_id in keep)
            for run, _ in methods
            for place, slot in enumerate(slots)
            if slot.image_id is not None
        }
        self.encodings = 0
        self.passes = 0

    def rows(self) -> tuple[Row, ...]:
        """The rows of every run for every image of the batch, run by run in the order of the slots."""
        readers = [(run, method) for run, method in self._methods if reads(run, method)]
        for view in range(max((len(slot.queries) for slot in self._slots), default=0)):
            places = [place for place, slot in enumerate(self._slots) if view < len(slot.queries)]
            for run, method in self._methods:
                if not reads(run, method):
                    self._segment(run, method, view, places)
            if readers:
                self._serve(readers, view, places)
        return tuple(judge.row() for judge in self._judges.values())

    def _segment(self, run: Run, method: Any, view: int, places: Sequence[int]) -> None:
        for place in places:
            query = self._slots[place].queries[view]
            self._judges[run.run_id, place].hear(partial(method.segment, query.image, query.vocabulary), 0.0)

    def _serve(self, readers: Sequence[tuple[Run, Reader]], view: int, places: Sequence[int]) -> None:
        """Run every requested pass once on one view of the images at some places, and let each reader read as soon as
        all its passes are there. Where a backbone fails on several images, each is tried alone in the same shape."""
        waiting: list[Waiting] = [(run, reader, dict(reader.passes())) for run, reader in readers]
        requests = _joined(needs for _, _, needs in waiting)
        users = {request: sum(request in needs for _, _, needs in waiting) for request in requests}
        left: Left = {}
        for recipe, wanted in _by_backbone(requests).items():
            try:
                for request, features, seconds in self._timed(recipe, wanted, view, places):
                    left[request] = features, seconds / users[request] / len(places)
                    for one in [one for one in waiting if one[2].keys() <= left.keys()]:
                        waiting.remove(one)
                        self._read(one, left, view, places)
                    _forget(left, waiting)
            except Exception as error:
                lost = [(run, reader) for run, reader, needs in waiting if needs.keys() & wanted.keys()]
                waiting = [one for one in waiting if not one[2].keys() & wanted.keys()]
                self._lost(lost, error, view, places)

    def _timed(
        self, recipe: Recipe, wanted: Mapping[Pass, Parts], view: int, places: Sequence[int]
    ) -> Iterable[tuple[Pass, Sequence[Features], float]]:
        """The passes of one backbone with the seconds each took, counting what they cost."""
        queries = [slot.queries[view] if place in places else self._blank for place, slot in enumerate(self._slots)]
        self.encodings += len(places) * len({request.encoding for request in wanted})
        started = time.perf_counter()
        for request, features in self._backbone(recipe).run(queries, wanted):
            self.passes += len(places)
            yield request, features, time.perf_counter() - started
            started = time.perf_counter()

    def _read(self, one: Waiting, left: Left, view: int, places: Sequence[int]) -> None:
        run, reader, needs = one
        seconds = sum(left[request][1] for request in needs)
        for place in places:
            features = {request: left[request][0][place] for request in needs}
            vocabulary = self._slots[place].queries[view].vocabulary
            answer: Callable[[], Any] = partial(reader.read, features, vocabulary)
            if run.gathers:
                answer = partial(self._gathered, reader, features, place)
            self._judges[run.run_id, place].hear(answer, seconds)

    def _gathered(self, learner: Any, features: Mapping[Pass, Features], place: int) -> Mapping[str, NDArray[Any]]:
        """What a learner takes of an image and its lesson."""
        slot = self._slots[place]
        assert slot.image_id is not None and slot.offered is not None
        lesson = lesson_masks.positions(pictures.decode_map(self._lessons[slot.image_id]), slot.offered)
        found: Mapping[str, NDArray[Any]] = learner.gather(features, slot.offered.vocabulary, lesson)
        return found

    def _lost(self, readers: Sequence[tuple[Run, Reader]], error: Exception, view: int, places: Sequence[int]) -> None:
        """A backbone failed these readers: an image that was alone is given up, of several each is tried alone."""
        if len(places) == 1:
            for run, _ in readers:
                self._judges[run.run_id, places[0]].fail(error)
        elif readers:
            for place in places:
                self._serve(readers, view, [place])


def reads(run: Run, method: Any) -> bool:
    """Whether a method is given features, not images."""
    return run.gathers or isinstance(method, Reader)


def _joined(needs: Iterable[Mapping[Pass, Parts]]) -> dict[Pass, Parts]:
    """Equal passes of several readers become one request for all the parts they read."""
    joined: dict[Pass, Parts] = {}
    for one in needs:
        for request, parts in one.items():
            joined[request] = joined.get(request, frozenset()) | parts
    return joined


def _by_backbone(requests: Mapping[Pass, Parts]) -> dict[Recipe, dict[Pass, Parts]]:
    grouped: dict[Recipe, dict[Pass, Parts]] = {}
    for request, parts in requests.items():
        grouped.setdefault(request.backbone, {})[request] = parts
    return grouped


def _forget(left: Left, waiting: Iterable[Waiting]) -> None:
    """Features that no waiting reader needs are dropped: memory holds one pass, or those that are read together."""
    wanted = {request for _, _, needs in waiting for request in needs}
    for request in list(left):
        if request not in wanted:
            del left[request]
