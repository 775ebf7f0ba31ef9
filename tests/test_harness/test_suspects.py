"""Who is to blame when workers die: a run, an image, a person, or nobody; what is tried again, alone, and how often."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from toy_workers import shard_of
from virtual_pool import FakePool, Faults, collect, images_of

from harness.executors.pool import Event
from harness.executors.suspects import REST, TRIES, Piece, Suspects


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_run_that_always_kills_ends_soon(workers: int) -> None:
    runs = [f"r{i}" for i in range(6)]
    shards = [shard_of("s", runs, images_of(20, 4))] + [
        shard_of(f"t{k}", runs, [[f"t{k}b{b}i{i}" for i in range(4)] for b in range(20)]) for k in range(9)
    ]
    pool = FakePool(1, workers, Faults(lambda run, image: "died" if run == "r3" else None))
    events: list[dict[str, Any]] = []
    rows = [row for done in collect(pool, shards, on_event=events.append) for row in done.rows]
    assert {row.run_id for row in rows if row.status == "failed"} == {"r3"}
    assert len(rows) == 6 * 800 and sum(row.status == "failed" for row in rows) == 800
    untried = [row for row in rows if (row.error or "").startswith("Not tried")]
    assert len(untried) >= 780
    assert pool.deaths <= 15 + 6 * workers, "the whole benchmark is not worth more workers"
    assert {"event": "run_stopped", "run": "r3"} in events


def test_an_image_that_kills_all_runs_costs_about_one_worker_a_run() -> None:
    runs = [f"r{i}" for i in range(40)]
    batches = images_of(12, 4)
    pool = FakePool(3, 2, Faults(lambda run, image: "died" if image == "b5i2" else None))
    rows = [row for done in collect(pool, [shard_of("s", runs, batches)]) for row in done.rows]
    assert {row.image_id for row in rows if row.status == "failed"} == {"b5i2"}
    assert len(rows) == 40 * 48 and sum(row.status == "failed" for row in rows) == 40
    assert pool.deaths <= 70


def test_a_few_bad_images_do_not_stop_a_run() -> None:
    bad = {"b0i0", "b0i1", "b3i2", "b7i3", "b7i0"}
    pool = FakePool(4, 2, Faults(lambda run, image: "stalled" if image in bad else None))
    shard = shard_of("s", ["r"], images_of(10, 4))
    rows = [row for done in collect(pool, [shard], stall_seconds=5) for row in done.rows]
    assert {row.image_id for row in rows if row.status == "failed"} == bad
    errors = {row.error for row in rows if row.status == "failed"}
    assert errors == {"The worker process stalled 3 times on this image."}


def test_a_worker_keeps_to_the_runs_it_has_open() -> None:
    first, other = shard_of("a", ["x"], images_of(1, 1)), shard_of("b", ["y"], images_of(1, 1))
    work = Suspects([first, other, first, other])
    taken = [work.take(group, others_at_work=True) for group in (("y",), ("y",), ("y",), ("z",))]
    assert [piece.shard.shard_id for piece in taken if piece] == ["b", "b", "a", "a"]


def test_a_lone_piece_waits_until_nothing_else_is_at_work_and_rests_between_its_deaths() -> None:
    now = [100.0]
    shard = shard_of("a", ["x"], [["i", None]])
    work = Suspects([], lambda: now[0])
    suspect = Piece(shard, ("x",), suspect=True)
    assert list(work.lost(suspect, shard.batches, "died", nothing_else=False)) == []
    for _ in range(TRIES):
        assert work.rests and work.take(("x",), others_at_work=False) is None
        now[0] += REST
        assert not work.rests and work.take(("x",), others_at_work=True) is None
        lone = work.take(("x",), others_at_work=False)
        assert lone is not None and lone.alone
        given_up = list(work.lost(lone, shard.batches, "oom", nothing_else=True))
    ((done,),) = [given_up]
    assert [row.error for row in done.rows] == ["The worker process used up the memory 3 times on this image."]
    assert not work


def test_others_go_on_while_a_lone_piece_rests() -> None:
    now = [0.0]
    shard, other = shard_of("a", ["x"], [["i"]]), shard_of("b", ["y"], [["j"]])
    work = Suspects([other], lambda: now[0])
    assert list(work.lost(Piece(shard, ("x",), suspect=True), shard.batches, "died", nothing_else=True)) == []
    taken = work.take(("x",), others_at_work=False)
    assert taken is not None and taken.shard.shard_id == "b"


@pytest.mark.parametrize("each", [0.5, 1.0, 2.0])
def test_quick_kills_from_outside_fail_no_image(each: float) -> None:
    """Fourteen kills one after the other, of whoever is at work: all images end well."""
    for seed in range(8):
        pool = FakePool(seed, 1)
        for number in range(1, 15):
            pool._later(2.0 + each * number, lambda pool=pool: kill_one_at_work(pool))
        rows = [row for done in collect(pool, [shard_of("s", ["r", "q"], images_of(12, 2))]) for row in done.rows]
        assert pool.deaths >= 4 and {row.status for row in rows} == {"ok"} and len(rows) == 48, f"seed {seed}"


def kill_one_at_work(pool: FakePool) -> list[Event]:
    """What a person does with a list of processes; whoever has no work is spared."""
    busy = [number for number, worker in pool.workers.items() if worker.shard is not None]
    return pool._end(busy[0], "died", "killed") if busy else []


def test_an_image_is_given_up_after_three_deaths_alone_ten_seconds_apart() -> None:
    alone: list[float] = []

    def harm(run: str, image: str) -> str | None:
        if image != "b1i1":
            return None
        busy = [worker for worker in pool.workers.values() if worker.shard is not None]
        (batch, *more) = busy[0].batches
        if len(busy) == 1 and not more and batch.image_ids == ("b1i1",):
            alone.append(pool.now)
        return "died"

    pool = FakePool(13, 1, Faults(harm))
    rows = [row for done in collect(pool, [shard_of("s", ["r"], images_of(3, 2))]) for row in done.rows]
    assert [row.image_id for row in rows if row.status == "failed"] == ["b1i1"]
    assert len(alone) == TRIES and all(late - early >= REST for early, late in pairwise(alone))
