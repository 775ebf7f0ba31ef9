"""The end of a sweep in virtual time, by the real pool and scheduler: what is left is shared, slow work is doubled."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from toy_workers import shard_of

from harness.contracts import Batch, BatchDone, Shard
from harness.executors import ahead, scheduler
from harness.executors.crew import Crew
from harness.executors.suspects import Suspects
from perf.fleet import Fleet, Messages
from perf.virtual_ray import Pace, VirtualRay

WORKERS = 8
LONGEST = 1.2  # seconds of a batch, of a worker that is well
SHORTEST = 0.8


def shards_of(count: int, batches: int) -> list[Shard]:
    names = range(count)
    return [
        shard_of(f"s{n}", ["a", "b"], [[f"s{n}b{b}i{i}" for i in range(2)] for b in range(batches)]) for n in names
    ]


def fleet_of(
    slow: Mapping[int, float], seed: int, spoils: Callable[[int, Batch], bool] = lambda worker, batch: False
) -> Fleet:
    """Workers whose batches take about a second. slow: by number, how many times longer."""

    def seconds(_: Shard, chance: random.Random, worker: int) -> float:
        return chance.uniform(SHORTEST, LONGEST) * slow.get(worker, 1.0)

    return Fleet(VirtualRay(WORKERS, Pace(seconds, start=3.0), Messages(4, spoils), seed))


def sail_through(fleet: Fleet, shards: list[Shard]) -> tuple[list[BatchDone], float]:
    """What was done, and seconds from the first worker with nothing to do to the end."""
    done, world = [], fleet.world
    for one in fleet.run(shards):
        done.append(one)
    idle = min(max(call.ended for call in world.worked if call.actor.number == n) for n in range(1, WORKERS + 1))
    return done, world.now - idle


def assert_once(done: list[BatchDone], shards: list[Shard]) -> None:
    keys = Counter(key for one in done for key in one.rows.keys)
    wanted = [(r.run_id, image) for s in shards for r in s.runs for b in s.batches for image in b.image_ids]
    assert keys == Counter(wanted)


def assert_short(tails: list[float], seed: int) -> None:
    """Nobody waits longer than for what one worker is at and for what it was sent; as a rule for much less."""
    assert max(tails) <= 2 * LONGEST and sum(tails) / len(tails) <= 1.1 * LONGEST, f"{tails}, seeds from {seed} on"


@pytest.mark.parametrize("batches", [1, 4, 9])
def test_workers_alike_end_within_two_batches_of_each_other_and_as_a_rule_within_one(seed: int, batches: int) -> None:
    tails = list[float]()
    for turn in range(10):
        fleet, shards = fleet_of({}, seed + turn), shards_of(72 // batches + turn, batches)
        done, tail = sail_through(fleet, shards)
        assert_once(done, shards)
        tails.append(tail)
    assert_short(tails, seed)


@pytest.mark.parametrize("times", [3.0, 10.0, 100.0])
def test_a_slow_worker_costs_the_end_no_more(seed: int, times: float) -> None:
    """What it is at is done by another one; nothing is stored twice, and nobody waits for it.

    But for what is expected to take no longer than a second try: of one that is three times as slow it can take
    3 * (LONGEST - SHORTEST) more than expected, which makes two batches.
    """
    tails = list[float]()
    for turn in range(10):
        fleet, shards = fleet_of({1 + turn % WORKERS: times}, seed + turn), shards_of(20, 4)
        done, _ = sail_through(fleet, shards)
        assert_once(done, shards)
        others = [call for call in fleet.world.worked if call.actor.number != 1 + turn % WORKERS]
        idle = min(max(c.ended for c in others if c.actor.number == n) for n in {c.actor.number for c in others})
        tails.append(fleet.world.now - idle)
    assert_short(tails, seed)


def test_without_copies_everybody_waits_for_a_slow_worker(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(scheduler.Scheduler, "_copy", lambda self, number: None)
    _, tail = sail_through(fleet_of({3: 100.0}, seed), shards_of(20, 4))
    assert tail > 50


def test_with_four_batches_ahead_until_the_end_others_wait(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test can fail."""
    monkeypatch.setattr(ahead, "AHEAD", 4)
    monkeypatch.setattr(ahead, "NEAR", 0)
    monkeypatch.setattr(scheduler.Scheduler, "_copy", lambda self, number: None)
    tails = [sail_through(fleet_of({}, seed + turn), shards_of(17 + turn, 4))[1] for turn in range(10)]
    assert max(tails) > 2 * LONGEST and sum(tails) / len(tails) > 1.1 * LONGEST


def test_a_second_answer_that_differs_is_a_warning_that_names_both_machines_and_is_not_stored() -> None:
    """Worker 3 is slow and miscounts: after its first batch it is doubled, and its answer comes while others work."""
    slow = {3: 6.0, 4: 6.5}
    fleet = fleet_of(slow, 5, spoils=lambda worker, batch: worker == 3)
    shards = shards_of(10, 4)
    done, _ = sail_through(fleet, shards)
    assert_once(done, shards)
    again = shards_of(30, 4)[10:]
    done += list(fleet.run(again))
    said = [notice for one in done for notice in one.notices]
    assert said and all("host3 (process 3)" in one and "what the first one said is stored" in one for one in said)
    (event,) = [one for one in fleet.events if one["event"] == "machines_differ"][:1]
    assert event["text"] == said[0]
    assert_once(done, [*shards, *again])


def test_a_second_answer_that_is_the_same_is_not_mentioned() -> None:
    fleet = fleet_of({3: 6.0, 4: 6.5}, 5)
    shards = shards_of(10, 4)
    done = [*fleet.run(shards), *fleet.run(shards_of(30, 4)[10:])]
    assert not [notice for one in done for notice in one.notices]
    assert len(fleet.world.worked) > sum(len(shard.batches) for shard in (*shards, *shards_of(30, 4)[10:]))


@pytest.mark.parametrize(("pieces", "asked"), [(0, []), (1, [(1, ahead.AHEAD)])])
def test_near_the_end_who_answers_is_asked_for_nothing_ahead(pieces: int, asked: list[tuple[int, int]]) -> None:
    told, crew = list[tuple[int, int]](), Crew()
    crew.joins(1, 0.0)
    pool: Any = SimpleNamespace(ahead=lambda worker, batches: told.append((worker, batches)))
    ahead_of = ahead.Ahead(pool, crew)
    ahead_of.look(Suspects(shards_of(pieces, 4), lambda: 0.0))
    ahead_of.answered(1, crew.members[1], 1.0)
    assert told == asked
