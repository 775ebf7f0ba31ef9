"""Workers that seeded chance slows and kills in virtual time: what stands for Ray where the scheduler is tested."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from toy_workers import row_of, shard_of

from harness.contracts import Batch, BatchDone, Row, Rows, Shard
from harness.executors.pool import Event, Finished, Lost, Message, Ready
from harness.executors.scheduler import Scheduler


@dataclass
class Faults:
    """What goes wrong. harm: kind of death when a run meets an image. chance: of an accident per batch."""

    harm: Callable[[str, str], str | None] = lambda run, image: None
    chance: float = 0.0
    accidents: int = 0
    unready: int = 0  # this many starts fail
    every_lease: str | None = None  # kind of death of every worker as soon as it gets a lease
    about: Callable[[int], dict[str, str]] = lambda slot: {}  # where the workers of a slot are, of as many as fit
    fails: Callable[[dict[str, str], str, str], str | None] = lambda about, run, image: None  # for a machine's reason


@dataclass
class FakeWorker:
    ready: bool = False
    lease: int = 0
    batches: list[Batch] = field(default_factory=list)
    shard: Shard | None = None
    keep: int = 0
    produced: int = 0
    version: int = 0  # events scheduled under an older one are void: the process is gone
    slot: int = 0


class FakePool:
    """Workers of which a seeded random generator decides how fast they are and how they end; time is virtual."""

    def __init__(self, seed: int, size: int, faults: Faults | None = None) -> None:
        self.random, self.size, self.faults = random.Random(seed), size, faults or Faults()
        self.now, self.polls, self.leases, self.deaths = 0.0, 0, 0, 0
        self.twice: set[tuple[str, str]] = set()  # what was given to a second worker while a first one was at it
        self.workers: dict[int, FakeWorker] = {}
        self.avoided: list[str] = []
        self.failed: set[tuple[str, str]] = set()  # of batches that failed for a machine's reason, and said so
        self.closed: set[int] = set()  # slots on hosts that are avoided
        self.log: list[tuple[float, str, int]] = []
        self._spawned = 0
        self._queue: list[tuple[float, int, Callable[[], list[Event]]]] = []
        self._order = 0

    def clock(self) -> float:
        return self.now

    def capacity(self) -> int:
        return self.size - len(self.closed)

    def spawn(self) -> int:
        self._spawned += 1
        number = self._spawned
        taken = {worker.slot for worker in self.workers.values()} | self.closed
        self.workers[number] = FakeWorker(slot=next(slot for slot in range(self.size + 1) if slot not in taken))
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
        hands = 0
        for number, other in self.workers.items():
            if other.shard is not None and number != worker:
                hands += bool(fresh & self._atoms(other.shard.runs, other.batches[: other.keep]) - self.failed)
        assert hands <= (len(shard.batches) == 1), "the same work in two hands, and more than a batch, or in three"
        self.twice |= fresh if hands else set()
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

    def ahead(self, worker: int, batches: int) -> None:
        pass  # no batch is sent ahead here

    def avoid(self, node: str) -> None:
        self.avoided.append(node)
        self.closed |= {slot for slot in range(self.size) if self.faults.about(slot).get("host") == node}

    def kill(self, worker: int) -> None:
        self.workers.pop(worker, None)

    def poll(self, timeout: float) -> list[Event]:
        self.polls += 1
        assert self.polls < 1_000_000, "it does not end"  # a first batch that stalls costs ten minutes of short ticks
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
        return [Ready(number, self.faults.about(self.workers[number].slot))]

    def _end(self, number: int, kind: str, reason: str) -> list[Event]:
        """The process is gone; what it said and nobody took is gone too."""
        here = self.workers.pop(number, None)
        if here is None:
            return []
        self.deaths += 1
        self.log.append((self.now, kind, number))
        self._later(self.random.uniform(0, 0.3), lambda: [Lost(number, kind, reason)])
        if here.shard is not None and self.random.random() < 0.3:  # a message of the dead, long after
            done = BatchDone(here.shard.shard_id, here.batches[0].index, Rows.of(()))
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
        about = {**self.faults.about(here.slot), "worker": str(number)}
        rows = [
            row_of(run.run_id, image, len(batch.slots)) if (why := self.faults.fails(about, run.run_id, image)) is None
            else Row(run.run_id, image, "failed", 0.0, why, elsewhere=True)
            for run in here.shard.runs for image in batch.image_ids
        ]  # fmt: skip
        if any(row.elsewhere for row in rows):
            self.failed |= self._atoms(here.shard.runs, [batch])
        message = Message(number, here.lease, BatchDone(here.shard.shard_id, batch.index, Rows.of(rows)))
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


def images_of(count: int, size: int) -> list[list[str]]:
    return [[f"b{b}i{i}" for i in range(size)] for b in range(count)]


def check_schedule(seed: int) -> None:
    """AssertionError, with the seed, unless a schedule leaves every result exactly once and as it has to be."""
    world, dice = world_of(seed), random.Random(seed + 1_000_000)
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
    for worker in pool.workers.values():
        left = worker.batches[worker.produced : worker.keep]
        busy = worker.shard is not None and pool._atoms(worker.shard.runs, left) - pool.twice
        assert not busy, f"seed {seed}: a worker is still at work"
