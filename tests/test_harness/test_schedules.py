"""The scheduler under seeded fault schedules in virtual time: every result exactly once, and an end."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from toy_workers import row_of
from virtual_pool import FakePool, Faults, collect, expected, world_of

SCHEDULES = 3000


@pytest.mark.parametrize("block", range(10))
def test_every_result_once_whatever_happens(block: int) -> None:
    each = SCHEDULES // 10
    for seed in range(block * each, (block + 1) * each):
        world = world_of(seed)
        dice = random.Random(seed + 1_000_000)
        faults = Faults(world.harm, dice.choice([0.0, 0.1, 0.4]), dice.choice([1, 3]), unready=dice.choice([0, 0, 1]))
        pool = FakePool(seed, dice.randint(1, 4), faults)
        rows = [row for done in collect(pool, world.shards, stall_seconds=20.0) for row in done.rows]
        wanted = expected(world.shards)
        assert Counter((row.run_id, row.image_id) for row in rows) == Counter(dict.fromkeys(wanted, 1)), f"seed {seed}"
        for row in rows:
            bad = world.harm(row.run_id, row.image_id) is not None
            assert (row.status == "failed") is bad, f"seed {seed}: {row}"
            if not bad:
                truth = row_of(row.run_id, row.image_id, wanted[row.run_id, row.image_id])
                assert np.array_equal(row.pixels, truth.pixels), f"seed {seed}: another batch shape for {row}"
        assert not any(worker.shard and worker.produced < worker.keep for worker in pool.workers.values())


def test_the_fake_pool_does_harm() -> None:
    """The schedules above are worth something: most of them lose workers, of every kind."""
    kinds: Counter[str] = Counter()
    for seed in range(200):
        world = world_of(seed)
        pool = FakePool(seed, 3, Faults(world.harm, 0.4, 3))
        collect(pool, world.shards, stall_seconds=20.0)
        kinds.update({kind for _, kind, _ in pool.log})
    assert min(kinds[kind] for kind in ("died", "oom", "node", "unavailable", "preempted", "error")) >= 10, kinds
