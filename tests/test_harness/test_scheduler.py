"""The scheduler in virtual time: workers that start late or never, silence, and sharing what is left."""

from __future__ import annotations

from typing import Any

import pytest
from toy_workers import shard_of
from virtual_pool import FakePool, Faults, collect, images_of

from harness.errors import ClusterError
from harness.executors.scheduler import Scheduler
from harness.executors.suspects import TRIES


def test_nothing_but_losses_is_an_error_with_the_last_reason() -> None:
    pool = FakePool(5, 3, Faults(every_lease="node"))
    with pytest.raises(ClusterError, match=r"lost one after the other and nothing got done.*bad luck"):
        collect(pool, [shard_of(f"s{k}", ["r"], images_of(2, 2)) for k in range(50)])
    assert pool.deaths <= 30


def test_workers_that_cannot_start_are_an_error_with_the_cause() -> None:
    pool = FakePool(6, 2, Faults(unready=100))
    with pytest.raises(ClusterError, match=r"No worker process gets ready \(4 attempts\).*no weights"):
        collect(pool, [shard_of("s", ["r"], images_of(4, 2))])
    pool = FakePool(6, 2, Faults(unready=3))
    assert len(collect(pool, [shard_of("s", ["r"], images_of(4, 2))])) == 4


def test_a_cluster_without_a_free_place_is_waited_for_then_an_error() -> None:
    pool = FakePool(7, 0)
    with pytest.raises(ClusterError, match="within 30 s: the cluster has no free place"):
        collect(pool, [shard_of("s", ["r"], images_of(1, 1))], ready_seconds=30.0)
    assert 30 <= pool.now < 40


def test_workers_join_when_the_cluster_grows() -> None:
    pool = FakePool(8, 1)
    scheduler = Scheduler(pool, clock=pool.clock)
    shards = [shard_of(f"s{k}", ["r"], [[f"s{k}b{b}"] for b in range(4)]) for k in range(20)]
    seen: list[int] = []
    for _ in scheduler.run(shards):
        seen.append(len(pool.workers))
        pool.size = 4
    assert seen[0] == 1 and max(seen) == 4 and len(seen) == 80


def test_idle_workers_share_the_last_shard_and_stay_for_the_next_run() -> None:
    pool = FakePool(9, 4)
    scheduler = Scheduler(pool, clock=pool.clock)
    done = list(scheduler.run([shard_of("s", ["r"], images_of(32, 2))]))
    assert sorted(one.index for one in done) == list(range(32))
    assert pool.leases > 4, "one shard, four workers: it has to be cut"
    before = set(pool.workers)
    assert len(list(scheduler.run([shard_of("t", ["r"], images_of(8, 2))]))) == 8
    assert set(pool.workers) == before


def test_an_abandoned_run_leaves_no_worker_at_work() -> None:
    pool = FakePool(10, 2)
    results = Scheduler(pool, clock=pool.clock).run([shard_of(f"s{k}", [f"r{k}"], images_of(8, 2)) for k in range(4)])
    next(results)
    assert any(worker.shard for worker in pool.workers.values())
    results.close()
    assert not any(worker.shard for worker in pool.workers.values())


def test_without_a_limit_silence_is_measured_by_what_batches_take() -> None:
    """Batches take up to 3 s here, so after the first ones a hung worker is given the least patience of a minute."""
    pool = FakePool(11, 1, Faults(lambda run, image: "stalled" if image == "b9i0" else None))
    events: list[dict[str, Any]] = []
    collect(pool, [shard_of("s", ["r"], images_of(12, 1))], on_event=events.append)
    stalls = [event["reason"] for event in events if event.get("kind") == "stalled"]
    assert stalls[0] == "it said nothing for 60 s" and len(stalls) == 1 + TRIES


def test_a_first_batch_may_take_longer_than_stall_seconds() -> None:
    """Networks are opened for it: 30 s here, where 5 s of silence are allowed."""
    pool = FakePool(14, 1)
    ordinary, slow = pool._next, {"first": True}

    def opening(number: int) -> None:
        if pool.workers[number].produced or not slow.pop("first", False):
            ordinary(number)
        else:
            pool._later(30.0, lambda: pool._batch(number, 0))

    pool._next = opening  # type: ignore[method-assign]
    events: list[dict[str, Any]] = []
    done = collect(pool, [shard_of("s", ["r"], images_of(4, 1))], stall_seconds=5.0, on_event=events.append)
    assert len(done) == 4 and not [event for event in events if event["event"] == "worker_lost"]


def test_stall_seconds_hold_from_the_second_batch_on() -> None:
    pool = FakePool(15, 1, Faults(lambda run, image: "stalled" if image == "b2i0" else None))
    events: list[dict[str, Any]] = []
    collect(pool, [shard_of("s", ["r"], images_of(4, 1))], stall_seconds=5.0, on_event=events.append)
    stalls = [event["reason"] for event in events if event.get("kind") == "stalled"]
    assert stalls[0] == "it said nothing for 5 s"


def test_what_every_worker_is_at_is_told_when_it_begins() -> None:
    """By the lease that it is given, then by each batch that it has done."""
    pool, at = FakePool(9, 3), dict[int, tuple[str, int] | None]()

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "lease":
            assert at.get(event["worker"]) is None, "it has not ended what it was at"
            at[event["worker"]] = event["shard"], event["following"]

    shards = [shard_of(f"s{k}", ["r"], [[f"s{k}b{b}"] for b in range(4)]) for k in range(9)]
    for done in Scheduler(pool, clock=pool.clock, on_event=tell).run(shards):
        assert done.worker is not None and at[done.worker] == (done.shard_id, done.index)
        at[done.worker] = None if done.following is None else (done.shard_id, done.following)
    assert at == {1: None, 2: None, 3: None}
