"""Shards and a pool of workers -> every (run, image) exactly once, whatever happens to the workers; knows no Ray.

A worker holds one lease at a time: a piece of a shard under a number that is never used again. What a worker says
under a number that is no longer its own is void, so nothing counts twice. A batch counts once it was handed on.

At the end, when no piece waits, workers are asked for one batch at a time, so that what is left can be shared; who has
nothing to do then tries once more what failed on another machine, see second_tries, or takes a copy of a batch that a
slow worker is at, see copies. A host or a card that cannot do what others can gets no more work, see hosts.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from harness.contracts import BatchDone, Rows, Shard
from harness.errors import ClusterError
from harness.executors.ahead import Ahead
from harness.executors.copies import Copies
from harness.executors.crew import Crew, Hand, HeldLease
from harness.executors.hosts import Failed, Hosts, SetAside, Whereabouts, work_of
from harness.executors.patience import Patience
from harness.executors.pool import Event, Finished, Lost, Message, Pool, Ready
from harness.executors.second_tries import SecondTries, is_of_card, naming_places, parted
from harness.executors.suspects import BLAMELESS, Piece, Suspects

TICK = 1.0  # seconds between looks at the clock
SHORTEST = 0.05  # seconds between such looks, at least
# Rounds of the garbage collector while others compute: of what the driver makes, little is garbage that it must find,
# and every full round looks at all images of all plans.
ROUNDS = (100_000, 10, 10)
LOSSES, LOSSES_EACH = 8, 4  # workers that may be lost in a row without progress: in all, and per worker


class Scheduler:
    """Hands shards to the workers of a pool and keeps these workers from one `run` to the next.

    stall_seconds: silence after which a worker counts as hung (None: from the times of batches). ready_seconds: how
    long a worker may take to start. clock: seconds, monotonic. on_event: told what happens to workers. closing: whether
    nothing more is to be begun.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        stall_seconds: float | None = None,
        ready_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        on_event: Callable[[dict[str, object]], None] = lambda event: None,
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pool, self._clock, self._tell, self._closing = pool, clock, on_event, closing
        self._ready_seconds, self._patience = ready_seconds, Patience(stall_seconds)
        self._crew = Crew()
        self._ahead = Ahead(pool, self._crew)
        self._numbers, self._newest = count(1), 0  # of leases; of workers
        self._work = Suspects((), clock)
        self._copies, self._hosts = Copies(), Hosts()
        self._looked = clock()  # for workers that say nothing
        self._usual = 0.0  # seconds that a batch took when it was looked last
        self._stopped: set[str] = set()
        self._begin()

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        """What workers did, as it comes; after losses the rows of one batch can come in several parts.

        Raises ClusterError when workers cannot be had or are lost again and again without any progress.
        """
        self._work = Suspects(shards, self._clock)
        self._begin()
        rounds = gc.get_threshold()
        gc.set_threshold(*ROUNDS)
        try:
            while self._work or self._second or any(lease.pending for lease in self._crew.leases()):
                if self._closing():
                    self._close()
                self._staff()
                self._assign()
                self._ahead.look(self._work)
                for event in self._pool.poll(self._tick()):
                    yield from self._take(event)
                    if isinstance(event, Finished):  # nobody waits until all that came is stored
                        self._assign()
                for loss in self._silent():
                    yield from self._take(loss)
        finally:
            gc.set_threshold(*rounds)
            for number in [n for n, worker in self._crew.members.items() if worker.lease and worker.lease.pending]:
                self._drop(number)

    def _close(self) -> None:
        """Begin nothing more: what waits is forgotten, and workers do what they were asked for already."""
        self._work, self._second, self._closed = Suspects((), self._clock), SecondTries(), True
        for number, worker in self._crew.members.items():
            if (lease := worker.lease) is not None:
                batches = lease.piece.shard.batches
                keep = self._pool.cut(number, lease.number, len(batches) - len(lease.pending) + 1)
                for batch in batches[keep:]:
                    lease.pending.pop(batch.index, None)

    def _begin(self) -> None:
        self._barren = 0  # workers lost since something last got done
        self._ahead.begin()
        self._crew.most = 0
        self._failed_starts = 0  # in a row
        self._spawn_after = self._served = self._clock()
        self._stopped = set()
        self._second = SecondTries()
        self._closed = False  # nothing more is begun
        self._copies.begin()

    def _tick(self) -> float:
        """Seconds until the next look: soon where somebody is idle, since a batch may be late by then."""
        return min(TICK, max(SHORTEST, self._patience.median / 4)) if self._crew.idle else TICK

    # -- workers and leases

    def _staff(self) -> None:
        """Start workers up to what the pool can hold and the work can use."""
        capacity, now = self._pool.capacity() - len(self._crew.parked), self._clock()
        workers = len(self._crew.members) - len(self._crew.parked)
        if capacity > 0 or workers:
            self._served = now
        elif now - self._served > self._ready_seconds:
            raise ClusterError(self._no_place())
        if now >= self._spawn_after and capacity > workers:
            waiting = self._work.batches + self._second.batches
            batches = waiting + self._crew.pending()
            for _ in range(min(capacity, batches) - workers):
                self._spawn()
        self._crew.most = max(self._crew.most, len(self._crew.members))

    def _no_place(self) -> str:
        aside = "".join(f" {one}" for one in self._hosts.aside)
        seconds = f"{self._ready_seconds:.0f} s"
        return f"No worker could be started within {seconds}: the cluster has no free place for one.{aside}"

    def _assign(self) -> None:
        """Give every idle worker a piece; when none waits, the second half of the longest lease, or a copy."""
        for number in list(self._crew.idle) if not self._closed else ():
            if self._crew.lone in self._crew.members:
                return
            if self._better_elsewhere(number):
                continue
            worker, at_work = self._crew.members[number], self._crew.anybody_at_work()
            piece = self._work.take(worker.group, others_at_work=at_work)
            if piece is None and self._work.rests:
                second = self._second.take(number, self._crew.places()) if self._second else None
                piece = second or self._cut() or self._copy(number)
            if piece is None and not self._second:
                return
            if piece is None:
                self._make_room(number)
                continue
            pending = {batch.index: batch for batch in piece.shard.batches}
            fresh = worker.group != piece.group or not worker.heard
            worker.take(lease := HeldLease(next(self._numbers), piece, pending, self._clock(), fresh))
            self._pool.lease(number, lease.number, piece.shard)
            first = piece.shard.batches[0].index
            self._tell({"event": "lease", "worker": number, "shard": piece.shard.shard_id, "following": first})
            del self._crew.idle[number]
            self._crew.lone = number if piece.alone else None

    def _better_elsewhere(self, number: int) -> bool:
        """Whether the piece that comes next and alone was lost on this worker's card, and another card is to be had."""
        lone, place = self._work.lone, self._crew.members[number].place
        if lone is None or place is None or place.card not in lone.lost_on:
            return False
        return any(other is not None and other.card not in lone.lost_on for other in self._crew.places().values())

    def _make_room(self, number: int) -> None:
        """A worker with nothing to do gives way to a fresh one, where what failed waits for that."""
        if self._work.rests and self._clock() >= self._spawn_after and self._second.wait_in_vain(self._crew.places()):
            self._say_lost(Lost(number, "retired", "a fresh process tries again what failed"), self._drop(number))
            self._spawn()

    def _spawn(self) -> None:
        self._newest = self._pool.spawn()
        self._crew.joins(self._newest, self._clock())

    def _cut(self) -> Piece | None:
        """Take back what the owner of the longest lease would do last, if it is not asked for; else of the next one."""
        for number, lease in self._crew.longest_leases():
            if lease.piece.failed or any(lease.key(batch) in self._copies for batch in lease.pending.values()):
                continue
            batches = lease.piece.shard.batches
            keep = self._pool.cut(number, lease.number, len(batches) - len(lease.pending) // 2)
            tail = [lease.pending.pop(batch.index) for batch in batches[keep:] if batch.index in lease.pending]
            lease.piece = lease.piece.with_batches(batches[:keep])
            if tail:
                return lease.piece.with_batches(tail)
        return None

    def _copy(self, number: int) -> Piece | None:
        """The batch that is expected last, for a second worker that is expected to be done with it before: its owner is
        slow, or has said nothing for too long."""
        latest = self._crew.expected_last(self._copies, self._patience, now := self._clock())
        if not self._patience.median or latest is None:
            return None
        _, owner, lease, batch = latest
        if latest.end <= now + self._crew.would_take(number, lease.piece, self._patience):
            return None
        self._copies.add(lease.key(batch), owner, number)
        return lease.piece.with_batches([batch])

    def _drop(self, number: int) -> Hand | None:
        self._pool.kill(number)
        return self._crew.leaves(number)

    # -- what happens

    def _take(self, event: Event) -> Iterator[BatchDone]:
        worker = self._crew.members.get(event.worker)
        if worker is None:
            return
        lease = worker.lease
        if isinstance(event, Lost):
            yield from self._lose(event)
        elif isinstance(event, Ready):
            place, self._failed_starts = worker.is_there(event.about), 0
            self._tell({"event": "worker_ready", "worker": event.worker, **event.about})
            aside = self._hosts.holding(place)
            if aside is None:
                self._crew.idle[event.worker] = None
            elif aside.only_card:
                self._crew.parked.add(event.worker)
            else:
                yield from self._lose(Lost(event.worker, "aside", aside.why))
        elif lease is None or event.lease != lease.number:
            return
        elif isinstance(event, Message):
            yield from self._acknowledge(event.worker, worker, lease, event.done)
        elif lease.pending:
            yield from self._lose(Lost(event.worker, "error", "it ended without doing all that it was given"))
        else:
            self._crew.rests(event.worker)

    def _acknowledge(self, number: int, worker: Hand, lease: HeldLease, done: BatchDone) -> Iterator[BatchDone]:
        now, key = self._clock(), (done.shard_id, done.index)
        if lease.fresh:
            worker.pace = self._patience.pace_after(now - lease.heard)
            self._patience.first.append(now - lease.heard)
        else:
            self._patience.usual.append(now - lease.heard)
            worker.took(now - lease.heard)
        lease.heard, lease.fresh, worker.heard = now, False, True
        self._ahead.answered(number, worker, self._usual)
        if lease.pending.pop(done.index, None):
            self._barren = 0
            place = worker.place or Whereabouts.of(worker.about)
            aside = self._hosts.did(place, done.rows)
            following = next(iter(lease.pending), None)
            done = self._tried(number, place, lease, done).done_by(number, place.host, following)
            self._work.did(done)
            other = self._crew.members.get(self._copies.answered(key, number, worker.about, done) or 0)
            if other is not None and other.lease is not None:
                other.lease.pending.pop(done.index, None)
            yield done
            yield from self._set_aside(aside, done)
        elif words := self._copies.differs(key, number, worker.about, done):
            self._tell({"event": "machines_differ", "shard": done.shard_id, "batch": done.index, "text": words})
            yield BatchDone(done.shard_id, done.index, Rows.of(()), notices=(words,))

    def _tried(self, number: int, place: Whereabouts, lease: HeldLease, done: BatchDone) -> BatchDone:
        """What a worker did, without what is tried once more elsewhere: by whoever has a copy of it, or later."""
        if not done.rows.elsewhere or lease.piece.failed:
            return naming_places(done, place, number, lease.piece.failed)
        kept, pieces = parted(lease.piece, done)
        if (key := (done.shard_id, done.index)) in self._copies:
            self._copies.parted(key)
            return replace(done, rows=Rows.of(()))
        for piece in pieces:
            self._second.put(piece, Failed(place, number, self._newest, is_of_card(done)))
        return kept

    def _set_aside(self, aside: Sequence[SetAside], done: BatchDone) -> Iterator[BatchDone]:
        """Hosts and cards get no more work: that is told, and their workers are ended."""
        for one in aside:
            kind = "card_set_aside" if one.only_card else "host_set_aside"
            self._tell({"event": kind, **one.place._asdict(), "reason": one.why})
            yield BatchDone(done.shard_id, done.index, Rows.of(()), notices=(str(one),))
            if not one.only_card:
                self._pool.avoid(one.place.machine)
            for number, worker in list(self._crew.members.items()):
                if worker.place is not None and one.holds(worker.place):
                    yield from self._lose(Lost(number, "aside", one.why))

    def _silent(self) -> list[Lost]:
        """Workers that have said nothing for too long; one look a tick."""
        now = self._clock()
        if now - self._looked < TICK:
            return []
        self._looked, self._usual = now, self._patience.median
        return self._crew.silent(now, self._ready_seconds, self._patience)

    def _lose(self, loss: Lost) -> Iterator[BatchDone]:
        """A worker is gone: what it had said counts, the rest is tried again, with suspicion where it is due."""
        worker = self._drop(loss.worker)
        if worker is None:
            return
        lease, others = worker.lease, self._crew.anybody_at_work()
        for key, other in self._copies.of(loss.worker).items():  # who has the same batch does it alone
            self._copies.parted(key)
            held = self._crew.members[other].lease if other in self._crew.members else None
            if lease and held and held.pending.get(key[1]):
                lease.pending.pop(key[1], None)
        self._say_lost(loss, worker)
        if not worker.ready:
            self._failed_start(loss)
            return
        if lease and loss.kind == "ruined":
            first = list(lease.pending.values())[:1]
            self._hosts.broke(Whereabouts.of(worker.about), work_of(lease.piece.shard, first), loss.reason)
        if not lease or not lease.piece.single or loss.kind in BLAMELESS:
            self._barren += 1
        if lease and lease.piece.failed and loss.kind in BLAMELESS:
            self._second.put(lease.piece.with_batches(list(lease.pending.values())), lease.piece.failed)
        elif lease:
            pending, card = list(lease.pending.values()), Whereabouts.of(worker.about).card
            for done in self._work.lost(lease.piece, pending, loss.kind, nothing_else=not others, card=card):
                self._barren = 0
                yield done
        for run in sorted(self._work.stopped - self._stopped):
            self._tell({"event": "run_stopped", "run": run})
        self._stopped |= self._work.stopped
        if self._barren > LOSSES + LOSSES_EACH * self._crew.most:
            raise ClusterError(
                f"{self._barren} worker processes were lost one after the other and nothing got done in between; "
                f"the last one{f' on {worker.place}' if worker.about else ''}: {loss.reason}."
            )

    def _say_lost(self, loss: Lost, worker: Hand | None) -> None:
        lost = {"event": "worker_lost", "worker": loss.worker, "kind": loss.kind, "reason": loss.reason}
        self._tell({**lost, **({} if worker is None else worker.told())})

    def _failed_start(self, loss: Lost) -> None:
        """Try again a little later; without any worker at all, twice a worker is enough."""
        self._failed_starts += 1
        self._spawn_after = self._clock() + min(60.0, 0.5 * 2**self._failed_starts)
        if any(worker.ready for worker in self._crew.members.values()):
            return
        if self._failed_starts >= 2 * max(1, min(self._pool.capacity(), self._work.batches)):
            raise ClusterError(
                f"No worker process gets ready ({self._failed_starts} attempts); the last one: {loss.reason}"
            )
