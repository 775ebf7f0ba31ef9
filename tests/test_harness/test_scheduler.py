"""The scheduler under thousands of seeded fault schedules in virtual time: every result exactly once, and an end."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contracts import Batch, BatchDone, Row, Shard
from harness.errors import ClusterError
from harness.executors.scheduler import Event, Finished, Lost, Message, Ready, Scheduler
from harness.executors.suspects import REST, TRIES, Piece, Suspects

SCHEDULES = 3000


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins"))


def shard_of(name: str, runs: Sequence[str], batches: Sequence[Sequence[str | None]]) -> Shard:
    from toy_workers import shard_of as make

    return make(name, list(runs), [list(slots) for slots in batches])


def true_row(run: str, image: str, shape: int) -> Row:
    from toy_workers import row_of

    return row_of(run, image, shape)


@dataclass
class Faults:
    """What goes wrong. harm: kind of death when a run meets an image. chance: of an accident per batch."""

    harm: Callable[[str, str], str | None] = lambda run, image: None
    chance: float = 0.0
    accidents: int = 0
    unready: int = 0  # this many starts fail
    every_lease: str | None = None  # kind of death of every worker as soon as it gets a lease


@dataclass
class FakeWorker:
    ready: bool = False
    lease: int = 0
    batches: list[Batch] = field(default_factory=list)
    shard: Shard | None = None
    keep: int = 0
    produced: int = 0
    version: int = 0  # events scheduled under an older one are void: the process is gone


class FakePool:
    """Workers of which a seeded random generator decides how fast they are and how they end; time is virtual."""

    def __init__(self, seed: int, size: int, faults: Faults | None = None) -> None:
        self.random, self.size, self.faults = random.Random(seed), size, faults or Faults()
        self.now, self.polls, self.leases, self.deaths = 0.0, 0, 0, 0
        self.workers: dict[int, FakeWorker] = {}
        self.log: list[tuple[float, str, int]] = []
        self._spawned = 0
        self._queue: list[tuple[float, int, Callable[[], list[Event]]]] = []
        self._order = 0

    def clock(self) -> float:
        return self.now

    def capacity(self) -> int:
        return self.size

    def spawn(self) -> int:
        self._spawned += 1
        number = self._spawned
        self.workers[number] = FakeWorker()
        assert len(self.workers) <= self.size, "more workers than the pool holds"
        if self.faults.unready > 0:
            self.faults.unready -= 1
            self._later(0.5, lambda: self._end(number, "init", "no weights"))
        else:
            self._later(self.random.uniform(0.2, 2), lambda: self._start(number))
        return number

    def lease(self, worker: int, lease: int, shard: Shard) -> None:
        here = self.workers[worker]
        assert here.ready and here.shard is None, "a lease for a worker that is not idle"
        fresh = self._atoms(shard.runs, shard.batches)
        for number, other in self.workers.items():
            if other.shard is not None:
                held = self._atoms(other.shard.runs, other.batches[: other.keep])
                assert number == worker or not fresh & held, "the same work in two hands"
        here.lease, here.shard, here.batches = lease, shard, list(shard.batches)
        here.keep, here.produced, self.leases = len(shard.batches), 0, self.leases + 1
        if self.faults.every_lease:
            self._later(0.1, lambda: self._end(worker, self.faults.every_lease or "", "it has bad luck"))
        else:
            self._next(worker)

    def cut(self, worker: int, lease: int, keep: int) -> int:
        here = self.workers.get(worker)
        if here is None:  # dead, and the news is on its way
            return keep
        assert lease == here.lease
        here.keep = min(here.keep, max(keep, here.produced + 1))
        return here.keep

    def kill(self, worker: int) -> None:
        self.workers.pop(worker, None)

    def poll(self, timeout: float) -> list[Event]:
        self.polls += 1
        assert self.polls < 20_000, "it does not end"
        until = self.now + timeout
        if not self._queue or self._queue[0][0] > until:
            self.now = until
            return []
        self.now = max(self.now, self._queue[0][0])
        events: list[Event] = []
        while self._queue and self._queue[0][0] <= self.now + 0.05:
            events += heapq.heappop(self._queue)[2]()
        return events

    # -- inside

    @staticmethod
    def _atoms(runs: Sequence[Any], batches: Sequence[Batch]) -> set[tuple[str, str]]:
        return {(run.run_id, image) for run in runs for batch in batches for image in batch.image_ids}

    def _later(self, seconds: float, what: Callable[[], list[Event]]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now + seconds, self._order, what))

    def _start(self, number: int) -> list[Event]:
        if number not in self.workers:
            return []
        self.workers[number].ready = True
        return [Ready(number, {})]

    def _end(self, number: int, kind: str, reason: str) -> list[Event]:
        """The process is gone; what it said and nobody took is gone too."""
        here = self.workers.pop(number, None)
        if here is None:
            return []
        self.deaths += 1
        self.log.append((self.now, kind, number))
        self._later(self.random.uniform(0, 0.3), lambda: [Lost(number, kind, reason)])
        if here.shard is not None and self.random.random() < 0.3:  # a message of the dead, long after
            done = BatchDone(here.shard.shard_id, here.batches[0].index, ())
            lease = here.lease
            self._later(self.random.uniform(0.4, 5), lambda: [Message(number, lease, done), Finished(number, lease)])
        return []

    def _next(self, number: int) -> None:
        here = self.workers[number]
        version = here.version
        self._later(self.random.uniform(0.1, 3), lambda: self._batch(number, version))

    def _batch(self, number: int, version: int) -> list[Event]:
        here = self.workers.get(number)
        if here is None or here.shard is None or here.version != version:
            return []
        if here.produced >= here.keep:
            lease, here.shard, here.version = here.lease, None, version + 1
            return [Finished(number, lease)]
        batch = here.batches[here.produced]
        harms = [self.faults.harm(run.run_id, image) for run in here.shard.runs for image in batch.image_ids]
        kind = next((harm for harm in harms if harm), None) or self._accident(here, batch)
        if kind is not None:
            return self._harm(number, kind)
        return self._say(number, here, batch)

    def _accident(self, here: FakeWorker, batch: Batch) -> str | None:
        assert here.shard is not None
        lonely = sum(worker.shard is not None for worker in self.workers.values()) == 1
        if lonely and len(here.shard.runs) * len(batch.image_ids) == 1:
            return None  # what dies with nothing around it is to blame: no accidents there
        if self.faults.accidents <= 0 or self.random.random() > self.faults.chance:
            return None
        self.faults.accidents -= 1
        return self.random.choice(["died", "oom", "stalled", "node", "unavailable", "preempted", "zombie"])

    def _harm(self, number: int, kind: str) -> list[Event]:
        if kind == "stalled":
            self.workers[number].version += 1
            return []
        if kind == "oom":  # the memory monitor takes a neighbour too
            busy = [n for n, worker in self.workers.items() if n != number and worker.shard is not None]
            for neighbour in busy[:1]:
                self._end(neighbour, "oom", "out of memory")
        if kind == "zombie":  # declared unavailable, but it goes on
            return [Lost(number, "unavailable", "the network"), *self._say(number, self.workers[number], None)]
        return self._end(number, kind, "as scheduled")

    def _say(self, number: int, here: FakeWorker, batch: Batch | None) -> list[Event]:
        assert here.shard is not None
        batch = batch or here.batches[here.produced]
        rows = [true_row(run.run_id, image, len(batch.slots)) for run in here.shard.runs for image in batch.image_ids]
        message = Message(number, here.lease, BatchDone(here.shard.shard_id, batch.index, tuple(rows)))
        here.produced += 1
        self._next(number)
        delay, lease = self.random.choice([0.0, 0.0, 0.2]), here.lease
        twice = self.random.random() < 0.05

        def deliver() -> list[Event]:
            alive = number in self.workers and self.workers[number].lease == lease
            return [message, message] if alive and twice else [message] if alive else []

        if delay and here.produced < here.keep:  # on its way; lost if the process dies before it arrives
            self._later(delay, deliver)
            return []
        return deliver()


@dataclass(frozen=True)
class World:
    """Shards, and who kills whom."""

    shards: list[Shard]
    killers: frozenset[str]
    poison: dict[tuple[str, str], str]
    everywhere: dict[str, str]

    def harm(self, run: str, image: str) -> str | None:
        if run in self.killers:
            return "died"
        return self.everywhere.get(image) or self.poison.get((run, image))


def world_of(seed: int) -> World:
    """A few shards with fillers, one or two bad images, sometimes a run that always kills."""
    dice = random.Random(seed)
    runs = [f"r{i}" for i in range(dice.randint(1, 4))]
    size, shards = dice.randint(1, 4), []
    for number in range(dice.randint(1, 5)):
        batches = [[f"s{number}b{b}i{i}" for i in range(size)] for b in range(dice.randint(1, 5))]
        slots: list[list[str | None]] = [list(batch) for batch in batches]
        if dice.random() < 0.3 and size > 1:
            slots[-1][-1] = None
        shards.append(shard_of(f"s{number}", runs, slots))
    images = [image for shard in shards for batch in shard.batches for image in batch.image_ids]
    kinds = ["died", "died", "oom", "stalled", "error"]
    killers = frozenset(dice.sample(runs, dice.choice([0, 0, 0, 1])))
    poison = {(dice.choice(runs), dice.choice(images)): dice.choice(kinds) for _ in range(dice.choice([0, 0, 1]))}
    everywhere = {dice.choice(images): dice.choice(kinds) for _ in range(dice.choice([0, 0, 1]))}
    return World(shards, killers, poison, everywhere)


def collect(pool: FakePool, shards: Sequence[Shard], **settings: Any) -> list[BatchDone]:
    return list(Scheduler(pool, clock=pool.clock, **settings).run(shards))


def expected(shards: Sequence[Shard]) -> dict[tuple[str, str], int]:
    """Every run and wanted image, with the shape of its batch."""
    return {
        (run.run_id, image): len(batch.slots)
        for shard in shards for run in shard.runs for batch in shard.batches for image in batch.image_ids
    }  # fmt: skip


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
                truth = true_row(row.run_id, row.image_id, wanted[row.run_id, row.image_id])
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


def images_of(count: int, size: int) -> list[list[str]]:
    return [[f"b{b}i{i}" for i in range(size)] for b in range(count)]


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
