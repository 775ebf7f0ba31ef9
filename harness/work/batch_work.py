"""The images of one batch and the methods -> rows: every pass once, features to every reader, failures as rows.

Where images are cut into windows, these go through the networks in rounds of as many as the batch has images (see
harness.work.rounds), with fillers where there is none: what goes through a network together keeps its shape.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard, cast

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
)
from harness.foreign.calls import Guard
from harness.foreign.company import alone
from harness.foreign.lending import Lent, LentBatch, LentValue
from harness.recipes.code_stamp import strange
from harness.work.asking_methods import segment_round
from harness.work.asking_readers import Left, Waiting, read_round
from harness.work.boundaries import BoundariesThere
from harness.work.judge import judge_of
from harness.work.later import Later
from harness.work.passes import served
from harness.work.room import out_of_memory, too_large
from harness.work.rounds import Round, full, in_places
from harness.work.scoring import TruthThere, brought_home
from harness.work.showing import NetworkCall, Source, calls
from harness.work.sitting import Sitting
from harness.work.slots import Slot, of_shape


class BatchWork:
    """One batch under all methods of a shard. slots: by run, the places of the batch as its protocol has them.

    blank: the query of a place that holds no image. lessons: for runs that gather, the teacher's masks as files. later:
    who counts what was answered, if that is not to be done at once. boundaries: whether those are counted too.
    """

    def __init__(
        self,
        guard: Guard,
        methods: Sequence[tuple[Run, Method | Asked]],
        slots: Mapping[str, Sequence[Slot]],
        blank: Query,
        backbone: Callable[[Recipe], Backbone],
        keep: frozenset[str] = frozenset(),
        lessons: Mapping[str, bytes] | None = None,
        later: Later | None = None,
        boundaries: bool = False,
    ) -> None:
        self._methods, self._backbone = methods, backbone
        samples = {place: slot.sample for own in slots.values() for place, slot in enumerate(own) if slot.sample}
        truths = {place: TruthThere(sample.truth) for place, sample in samples.items()}
        bounds = {place: BoundariesThere(truth) for place, truth in truths.items()} if boundaries else {}
        judges = {
            (run.run_id, place): judge_of(
                run, slot, slot.image_id in keep, lessons or {}, truths.get(place), bounds.get(place)
            )
            for run, _ in methods
            for place, slot in enumerate(slots[run.run_id])
            if slot.image_id is not None
        }
        self._sitting = Sitting(guard, slots, judges, blank, later)
        self.encodings = 0
        self.passes = 0
        self._work()
        self._home = later.submit(self._bring_home) if later is not None else None

    @property
    def spoiled(self) -> bool:
        """Whether somebody wrote to an image, as far as it was looked for."""
        return self._sitting.spoiled

    def look_at_images(self) -> None:
        """Look whether somebody wrote to an image since the last look; it is put back. Not where every call was looked
        at, and nobody counts meanwhile."""
        if self._sitting.later is not None:
            self._sitting.compare()

    def rows(self, again: bool = False) -> tuple[Row, ...]:
        """Of every run for every image of the batch, run by run in the order of the slots; who counts is waited for.
        again: what was counted meanwhile may be wrong."""
        for judge in self._sitting.judges.values() if again else ():
            judge.again()
        if self._home is None or (later := self._sitting.later) is None:
            self._bring_home()
        else:
            if not self._home.done():
                later.elsewhere.go_on()
            self._home.result()
        return tuple([judge.row() for judge in self._sitting.judges.values()])

    def _work(self) -> None:
        asked = [(run, method, self._needs(run, method)) for run, method in self._methods if reads(method, run)]
        different = list({id(slots): slots for slots in self._sitting.slots.values()}.values())
        rounds = list(in_places(different))
        anywhere = {who[0].run_id for who in asked if len(rounds) > 1 and self._anywhere(who[2])}
        in_place = [who for who in asked if who[0].run_id not in anywhere]
        for one in rounds:
            for run, method in self._methods:
                if not reads(method, run):
                    segment_round(self._sitting, run, cast(Method, method), one)
            self._serve(in_place, one)
        for one in full([self._sitting.slots[run_id] for run_id in anywhere]):
            self._serve([who for who in asked if who[0].run_id in anywhere], one)

    def _anywhere(self, needs: Mapping[Pass, Parts]) -> bool:
        """Whether all networks behind some passes say that their answer about a window is the same at any position and
        in any company. Ours are held to it by tests; of a stranger's nobody knows."""
        try:
            networks = {one: self._backbone(one) for one in {request.backbone for request in needs}}
        except Exception:  # one that cannot be had tells why where it is asked
            return False
        alike = [getattr(type(network), "any_company", False) for network in networks.values()]
        return bool(alike) and all(alike) and not any(map(strange, networks))

    def _bring_home(self) -> None:
        """What was counted on a device comes here, by one wait for all images and runs."""
        waiting = [judge for judge in self._sitting.judges.values() if judge.left]
        try:
            numbers = iter(brought_home([one for judge in waiting for one in judge.left]))
            for judge in waiting:
                judge.receive([next(numbers) for _ in judge.left])
        except Exception as error:  # a device that broke says so to whoever waits for it first
            for judge in waiting:
                judge.fail(error)

    def _serve(self, asked: Sequence[Waiting], one: Round) -> None:
        """Run every requested pass once on the windows of a round, and let each reader read as soon as all its passes
        are there. Where a backbone fails on several windows, each is tried alone in the same shape; where a reader
        writes into what it reads, the passes are made anew for those that come after it."""
        made, sources = calls([(run.run_id, needs, self._sitting.seen(run, one)) for run, _, needs in asked])
        needed = {run_id: {source for every in own.values() for source in every} for run_id, own in sources.items()}
        users = Counter(source for own in sources.values() for every in own.values() for source in every)
        waiting: dict[str, Waiting] = {who[0].run_id: who for who in asked if needed[who[0].run_id]}
        left: Left = {}
        for number, call in enumerate(made):
            try:
                for request, features, seconds in self._timed(call, one):
                    left[number, request] = features, seconds / users[number, request]
                    for run_id in [run_id for run_id in waiting if needed[run_id] <= left.keys()]:
                        who = waiting.pop(run_id)
                        unread = read_round(self._sitting, who, sources[run_id], left, one)
                        if unread is not None:
                            return self._anew(who, unread, list(waiting.values()), one)
                    _forget(left, {source for run_id in waiting for source in needed[run_id]})
            except Exception as error:
                lost = [run_id for run_id in waiting if any(source[0] == number for source in needed[run_id])]
                self._lost([waiting.pop(run_id) for run_id in lost], error, one)

    def _needs(self, run: Run, reader: Asked) -> dict[Pass, Parts]:
        """The passes that a reader asks for; none, and failed rows, where it cannot say."""
        try:
            ask = partial(self._sitting.guard.call, run.method.use, (run.run_id,), within=strange(run.method))
            needs = ask(lambda: dict(reader.passes()))
            if not needs:
                raise MethodError("its `passes` asks for nothing, so there is nothing for it to read")
            own: dict[Pass, Parts] = LentValue(needs, "passes").value  # its objects stay its own to change
            return own
        except Exception as error:
            self._sitting.fail(run, error)
            return {}

    def _anew(self, scribbler: Waiting, unread: Sequence[int], waiting: Sequence[Waiting], one: Round) -> None:
        """Serve those that wait without what was written into, and the one who wrote window by window."""
        if waiting:
            self._serve(waiting, one)
        for position in unread:
            self._serve([scribbler], one.only(position))

    def _timed(self, call: NetworkCall, one: Round) -> Iterator[tuple[Pass, LentBatch, float]]:
        """The passes of one call with the seconds each took, counting what they cost."""
        recipe, wanted, places = call.backbone, call.wanted, len(call.shown)
        blank = self._sitting.blank if one.shape is None else of_shape(self._sitting.blank, one.shape)
        queries = call.queries(self._sitting.places, blank)
        self.encodings += places * len({request.encoding for request in wanted})
        images = self._sitting.closely(call.lent())
        shown, asked = LentValue(queries, "query"), LentValue(wanted, "pass")
        lent: tuple[Lent, ...] = (*images, shown, asked)
        given = list[Pass]()
        words = repr(recipe), str(one.number)
        asked_of = partial(self._sitting.guard.call, recipe.use, words, lent=lent)
        ask = partial(self._alone_after, recipe, asked_of, lambda: len(given) < len(wanted))
        started = time.perf_counter()
        network = self._backbone(recipe)
        if self._sitting.guard.shared is not None:
            self._sitting.guard.shared.begins(recipe)
        apart = network, *getattr(network, "__dict__", {}).values()
        ours = {request: request for request in wanted}
        answers = served(recipe, network, shown.value, asked.value, ask)
        for request, features in answers:
            if self._sitting.guard.shared is not None:
                self._sitting.guard.shared.ripen(recipe)
            self.passes += places
            left = LentBatch(features, apart, trusted=alone())
            given.append(request)
            yield ours.get(request, request), left, time.perf_counter() - started
            started = time.perf_counter()

    def _alone_after(
        self, recipe: Recipe, ask: Callable[..., Any], works: Callable[[], bool], verb: Callable[[], Any]
    ) -> Any:
        """Ask a network, which is shown images, but where it has given all and only says so. Other threads count and
        read ahead while it works, and rest while its answer is looked after and read."""
        self._sitting.begins(recipe, shown=works())
        if (later := self._sitting.later) is None:
            return ask(function=verb)
        if works():
            later.elsewhere.go_on()
        return ask(function=verb, then=later.elsewhere.rest)

    def _lost(self, readers: Sequence[Waiting], error: Exception, one: Round) -> None:
        """A backbone failed these readers: a window that was alone costs its image, of several each is tried alone;
        where memory ran out, all are lost, since each alone would be tried in the same shape."""
        if out_of_memory(error):
            for run, _, _ in readers:
                for position in self._sitting.seen(run, one):
                    self._sitting.judge(run, one, position).fail(too_large(error, self._sitting.places))
        elif len(one.windows) == 1:
            for run, _, _ in readers:
                for position in one.windows:
                    self._sitting.judge(run, one, position).fail(error)
        elif readers:
            for position in one.windows:
                self._serve(readers, one.only(position))


def reads(method: object, run: Run) -> TypeGuard[Asked]:
    """Whether a method is given features, not images."""
    return isinstance(run.purpose, Gathering) or isinstance(method, Reader)


def _forget(left: Left, wanted: Collection[Source]) -> None:
    """Features that no waiting reader needs are dropped: memory holds one pass, or those that are read together."""
    for source in [source for source in left if source not in wanted]:
        del left[source]
