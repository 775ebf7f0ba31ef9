"""A shard -> its rows, batch by batch, whichever process it is: opens what recipes name, reads ahead, computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from harness.contracts import Asked, Batch, BatchDone, Method, Recipe, Row, Rows, Run, Shard
from harness.errors import in_words
from harness.foreign.calls import Guard
from harness.protocol.offering import tagged
from harness.recipes import loading
from harness.recipes.code_stamp import strange
from harness.work import arithmetic, slots
from harness.work.batch_work import BatchWork, reads
from harness.work.later import Later, one_behind
from harness.work.openings import Openings
from harness.work.pictures import picture
from harness.work.reading import Reading
from harness.work.slots import Place, Rules, Slot

Runs: TypeAlias = Sequence[tuple[Run, Method | Asked]]  # with their methods


@dataclass
class _Course:
    """A shard on its way. rules: the different ones of its runs. which: by run, the number of its own."""

    shard: Shard
    guard: Guard
    methods: Runs
    rules: tuple[Rules, ...]
    which: Mapping[str, int]
    later: Later


class ShardWorker:
    """Keeps backbones, methods and benchmarks open from shard to shard.

    threads: how many threads torch may use (None: as it decides). folder: where plug-ins in plain files are looked for.
    own: this process is there for one method alone.
    """

    def __init__(self, threads: int | None = None, folder: str | None = None, own: bool = False) -> None:
        if folder:
            loading.add_folder(folder)
        arithmetic.prepare_environment(threads)
        self._threads, self._prepared, self._own = threads, False, own
        self._openings = Openings(folder or ".")
        self._keeper: Guard | None = None
        self._changed: list[Hashable] = []  # what is open, and was found to be other than it was

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch of the shard, in order. A failure on an image is a failed row, never an exception.

        What the shard needs is opened before any image is read; runs that need what cannot be had are not tried.
        """
        self._prepare()
        guard, methods, untried = self._opened(shard)
        nothing = (BatchDone(shard.shard_id, batch.index, Rows.of(())) for batch in shard.batches)
        computed = self._computed(guard, shard, methods) if methods else nothing
        for batch, done in zip(shard.batches, computed, strict=True):
            left = Rows.of(
                Row(run.run_id, image, "failed", 0.0, f"Not tried: {why}", elsewhere=True)
                for run, why in untried for image in batch.image_ids
            )  # fmt: skip
            rows = Rows.joined((done.rows, left)) if untried else done.rows
            yield replace(done, rows=rows, notices=self._openings.take_notices())

    def _computed(self, guard: Guard, shard: Shard, methods: Runs) -> Iterator[BatchDone]:
        """The shard's batches under methods whose networks are open. What a batch left to count is counted while the
        next one goes through the networks."""
        reading = self._openings.reading(shard.runs[0], shard.seen)
        later = Later(reading.elsewhere)
        rules = {run.run_id: _rules(run, reading) for run in shard.runs}
        different = tuple(dict.fromkeys(rules.values()))
        which = {run_id: different.index(own) for run_id, own in rules.items()}
        try:
            yield from one_behind(self._begun(_Course(shard, guard, methods, different, which, later), reading))
        finally:
            later.close()

    def _begun(self, course: _Course, reading: Reading) -> Iterator[Callable[[], BatchDone]]:
        """By batch, once its networks and methods have answered, what waits for its counts."""
        read = partial(slots.read_place, course.rules)
        for batch, places in reading.batches(course.shard.batches, read):
            started, traces = time.perf_counter(), reading.elsewhere.traces
            course.guard.settle()
            work = self._work(course, places)
            if not course.guard.careful and (self._disturbed(course.guard) or work.spoiled):
                work = self._again(course, places, work)
            course.guard.leave()
            done = partial(_done, course.shard, batch, places, work, time.perf_counter() - started)
            ready = None if course.guard.careful else course.later.submit(partial(done, again=False))
            course.later.tidy()
            yield partial(self._taken, course, batch, places, work, ready, done, traces)

    def _taken(
        self, course: _Course, batch: Batch, places: Sequence[Place], work: BatchWork,
        ready: Future[BatchDone] | None, done: Callable[..., BatchDone], traces: int,
    ) -> BatchDone:  # fmt: skip
        """A batch that is counted meanwhile. traces: how many had been left in this process when it began: what is
        counted beside a plug-in of others that leaves something is counted again. Where somebody wrote to its images
        all of it is done again."""
        elsewhere = course.later.elsewhere
        if ready is not None and not ready.done():
            elsewhere.go_on()
            wait((ready,))
        if ready is None or elsewhere.traces != traces:
            found = done(again=elsewhere.traces != traces)
        else:
            found = ready.result()
        if not work.spoiled:
            return found
        started, self._changed = time.perf_counter(), []
        course.guard.settle()
        work = self._again(course, places, work)
        course.guard.leave()
        seconds = found.seconds + time.perf_counter() - started
        return _done(course.shard, batch, places, work, seconds, again=False)

    def _opened(self, shard: Shard) -> tuple[Guard, Runs, list[tuple[Run, str]]]:
        """The runs with their methods, all that they need opened; and those that lack something, with the reason."""
        self._openings.expect(shard.runs)
        try:
            guard = self._guard(self._openings.reading(shard.runs[0], shard.seen))
        except Exception as error:
            return Guard(), [], [(run, in_words(error)) for run in shard.runs]
        guard.settle()
        opened: list[tuple[Run, Method | Asked, set[Recipe]]] = []
        untried: list[tuple[Run, str]] = []
        for run in shard.runs:
            try:
                method = self._openings.method(guard, run)
                opened.append((run, method, self._networks(guard, run, method)))
            except Exception as error:
                untried.append((run, in_words(error)))
        self._openings.keep_networks(set().union(*(needs for _, _, needs in opened)))
        methods: list[tuple[Run, Method | Asked]] = []
        for run, method, needs in opened:
            try:
                for recipe in needs:
                    self._openings.network(guard, recipe)
                if run.protocol.tagger is not None:
                    self._openings.tagger(guard, run.protocol.tagger)
                methods.append((run, method))
            except Exception as error:
                untried.append((run, in_words(error)))
        guard.leave()
        taking_part = _recipes(shard).union(*(needs for _, _, needs in opened))
        if any(map(strange, taking_part)) and not self._own:
            self._openings.look_after()
            guard.shared = self._openings.shared
        return guard, methods, untried

    def _guard(self, reading: Reading) -> Guard:
        """Who makes the calls; in a method's own process always the same one, which knows what the method changed."""
        if not self._own:
            return Guard(reading.elsewhere)
        self._keeper = self._keeper or Guard(reading.elsewhere, own=True)
        return self._keeper

    def _work(self, course: _Course, places: Sequence[Place]) -> BatchWork:
        """A batch done, but for what is counted later, if nobody looks at every call."""
        guard = course.guard
        backbone = partial(self._openings.network, guard)
        offered = self._tagged(guard, places, course.rules)
        seen = {run_id: offered[number] for run_id, number in course.which.items()}
        return BatchWork(
            guard, course.methods, seen, slots.filler(course.rules[0][0]), backbone, course.shard.keep,
            course.shard.lessons, later=None if guard.careful else course.later, boundaries=course.shard.boundaries,
        )  # fmt: skip

    def _disturbed(self, guard: Guard) -> bool:
        """Whether a batch has to be done again: somebody left what is dear to look at, and it is not known who. Images
        are looked at besides, before its rows are given out."""
        replaced = guard.rare_traces()
        self._changed = [] if guard.shared is None else guard.shared.changed()
        return bool(replaced or self._changed)

    def _again(self, course: _Course, places: Sequence[Place], work: BatchWork) -> BatchWork:
        """A batch anew, and from now on, with a look at everything after every call, which is undone then. What was
        changed is opened anew, images are put back."""
        work.look_at_images()
        if self._changed:
            course.guard.leave()
            self._openings.drop(self._changed)
            course.guard, course.methods, _ = self._opened(course.shard)
            course.guard.settle()
        course.guard.careful = True
        if course.guard.shared is not None:
            course.guard.shared.keep()
        return self._work(course, places)

    def _tagged(self, guard: Guard, places: Sequence[Place], rules: Sequence[Rules]) -> list[list[Slot]]:
        """By rules, the places with what the tagger, if they have one, sees there; it is asked once for the same words.

        A network: it stays in this thread.
        """
        said: dict[object, tuple[int, ...]] = {}

        def numbers(recipe: Recipe, own: Rules, of: Slot) -> tuple[int, ...]:
            names, settings = own
            key = recipe, names, settings.templates, of.image_id
            if key not in said:
                tagger = self._openings.tagger(guard, recipe)
                ask = partial(tagged, tagger, of.lent[0].image, names, settings, of.image_id or "")
                said[key] = guard.call(recipe.use, (recipe.use, of.image_id or ""), ask, of.lent[:1])
            return said[key]

        return [
            [place[number] for place in places] if (recipe := own[1].tagger) is None
            else [slots.tag(place[number], partial(numbers, recipe, own), own) for place in places]
            for number, own in enumerate(rules)
        ]  # fmt: skip

    def _networks(self, guard: Guard, run: Run, method: object) -> set[Recipe]:
        """The networks that a method reads; none where it cannot say, which its rows will tell."""
        if not reads(method, run):
            return set()
        with suppress(Exception):
            ask = partial(guard.call, run.method.use, (run.run_id,), within=strange(run.method))
            return ask(lambda: {one.backbone for one in method.passes()})
        return set()

    def _prepare(self) -> None:
        """Before anything is computed, and only then: opening a worker should not load torch."""
        if not self._prepared:
            arithmetic.prepare_torch(self._threads)
            self._prepared = True


def _done(
    shard: Shard, batch: Batch, places: Sequence[Place], work: BatchWork, seconds: float, again: bool
) -> BatchDone:
    """A batch, counted; again: anew."""
    rows = Rows.of(work.rows(again))
    work.look_at_images()
    seen = [place[0] for place in places]
    kept = tuple([picture(slot.sample) for slot in seen if slot.sample and slot.image_id in shard.keep])
    origins = tuple([slot.origin for slot in seen if slot.origin])
    spent = (work.encodings, work.passes, seconds)
    return BatchDone(shard.shard_id, batch.index, rows, *spent, kept, origins, card=arithmetic.kind_of_card())


def _rules(run: Run, reading: Reading) -> Rules:
    """What decides what a run is offered."""
    return run.names or tuple([(name,) for name in reading.classes()]), run.protocol


def _recipes(shard: Shard) -> set[Recipe]:
    """Of the methods, the benchmark and the taggers of a shard."""
    taggers = {run.protocol.tagger for run in shard.runs if run.protocol.tagger}
    return {shard.runs[0].benchmark, *(run.method for run in shard.runs), *taggers}
