"""The images of one batch and the methods -> rows: every pass once, features to every reader, failures as rows.

Where images are cut into windows, these go through the networks in rounds of as many as the batch has images (see
harness.work.rounds), with fillers where there is none: what goes through a network together keeps its shape.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias, TypeGuard, cast

from harness.contracts import (
    Asked,
    Backbone,
    BatchMethod,
    BatchReader,
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
from harness.foreign.calls import Guard, LeftTrace, alone, left_trace
from harness.foreign.lending import Lent, LentBatch, LentFeatures, LentImage, LentValue
from harness.protocol.offering import segmented, segments_together
from harness.recipes.code_stamp import strange
from harness.work.batch_reading import (
    answer_at,
    answers,
    bare_answer,
    filled,
    in_batches,
    of_one_place,
    segmented_together,
)
from harness.work.boundaries import BoundariesThere
from harness.work.judge import Judge, judge_of
from harness.work.later import Later
from harness.work.passes import served
from harness.work.room import asked_with_room, out_of_memory, too_large
from harness.work.rounds import Round, Sight, full, in_places
from harness.work.scoring import TruthThere, brought_home
from harness.work.showing import NetworkCall, Source, Sources, calls
from harness.work.slots import Slot, of_shape

Waiting: TypeAlias = tuple[Run, Asked, Mapping[Pass, Parts]]
Left = dict[Source, tuple[LentBatch, float]]  # features of every position, and a reader's seconds for one


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
        self._later = later
        self._guard, self._slots, self._blank, self._backbone = guard, slots, blank, backbone
        self._methods, self._places = methods, len(next(iter(slots.values()), ()))
        samples = {place: slot.sample for own in slots.values() for place, slot in enumerate(own) if slot.sample}
        truths = {place: TruthThere(sample.truth) for place, sample in samples.items()}
        bounds = {place: BoundariesThere(truth) for place, truth in truths.items()} if boundaries else {}
        self._judges = {
            (run.run_id, place): judge_of(
                run, slot, slot.image_id in keep, lessons or {}, truths.get(place), bounds.get(place)
            )
            for run, _ in methods
            for place, slot in enumerate(slots[run.run_id])
            if slot.image_id is not None
        }
        self.encodings = 0
        self.passes = 0
        self.spoiled = False  # a stranger wrote to an image that others were shown too
        self._work()
        self._home = later.submit(self._bring_home) if later is not None else None

    def rows(self, again: bool = False) -> tuple[Row, ...]:
        """Of every run for every image of the batch, run by run in the order of the slots; who counts is waited for.
        again: what was counted meanwhile may be wrong."""
        for judge in self._judges.values() if again else ():
            judge.again()
        if self._home is None or self._later is None:
            self._bring_home()
        else:
            if not self._home.done():
                self._later.elsewhere.go_on()
            self._home.result()
        return tuple([judge.row() for judge in self._judges.values()])

    def _work(self) -> None:
        asked = [(run, method, self._needs(run, method)) for run, method in self._methods if reads(method, run)]
        different = list({id(slots): slots for slots in self._slots.values()}.values())
        rounds = list(in_places(different))
        anywhere = {who[0].run_id for who in asked if len(rounds) > 1 and self._anywhere(who[2])}
        in_place = [who for who in asked if who[0].run_id not in anywhere]
        for one in rounds:
            for run, method in self._methods:
                if not reads(method, run):
                    self._segment(run, cast(Method, method), one)
                    self._look_at_images(run.method)
            self._serve(in_place, one)
        for one in full([self._slots[run_id] for run_id in anywhere]):
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
        waiting = [judge for judge in self._judges.values() if judge.left]
        try:
            numbers = iter(brought_home([one for judge in waiting for one in judge.left]))
            for judge in waiting:
                judge.receive([next(numbers) for _ in judge.left])
        except Exception as error:  # a device that broke says so to whoever waits for it first
            for judge in waiting:
                judge.fail(error)

    def _seen(self, run: Run, one: Round) -> dict[int, Sight]:
        """What a run has to see in a round, by position."""
        return one.shown(self._slots[run.run_id])

    def _fail(self, run: Run, error: Exception) -> None:
        for (run_id, _), judge in self._judges.items():
            if run_id == run.run_id:
                judge.fail(error)

    def _ask(
        self, run: Run, shown: Sight, verb: Callable[[Vocabulary], object], lent: Sequence[Lent] = ()
    ) -> Callable[[], object]:
        """A question to a method about one window of an image, as a guarded call; it is given the vocabulary."""
        words = run.run_id, shown.query.image_id
        names = LentValue(shown.query.vocabulary, "vocabulary")
        ask = partial(verb, names.value)
        foreign = strange(run.method)
        if foreign:
            ask = partial(bare_answer, ask)
        # one may keep an earlier image, and write to it now
        everywhere = self._slots[run.run_id] if foreign and self._guard.careful else ()
        images = self._closely([one for other in everywhere for one in other.lent] or shown.lent)
        return partial(self._guard.call, run.method.use, words, ask, (*images, names, *lent), within=foreign)

    def _closely(self, images: Sequence[LentImage]) -> Sequence[LentImage]:
        """The images that are compared after a call: where a stranger's turn is over, and when a batch is done, all of
        them are compared, and only a batch that is done again asks which call writes to them."""
        return images if self._guard.careful else ()

    def _look_at_images(self, whose: Recipe) -> None:
        """The turn of a plug-in is over: who comes next is to see the images as they are, and to answer for himself."""
        if strange(whose) and not self._guard.careful:
            lent = {id(one): one for slots in self._slots.values() for slot in slots for one in slot.lent}
            self.spoiled |= any([one.written() for one in lent.values()])

    def _segment(self, run: Run, method: Method, one: Round) -> None:
        whole = getattr(type(method), "whole_image", False) is True
        if whole and one.number > 0:
            return
        if run.purpose.learned is None and segments_together(method):
            return self._segment_together(run, method, one)
        for place, shown in self._seen(run, one).items():
            judge = self._judges[run.run_id, place]
            (image,) = shown.slot.lent[:1] if whole else shown.lent
            if whole:
                judge.expect_whole()
            verb = partial(segmented, method, image.image, shown.slot.image_id or "")
            lent = self._closely((image,) if whole else ())
            judge.hear(self._ask(run, shown, verb, lent), 0.0, self._later)

    def _segment_together(self, run: Run, method: BatchMethod, one: Round) -> None:
        """Ask about all places at once; where that fails, about each alone, in the same shape, which is of no use where
        memory ran out."""
        seen = self._seen(run, one)
        if not seen:
            return
        started = time.perf_counter()
        try:
            given = self._answered(run, method, one, seen)
        except Exception as error:
            if out_of_memory(error):
                return self._fail(run, too_large(error, self._places))
            given = {}
        seconds = (time.perf_counter() - started) / len(seen)
        for place, shown in seen.items():
            alone_there = partial(self._answered, run, method, one, {place: shown})
            answered = partial(asked_with_room, self._places, alone_there)
            ask = partial(answer_at, place, given, answered)
            self._judges[run.run_id, place].hear(ask, seconds, self._later)

    def _answered(self, run: Run, method: BatchMethod, one: Round, seen: Mapping[int, Sight]) -> dict[int, object]:
        """What a method answers about some places, all others blank."""
        queries = filled({place: shown.query for place, shown in seen.items()}, self._places, self._blank)
        names, foreign = LentValue([query.vocabulary for query in queries], "vocabulary"), strange(run.method)
        slots = self._slots[run.run_id] if foreign else [shown.slot for shown in seen.values()]
        lent = self._closely([image for slot in slots for image in slot.lent])
        ask = partial(segmented_together, method, [query.image for query in queries], names.value, foreign)
        words = run.run_id, str(one.number)
        found = self._guard.call(run.method.use, words, ask, (*lent, names), within=foreign)
        return {place: found[place] for place in seen}

    def _serve(self, asked: Sequence[Waiting], one: Round) -> None:
        """Run every requested pass once on the windows of a round, and let each reader read as soon as all its passes
        are there. Where a backbone fails on several windows, each is tried alone in the same shape; where a reader
        writes into what it reads, the passes are made anew for those that come after it."""
        made, sources = calls([(run.run_id, needs, self._seen(run, one)) for run, _, needs in asked])
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
                        unread = self._read(who, sources[run_id], left, one)
                        self._look_at_images(who[0].method)
                        if unread is not None:
                            return self._anew(who, unread, list(waiting.values()), one)
                    _forget(left, {source for run_id in waiting for source in needed[run_id]})
            except Exception as error:
                lost = [run_id for run_id in waiting if any(source[0] == number for source in needed[run_id])]
                self._lost([waiting.pop(run_id) for run_id in lost], error, one)

    def _needs(self, run: Run, reader: Asked) -> dict[Pass, Parts]:
        """The passes that a reader asks for; none, and failed rows, where it cannot say."""
        try:
            ask = partial(self._guard.call, run.method.use, (run.run_id,), within=strange(run.method))
            needs = ask(lambda: dict(reader.passes()))
            if not needs:
                raise MethodError("its `passes` asks for nothing, so there is nothing for it to read")
            own: dict[Pass, Parts] = LentValue(needs, "passes").value  # its objects stay its own to change
            return own
        except Exception as error:
            self._fail(run, error)
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
        blank = self._blank if one.shape is None else of_shape(self._blank, one.shape)
        queries = call.queries(self._places, blank)
        self.encodings += places * len({request.encoding for request in wanted})
        images = self._closely(call.lent())
        shown, asked = LentValue(queries, "query"), LentValue(wanted, "pass")
        lent: tuple[Lent, ...] = (*images, shown, asked)
        given = list[Pass]()
        words = repr(recipe), str(one.number)
        asked_of = partial(self._guard.call, recipe.use, words, lent=lent)
        ask = partial(self._alone_after, asked_of, lambda: len(given) < len(wanted))
        started = time.perf_counter()
        network = self._backbone(recipe)
        if self._guard.shared is not None:
            self._guard.shared.begins(recipe)
        apart = network, *getattr(network, "__dict__", {}).values()
        ours = {request: request for request in wanted}
        answers = served(recipe, network, shown.value, asked.value, ask)
        for request, features in answers:
            if self._guard.shared is not None:
                self._guard.shared.ripen(recipe)
            self._look_at_images(recipe)
            self.passes += places
            left = LentBatch(features, apart, trusted=alone())
            given.append(request)
            yield ours.get(request, request), left, time.perf_counter() - started
            started = time.perf_counter()

    def _alone_after(self, ask: Callable[..., Any], works: Callable[[], bool], verb: Callable[[], Any]) -> Any:
        """Ask a network. Other threads count and read ahead while it works (not where it has given all and only says
        so), and rest while its answer is looked after and read."""
        if self._later is None:
            return ask(function=verb)
        if works():
            self._later.elsewhere.go_on()
        return ask(function=verb, then=self._later.elsewhere.rest)

    def _judge(self, run: Run, one: Round, position: int) -> Judge:
        """Who judges a run on the image of which a window is at a position."""
        return self._judges[run.run_id, one.windows[position].place]

    def _read(self, who: Waiting, sources: Sources, left: Left, one: Round) -> Sequence[int] | None:
        """Let a reader read; where it wrote into what it reads, the positions that it has not come to, else None."""
        run, reader, needs = who
        seen, closely = self._seen(run, one), strange(run.method)
        everything = [held for features, _ in left.values() for held in features] if closely else []
        for held in everything:
            held.remember()
        asked = LentValue(needs, "pass")
        if in_batches(reader) and not isinstance(run.purpose, Gathering):
            unread = self._read_together(run, reader, asked, sources, left, one)
        else:
            unread = dict.fromkeys(sources, reader)
        for number, (position, form) in enumerate(unread.items()):
            lent = [left[source][0][position] for source in sources[position]]
            seconds = sum(left[source][1] for source in sources[position])
            features = dict(zip(asked.value, (held.features for held in lent), strict=True))
            judge = self._judge(run, one, position)
            verb = judge.question(form, features)
            with ExitStack() as loan:
                for held in lent:
                    loan.enter_context(held.lent(closely))
                ask = self._ask(run, seen[position], verb, (asked, *lent))
                judge.hear(partial(asked_with_room, self._places, ask), seconds, self._later)
            if any(held.damaged for held in lent):
                return list(unread)[number + 1 :]
        if any([held.changed() for held in everything]):
            self._spoil(run, one, left_trace([f"{LentFeatures.clause} (those of other images or passes)"]))
            return ()
        return None

    def _read_together(
        self, run: Run, reader: BatchReader, asked: LentValue, sources: Sources, left: Left, one: Round
    ) -> dict[int, Asked]:
        """Let a reader read all windows that come from the same passes at once. By position of those that it gave no
        answer for, how it is asked about that one alone."""
        unread: dict[int, Asked] = {}
        seen, strict = self._seen(run, one), not alone()
        for own in dict.fromkeys(tuple(every) for every in sources.values()):
            mine = [position for position, every in sources.items() if tuple(every) == own]
            names = [seen[position].query.vocabulary for position in mine]
            batches = dict(zip(asked.value, [left[source][0].whole for source in own], strict=True))
            lent = [held for source in own for held in left[source][0]] if strict else []
            shown, seconds = LentValue(names, "vocabulary"), sum(left[source][1] for source in own)
            look = partial(
                self._guard.call, run.method.use, (run.run_id, str(one.number)), lent=(asked, shown, *lent),
                within=strange(run.method),
            )  # fmt: skip
            started = time.perf_counter()
            with ExitStack() as loan:
                for held in lent:
                    loan.enter_context(held.lent(strange(run.method)))
                given = answers(reader, batches, dict(zip(mine, shown.value, strict=True)), look, strange(run.method))
            seconds += (time.perf_counter() - started) / len(mine)
            for position, words in zip(mine, names, strict=True):
                if position not in given:
                    unread[position] = of_one_place(reader, batches, position)
                else:
                    judge = self._judge(run, one, position)
                    judge.hear(partial(judge.question(given[position], {}), words), seconds, self._later)
        return unread

    def _spoil(self, run: Run, one: Round, error: LeftTrace) -> None:
        """Which of its answers wrote past what it was lent is not known: all of them are given up."""
        for position in self._seen(run, one):
            self._judge(run, one, position).spoil(error)

    def _lost(self, readers: Sequence[Waiting], error: Exception, one: Round) -> None:
        """A backbone failed these readers: a window that was alone costs its image, of several each is tried alone;
        where memory ran out, all are lost, since each alone would be tried in the same shape."""
        if out_of_memory(error):
            for run, _, _ in readers:
                for position in self._seen(run, one):
                    self._judge(run, one, position).fail(too_large(error, self._places))
        elif len(one.windows) == 1:
            for run, _, _ in readers:
                for position in one.windows:
                    self._judge(run, one, position).fail(error)
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
