"""A shard -> its rows, batch by batch, whichever process it is: opens what recipes name, reads ahead, computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from harness.contracts import BatchDone, ProtocolSettings, Recipe, Run, Shard, Words
from harness.foreign.calls import Guard
from harness.protocol.offering import tagged
from harness.recipes import loading
from harness.recipes.origins import Source
from harness.work import arithmetic, slots
from harness.work.batch_work import BatchWork, Unopened, reads
from harness.work.pictures import picture
from harness.work.reading import Reading
from harness.work.slots import Slot


class Worker:
    """Keeps backbones, methods and benchmarks open from shard to shard.

    threads: how many threads torch may use (None: as it decides). folder: where plug-ins in plain files are looked for.
    """

    def __init__(self, threads: int | None = None, folder: str | None = None) -> None:
        if folder:
            loading.add_folder(folder)
        arithmetic.prepare_environment(threads)
        self._threads, self._prepared = threads, False
        self._open: dict[Recipe, Any] = {}
        self._learned: dict[tuple[Recipe, str], Any] = {}
        self._backbones: dict[Recipe, Any] = {}
        self._readings: dict[Recipe, Reading] = {}

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch of the shard, in order. A failure on an image is a failed row, never an exception."""
        self._prepare()
        first = shard.runs[0]
        reading, rules = self._reading(first.benchmark), first.protocol
        guard = Guard(reading.elsewhere)
        guard.settle()
        methods = [(run, self._method(guard, run)) for run in shard.runs]
        self._keep_backbones({one for run, method in methods for one in self._networks(guard, run, method)})
        names: Words = first.names or tuple((name,) for name in reading.classes())
        guard.leave()
        for batch, places in reading.batches(shard.batches, partial(slots.read, names, rules)):
            started = time.perf_counter()
            guard.settle()
            places = tuple(self._tagged(guard, slot, names, rules) for slot in places)
            work = self._work(guard, shard, methods, places, names)
            if guard.rare_traces() and not guard.careful:
                guard.careful = True
                work = self._work(guard, shard, methods, places, names)
            guard.leave()
            seconds = time.perf_counter() - started
            kept = tuple(picture(slot.sample) for slot in places if slot.sample and slot.image_id in shard.keep)
            origins = tuple(slot.origin for slot in places if slot.origin)
            yield BatchDone(shard.shard_id, batch.index, work.rows, work.encodings, work.passes, seconds, kept, origins)

    def _work(
        self, guard: Guard, shard: Shard, methods: Sequence[tuple[Run, Any]], places: Sequence[Slot], names: Words
    ) -> BatchWork:
        backbone = partial(self._backbone, guard)
        return BatchWork(guard, methods, places, slots.filler(names), backbone, shard.keep, shard.lessons)

    def _tagged(self, guard: Guard, slot: Slot, names: Words, rules: ProtocolSettings) -> Slot:
        """The place with what the tagger, if the protocol has one, sees in it. A network: it stays in this thread."""
        recipe = rules.tagger
        if recipe is None:
            return slot

        def numbers(of: Slot) -> tuple[int, ...]:
            tagger = self._opened(guard, recipe)
            ask = partial(tagged, tagger, of.lent[0].image, names, rules)
            return guard.call(recipe.use, (recipe.use, of.image_id or ""), ask, of.lent[:1])

        return slots.tag(slot, numbers, names, rules)

    def _method(self, guard: Guard, run: Run) -> Any:
        """The method of a run, or why there is none."""
        try:
            if run.artefact is None:
                return self._opened(guard, run.method)
            key = run.method, run.artefact
            if key not in self._learned:
                self._learned[key] = _open(guard, run.method, partial(loading.open_method, *key))
            return self._learned[key]
        except Exception as error:
            return Unopened(error)

    def _networks(self, guard: Guard, run: Run, method: Any) -> set[Recipe]:
        """The networks that a method reads; none where it cannot say, which its rows will tell."""
        if isinstance(method, Unopened) or not reads(run, method):
            return set()
        with suppress(Exception):
            return guard.call(run.method.use, (run.run_id,), lambda: {one.backbone for one in method.passes()})
        return set()

    def _reading(self, recipe: Recipe) -> Reading:
        if recipe not in self._readings:
            guard = Guard()
            guard.settle()
            self._readings[recipe] = Reading(_open(guard, recipe, partial(Source, recipe)))
            guard.leave()
        return self._readings[recipe]

    def _opened(self, guard: Guard, recipe: Recipe) -> Any:
        if recipe not in self._open:
            self._open[recipe] = _open(guard, recipe, partial(loading.build, recipe))
        return self._open[recipe]

    def _backbone(self, guard: Guard, recipe: Recipe) -> Any:
        if recipe not in self._backbones:
            self._backbones[recipe] = _open(guard, recipe, partial(loading.build, recipe))
        return self._backbones[recipe]

    def _keep_backbones(self, needed: set[Recipe]) -> None:
        """Networks that this shard does not read are let go before another one is opened: memory holds one set."""
        if needed - self._backbones.keys():
            self._backbones = {recipe: net for recipe, net in self._backbones.items() if recipe in needed}

    def _prepare(self) -> None:
        """Before anything is computed, and only then: opening a worker should not load torch."""
        if not self._prepared:
            arithmetic.prepare_torch(self._threads)
            self._prepared = True


def _open(guard: Guard, recipe: Recipe, build: Callable[[], Any]) -> Any:
    return guard.call(recipe.use, (repr(recipe),), build)
