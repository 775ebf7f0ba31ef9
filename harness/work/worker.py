"""A shard -> its rows, batch by batch, whichever process it is: opens what recipes name, reads ahead, computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from harness.contracts import Batch, BatchDone, Recipe, Run, Shard, Words
from harness.recipes import loading
from harness.recipes.origins import Source
from harness.work import arithmetic, slots
from harness.work.batch_work import BatchWork, reads
from harness.work.pictures import picture
from harness.work.slots import Slot

READ_AHEAD = 1  # batches decoded while one is computed


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
        self._sources: dict[Recipe, Source] = {}
        self._learned: dict[tuple[Recipe, str], Any] = {}
        self._backbones: dict[Recipe, Any] = {}

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch of the shard, in order. A failure on an image is a failed row, never an exception."""
        self._prepare()
        methods = [(run, self._method(run)) for run in shard.runs]
        self._keep_backbones({request.backbone for run, one in methods if reads(run, one) for request in one.passes()})
        source, rules = self._source(shard.runs[0].benchmark), shard.runs[0].protocol
        names: Words = shard.runs[0].names or tuple((name,) for name in source.benchmark.classes)
        tagger = self._opened(rules.tagger) if rules.tagger else None
        read = partial(slots.read, source, names, rules)
        for batch, places in _read_ahead(shard.batches, read):
            started = time.perf_counter()
            if tagger is not None:  # a network: it stays in this thread
                places = tuple(slots.tag(slot, tagger, names, rules) for slot in places)
            work = BatchWork(methods, places, slots.filler(names), self._backbone, shard.keep, shard.lessons)
            rows = work.rows()
            seconds = time.perf_counter() - started
            kept = tuple(picture(slot.sample) for slot in places if slot.sample and slot.image_id in shard.keep)
            origins = tuple(slot.origin for slot in places if slot.origin)
            yield BatchDone(shard.shard_id, batch.index, rows, work.encodings, work.passes, seconds, kept, origins)

    def _method(self, run: Run) -> Any:
        if run.artefact is None:
            return self._opened(run.method)
        key = run.method, run.artefact
        if key not in self._learned:
            self._learned[key] = loading.open_method(*key)
        return self._learned[key]

    def _source(self, recipe: Recipe) -> Source:
        if recipe not in self._sources:
            self._sources[recipe] = Source(recipe)
        return self._sources[recipe]

    def _opened(self, recipe: Recipe) -> Any:
        if recipe not in self._open:
            self._open[recipe] = loading.build(recipe)
        return self._open[recipe]

    def _backbone(self, recipe: Recipe) -> Any:
        if recipe not in self._backbones:
            self._backbones[recipe] = loading.build(recipe)
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


def _read_ahead(
    batches: Sequence[Batch], read: Callable[[Batch], tuple[Slot, ...]]
) -> Iterator[tuple[Batch, tuple[Slot, ...]]]:
    """Every batch with its images; the next ones are read in a thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        ahead: list[Future[tuple[Slot, ...]]] = []
        for position, batch in enumerate(batches):
            for coming in batches[position + len(ahead) : position + 1 + READ_AHEAD]:
                ahead.append(pool.submit(read, coming))
            yield batch, ahead.pop(0).result()
