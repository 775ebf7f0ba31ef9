"""The images of one batch and the methods -> rows: every pass once, features to every reader, failures as rows.

Where images are cut into windows, window number k of all of them makes up one batch for the networks, with fillers for
images that have no such window: what goes through a network together keeps its shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias, TypeGuard, cast

from harness.contracts import (
    Asked,
    Backbone,
    Gathering,
    Method,
    MethodError,
    Parts,
    Pass,
    Query,
    Reader,
    Recipe,
    Row,
    Run,
    Vocabulary,
)
from harness.foreign.calls import Guard, LeftTrace, is_strange, left_trace
from harness.foreign.lending import Lent, LentFeatures, LentValue
from harness.protocol.decision import bare
from harness.work.judge import judge_of
from harness.work.passes import by_backbone, joined_requests, served
from harness.work.slots import Slot

Waiting: TypeAlias = tuple[Run, Asked, Mapping[Pass, Parts]]
Left = dict[Pass, tuple[Sequence[LentFeatures], float]]  # features of every place, and the seconds a reader answers for


class BatchWork:
    """One batch under all methods of a shard. blank: the query of a place that holds no image.

    lessons: for runs that gather, the teacher's masks as files. rows: of every run for every image of the batch, run by
    run in the order of the slots.
    """

    def __init__(
        self,
        guard: Guard,
        methods: Sequence[tuple[Run, Method | Asked]],
        slots: Sequence[Slot],
        blank: Query,
        backbone: Callable[[Recipe], Backbone],
        keep: frozenset[str] = frozenset(),
        lessons: Mapping[str, bytes] | None = None,
    ) -> None:
        self._guard, self._slots, self._blank, self._backbone = guard, slots, blank, backbone
        self._methods = methods
        self._judges = {
            (run.run_id, place): judge_of(run, slot, slot.image_id in keep, lessons or {})
            for run, _ in methods
            for place, slot in enumerate(slots)
            if slot.image_id is not None
        }
        self.encodings = 0
        self.passes = 0
        self._work()
        self.rows: tuple[Row, ...] = tuple([judge.row() for judge in self._judges.values()])

    def _work(self) -> None:
        readers = [(run, method) for run, method in self._methods if reads(method, run)]
        for view in range(max((len(slot.queries) for slot in self._slots), default=0)):
            places = [place for place, slot in enumerate(self._slots) if view < len(slot.queries)]
            for run, method in self._methods:
                if not reads(method, run):
                    self._segment(run, cast(Method, method), view, places)
            if readers:
                self._serve(readers, view, places)

    def _fail(self, run: Run, error: Exception) -> None:
        for (run_id, _), judge in self._judges.items():
            if run_id == run.run_id:
                judge.fail(error)

    def _ask(
        self, run: Run, place: int, view: int, verb: Callable[[Vocabulary], object], lent: Sequence[Lent] = ()
    ) -> Callable[[], object]:
        """A question to a method about one window of an image, as a guarded call; it is given the vocabulary."""
        slot = self._slots[place]
        words = run.run_id, slot.queries[view].image_id
        names = LentValue(slot.queries[view].vocabulary, "vocabulary")
        ask = partial(verb, names.value)
        if is_strange(run.method.use):
            ask = partial(_bare, ask)
        within = self._slots if is_strange(run.method.use) else ()  # one may keep an earlier image, and write to it now
        images = [one for other in within for one in other.lent] or slot.shown(view)
        return partial(self._guard.call, run.method.use, words, ask, (*images, names, *lent))

    def _segment(self, run: Run, method: Method, view: int, places: Sequence[int]) -> None:
        for place in places:
            verb = partial(method.segment, self._slots[place].queries[view].image)
            self._judges[run.run_id, place].hear(self._ask(run, place, view, verb), 0.0)

    def _serve(self, readers: Sequence[tuple[Run, Asked]], view: int, places: Sequence[int]) -> None:
        """Run every requested pass once on one view of the images at some places, and let each reader read as soon as
        all its passes are there. Where a backbone fails on several images, each is tried alone in the same shape; where
        a reader writes into what it reads, the passes are made anew for those that come after it."""
        asked = [(run, reader, self._needs(run, reader)) for run, reader in readers]
        waiting: list[Waiting] = [one for one in asked if one[2]]
        requests = joined_requests(needs for _, _, needs in waiting)
        users = {request: sum(request in needs for _, _, needs in waiting) for request in requests}
        left: Left = {}
        for recipe, wanted in by_backbone(requests).items():
            try:
                for request, features, seconds in self._timed(recipe, wanted, view, places):
                    left[request] = features, seconds / users[request] / len(places)
                    for one in [one for one in waiting if one[2].keys() <= left.keys()]:
                        waiting.remove(one)
                        unread = self._read(one, left, view, places)
                        if unread is not None:
                            return self._anew(one, unread, waiting, view, places)
                    _forget(left, waiting)
            except Exception as error:
                lost = [(run, reader) for run, reader, needs in waiting if needs.keys() & wanted.keys()]
                waiting = [one for one in waiting if not one[2].keys() & wanted.keys()]
                self._lost(lost, error, view, places)

    def _needs(self, run: Run, reader: Asked) -> dict[Pass, Parts]:
        """The passes that a reader asks for; none, and failed rows, where it cannot say."""
        try:
            needs = self._guard.call(run.method.use, (run.run_id,), lambda: dict(reader.passes()))
            if not needs:
                raise MethodError("its `passes` asks for nothing, so there is nothing for it to read")
            own: dict[Pass, Parts] = LentValue(needs, "passes").value  # its objects stay its own to change
            return own
        except Exception as error:
            self._fail(run, error)
            return {}

    def _anew(
        self, scribbler: Waiting, unread: Sequence[int], waiting: Sequence[Waiting], view: int, places: Sequence[int]
    ) -> None:
        """Serve those that wait without what was written into, and the one who wrote image by image."""
        if waiting:
            self._serve([(run, reader) for run, reader, _ in waiting], view, places)
        for place in unread:
            self._serve([scribbler[:2]], view, [place])

    def _timed(
        self, recipe: Recipe, wanted: Mapping[Pass, Parts], view: int, places: Sequence[int]
    ) -> Iterator[tuple[Pass, Sequence[LentFeatures], float]]:
        """The passes of one backbone with the seconds each took, counting what they cost."""
        queries = [slot.queries[view] if place in places else self._blank for place, slot in enumerate(self._slots)]
        self.encodings += len(places) * len({request.encoding for request in wanted})
        images = [image for place in places for image in self._slots[place].shown(view)]
        shown, asked = LentValue(queries, "query"), LentValue(wanted, "pass")
        lent: tuple[Lent, ...] = (*images, shown, asked)
        ask = partial(self._guard.call, recipe.use, (repr(recipe), str(view)), lent=lent)
        started = time.perf_counter()
        network = self._backbone(recipe)
        if self._guard.shared is not None:
            self._guard.shared.begins(recipe)
        apart = network, *getattr(network, "__dict__", {}).values()
        ours = {request: request for request in wanted}
        answers = served(recipe, network, shown.value, asked.value, lambda call: ask(function=call))
        for request, features in answers:
            if self._guard.shared is not None:
                self._guard.shared.ripen(recipe)
            self.passes += len(places)
            left = [LentFeatures(one, apart) for one in features]
            yield ours.get(request, request), left, time.perf_counter() - started
            started = time.perf_counter()

    def _read(self, one: Waiting, left: Left, view: int, places: Sequence[int]) -> Sequence[int] | None:
        """Let a reader read; where it wrote into what it reads, the places that it has not come to, else None."""
        run, reader, needs = one
        closely = is_strange(run.method.use)
        everything = [held for features, _ in left.values() for held in features] if closely else []
        for held in everything:
            held.remember()
        seconds = sum(left[request][1] for request in needs)
        asked = LentValue(needs, "pass")
        for number, place in enumerate(places):
            lent = [left[request][0][place] for request in needs]
            features = dict(zip(asked.value, (held.features for held in lent), strict=True))
            judge = self._judges[run.run_id, place]
            verb = judge.question(reader, features)
            with ExitStack() as loan:
                for held in lent:
                    loan.enter_context(held.lent(closely))
                judge.hear(self._ask(run, place, view, verb, (asked, *lent)), seconds)
            if any(held.damaged for held in lent):
                return places[number + 1 :]
        if any([held.changed() for held in everything]):
            self._spoil(run, places, left_trace([f"{LentFeatures.clause} (those of other images or passes)"]))
            return ()
        return None

    def _spoil(self, run: Run, places: Sequence[int], error: LeftTrace) -> None:
        """Which of its answers wrote past what it was lent is not known: all of them are given up."""
        for place in places:
            if (run.run_id, place) in self._judges:
                self._judges[run.run_id, place].spoil(error)

    def _lost(self, readers: Sequence[tuple[Run, Asked]], error: Exception, view: int, places: Sequence[int]) -> None:
        """A backbone failed these readers: an image that was alone is given up, of several each is tried alone."""
        if len(places) == 1:
            for run, _ in readers:
                self._judges[run.run_id, places[0]].fail(error)
        elif readers:
            for place in places:
                self._serve(readers, view, [place])


def _bare(ask: Callable[[], object]) -> object:
    """What is answered, without a class of its own: its code runs here, where somebody looks, or never."""
    return bare(ask())


def reads(method: object, run: Run) -> TypeGuard[Asked]:
    """Whether a method is given features, not images."""
    return isinstance(run.purpose, Gathering) or isinstance(method, Reader)


def _forget(left: Left, waiting: Iterable[Waiting]) -> None:
    """Features that no waiting reader needs are dropped: memory holds one pass, or those that are read together."""
    wanted = {request for _, _, needs in waiting for request in needs}
    for request in list(left):
        if request not in wanted:
            del left[request]
