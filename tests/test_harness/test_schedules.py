"""The scheduler under seeded fault schedules in virtual time: every result exactly once, and an end."""

from __future__ import annotations

from collections import Counter

from virtual_pool import FakePool, Faults, check_schedule, collect, world_of

FEW = 300  # `make schedules` tries thousands


def test_every_result_once_whatever_happens(seed: int) -> None:
    for number in range(FEW):
        check_schedule(seed + number)


def test_the_fake_pool_does_harm() -> None:
    """The schedules above are worth something: most of them lose workers, of every kind."""
    kinds: Counter[str] = Counter()
    for seed in range(100):
        world = world_of(seed)
        pool = FakePool(seed, 3, Faults(world.harm, 0.4, 3))
        collect(pool, world.shards, stall_seconds=20.0)
        kinds.update({kind for _, kind, _ in pool.log})
    assert min(kinds[kind] for kind in ("died", "oom", "node", "unavailable", "preempted", "error")) >= 5, kinds
