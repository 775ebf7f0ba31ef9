"""A small fleet in virtual time under the real plan, scheduler, pool, seam and store: busy workers, and no row lost."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.contracts import BatchDone, Rows, Shard
from harness.planning import plan as plans
from perf.driver_parts import runs_on_images
from perf.fleet import Fleet, Messages, sail
from perf.virtual_ray import Pace, VirtualRay
from results.folder.store import Store


def seconds(_shard: Shard, chance: random.Random, _worker: int) -> float:
    return chance.uniform(0.9, 1.1)


@pytest.mark.parametrize("losses", [0.0, 240.0])
def test_workers_are_busy_and_every_row_is_stored_once_whoever_is_lost(
    seed: int, tmp_path: Path, losses: float
) -> None:
    """losses: every worker is lost four times a minute, 24,000 times what is promised."""
    plan = plans.make("fleet", runs_on_images(3, 8 * 40 * 4), 4)
    world = VirtualRay(8, Pace(seconds, start=0.1, message=0.002), Messages(), seed, losses)
    rounds = gc.get_threshold()
    sailed = sail(plan, world, tmp_path)
    assert gc.get_threshold() == rounds, "fewer rounds of the collector are made while others compute, and no longer"
    assert sailed.rows == 3 * 1280 and (world.deaths > 0) is bool(losses)
    stored = Store(tmp_path).rows()
    assert stored.height == 3840 and stored.select("run_id", "image_id").is_unique().all()
    assert sailed.notices == []
    start, end = sailed.times[40], sailed.times[-80]
    share = world.busy(start, end) / (8 * (end - start))
    assert share >= (0.6 if losses else 0.95)


def test_a_notice_without_rows_is_shown_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the scheduler says that two machines differ, see test_tail."""
    run = Fleet.run

    def warning(self: Fleet, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        yield from run(self, shards)
        yield BatchDone("0-0", 0, Rows.of(()), notices=("Two machines differ.",))

    monkeypatch.setattr(Fleet, "run", warning)
    world = VirtualRay(2, Pace(seconds, start=0.1), Messages())
    sailed = sail(plans.make("fleet", runs_on_images(2, 16), 4), world, tmp_path)
    assert sailed.rows == 32 and sailed.notices == ["Two machines differ."]
    (told,) = [event for event in Store(tmp_path).events() if event["event"] == "notice"]
    assert told["text"] == "Two machines differ."


def test_a_driver_that_is_too_slow_leaves_workers_idle(tmp_path: Path, seed: int) -> None:
    """The test above can fail."""
    plan = plans.make("fleet", runs_on_images(1, 8 * 20 * 4), 4)
    world = VirtualRay(8, Pace(seconds, start=0.1, message=0.25), Messages(), seed)
    sailed = sail(plan, world, tmp_path)
    start, end = sailed.times[40], sailed.times[-40]
    assert world.busy(start, end) / (8 * (end - start)) < 0.7
