"""A plan, a number of virtual workers and a results folder -> what the real driver made of them: who worked when.

The plan, the scheduler, the pool that speaks to Ray, the packing of messages, the door's back room, the sums for a
display and the store are those of a sweep; only Ray itself and what workers compute are made up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from harness import stages
from harness.contracts import Batch, BatchDone, Origin, Recipe, Row, Rows, Run, Shard
from harness.executors.placement import Place
from harness.executors.ray_pool import RayPool
from harness.executors.scheduler import Scheduler
from harness.executors.seat import packed
from harness.fits import Fits
from harness.learning import fitting
from harness.learning.fitting import Ended, FitJob
from harness.planning.plan import Plan
from harness.progress import Progress
from perf.virtual_ray import VirtualRay
from results.counts.estimators import RunningScores
from results.folder.store import Store

LOOKS = 64  # batches between two looks at the processor's time
OVERLAPS = 9  # pairs of classes an image: three classes offered and three there


class Messages:
    """What workers say: counts drawn once for all, under the names of every batch. spoils: by worker and batch, whether
    it counts otherwise than others."""

    def __init__(self, overlaps: int = OVERLAPS, spoils: Callable[[int, Batch], bool] = lambda worker, batch: False):
        self._spoils, self._drawn = spoils, dict[tuple[tuple[Run, ...], int], Rows]()
        rng, side = np.random.default_rng(0), int(np.ceil(np.sqrt(overlaps)))
        true, predicted = np.divmod(np.arange(overlaps), side)
        self._pairs = true + 1, predicted + 1, rng.integers(1, 9999, overlaps)

    def __call__(self, shard: Shard, batch: Batch, worker: int) -> bytes:
        images = batch.image_ids
        key = shard.runs, len(images)
        if key not in self._drawn:
            self._drawn[key] = self._rows(shard, len(images))
        digests = tuple([f"{abs(hash(image)):032x}" for image in images])
        rows = replace(self._drawn[key], images=images, samples=digests)
        if self._spoils(worker, batch):
            rows = replace(rows, pixels=rows.pixels + np.uint32(1))
        origins = tuple([Origin(*pair, (), "numpy 2.0", "0") for pair in zip(images, digests, strict=True)])
        done = BatchDone(shard.shard_id, batch.index, rows, len(batch.slots), len(batch.slots), 0.1, origins=origins)
        return packed(done)

    def _rows(self, shard: Shard, images: int) -> Rows:
        return Rows.of(
            Row(run.run_id, f"{image}", "ok", 0.1 + image / 1000, None, *self._pairs, sample=f"{image:032x}")
            for run in shard.runs for image in range(images)
        )  # fmt: skip


class Fleet:
    """An executor of virtual workers; fulfils seam.Executor."""

    def __init__(self, world: VirtualRay) -> None:
        self.world = world
        self.events: list[dict[str, object]] = []
        pool = RayPool(Recipe.of("nowhere:Worker"), Place(0.0, 1.0, 1), None, library=world, clock=world)
        self._scheduler = Scheduler(pool, clock=world.monotonic, on_event=self.events.append)

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        return self._scheduler.run(shards)

    def fit(self, jobs: Sequence[FitJob], begin: Callable[[FitJob], None]) -> Iterator[Ended]:
        return fitting.one_by_one(jobs, begin)

    def close(self) -> None:
        pass


@dataclass
class Sailed:
    """What came of it. rows: how many; times: of every batch, when it was stored; used: seconds of the processor that
    the driver had taken by then; mebibytes: if measured."""

    world: VirtualRay
    rows: int = 0
    mebibytes: float = 0.0
    times: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)


def sail(plan: Plan, world: VirtualRay, folder: Path, shard_batches: int | None = None) -> Sailed:
    """Do a plan as the door does."""
    fleet, store, console = Fleet(world), Store.open(folder), Console(quiet=True)
    scores, sailed = RunningScores(), Sailed(world)
    with store.writer() as writer, Progress(plan, scores.miou, console) as progress:
        desk = stages.Desk(store, writer, fleet, console, Fits(store, fleet, console, ".", {}), plan.data)
        for done, rows in desk.work(plan, shard_batches):
            scores.add(rows)
            progress.update(done)
            sailed.rows += len(rows)
            sailed.times.append(world.now)
            if len(sailed.times) % LOOKS == 1:  # a look takes microseconds
                used = time.process_time() - world.own_seconds
            sailed.used.append(used)
        sailed.notices = sorted(desk.said)
    sailed.events = fleet.events
    return sailed
