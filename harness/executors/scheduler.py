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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from harness.contracts import Batch, BatchDone, Rows, Shard
from harness.errors import ClusterError
from harness.executors.copies import Copies, Key
from harness.executors.hosts import Failed, Hosts, SetAside, Whereabouts, work_of
from harness.executors.patience import SLOW, Patience
from harness.executors.pool import Event, Finished, Lost, Message, Pool, Ready
from harness.executors.second_tries import SecondTries, is_of_card, naming_places, parted
from harness.executors.suspects import BLAMELESS, Piece, Suspects

TICK = 1.0  # seconds between looks at the clock
SHORTEST = 0.05  # seconds between such looks, at least
AHEAD = 2  # batches asked of a worker before the first of them is done, until the end is near
NEAR = 3  # batches a worker that are left: the end is near
LATE = 1.25  # times what a worker's batches take, after which one may never come
# Rounds of the garbage collector while others compute: of what the driver makes, little is garbage that it must find,
# and every full round looks at all images of all plans.
ROUNDS = (20_000, 10, 10)
LOSSES, LOSSES_EACH = 8, 4  # workers that may be lost in a row without progress: in all, and per worker


@dataclass
class _Lease:
    number: int
    piece: Piece
    pending: dict[int, Batch]  # by index, in order
    heard: float  # when it was handed out, or last said something
    fresh: bool  # a first batch is still to come: of a new worker, or of runs whose networks it has not opened

    def key(self, batch: Batch) -> Key:
        return self.piece.shard.shard_id, batch.index


@dataclass
class _Worker:
    spawned: float
    ready: bool = False
    heard: bool = False  # it has done a batch
    about: Mapping[str, Any] = field(default_factory=dict)  # where it is
    group: tuple[str, ...] = ()
    pace: float | None = None  # seconds that its last batches of this group took
    ahead: int = 1  # batches that it may be asked for
    lease: _Lease | None = None

    @property
    def place(self) -> Whereabouts | None:
        """Where it is, once it has said so."""
        return Whereabouts.of(self.about) if self.ready else None

    def took(self, seconds: float) -> None:
        """A batch was done, not the first one of its lease's runs."""
        self.pace = seconds if self.pace is None else (3 * self.pace + seconds) / 4


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
        self._pool, self._clock, self._tell = pool, clock, on_event
        self._closing = closing
        self._ready_seconds, self._patience = ready_seconds, Patience(stall_seconds)
        self._workers: dict[int, _Worker] = {}
        self._idle: dict[int, None] = {}  # ready, and without a lease, in order
        self._lone: int | None = None  # who is at a piece that is tried with nothing else at work
        self._numbers, self._newest = count(1), 0  # of leases; of workers
        self._work = Suspects((), clock)
        self._copies, self._hosts = Copies(), Hosts()
        self._parked: set[int] = set()  # workers on cards that are set aside: they hold them, and do nothing
        self._looked = clock()  # for workers that say nothing
        self._usual = 0.0  # seconds that a batch took when it was looked last
        self._eager: set[int] = set()  # workers that are asked for a batch ahead
        self._ending = False
        self._far = 0  # batches at least until the end is near, where no piece waits
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
            while self._work or self._second or any(lease.pending for lease in self._leases()):
                if self._closing():
                    self._close()
                self._staff()
                self._assign()
                self._look_ahead()
                for event in self._pool.poll(self._tick()):
                    yield from self._take(event)
                    if isinstance(event, Finished):  # nobody waits until all that came is stored
                        self._assign()
                for loss in self._silent():
                    yield from self._take(loss)
        finally:
            gc.set_threshold(*rounds)
            for number in [n for n, worker in self._workers.items() if worker.lease and worker.lease.pending]:
                self._drop(number)

    def _close(self) -> None:
        """Begin nothing more: what waits is forgotten, and workers do what they were asked for already."""
        self._work, self._second, self._closed = Suspects((), self._clock), SecondTries(), True
        for number, worker in self._workers.items():
            if (lease := worker.lease) is not None:
                batches = lease.piece.shard.batches
                keep = self._pool.cut(number, lease.number, len(batches) - len(lease.pending) + 1)
                for batch in batches[keep:]:
                    lease.pending.pop(batch.index, None)

    def _begin(self) -> None:
        self._barren = 0  # workers lost since something last got done
        self._staffed = False, 0  # whether pieces waited, and how many workers there were, when the end was looked for
        self._crew = 0  # the most workers there have been at once
        self._failed_starts = 0  # in a row
        self._spawn_after = self._served = self._clock()
        self._stopped = set()
        self._second = SecondTries()
        self._closed = False  # nothing more is begun
        self._copies.begin()

    def _leases(self) -> Iterator[_Lease]:
        return (worker.lease for worker in self._workers.values() if worker.lease)

    def _tick(self) -> float:
        """Seconds until the next look: soon where somebody is idle, since a batch may be late by then."""
        return min(TICK, max(SHORTEST, self._patience.median / 4)) if self._idle else TICK

    # -- workers and leases

    def _staff(self) -> None:
        """Start workers up to what the pool can hold and the work can use."""
        capacity, now = self._pool.capacity() - len(self._parked), self._clock()
        workers = len(self._workers) - len(self._parked)
        if capacity > 0 or workers:
            self._served = now
        elif now - self._served > self._ready_seconds:
            raise ClusterError(self._no_place())
        if now >= self._spawn_after and capacity > workers:
            waiting = self._work.batches + self._second.batches
            batches = waiting + sum(len(lease.pending) for lease in self._leases())
            for _ in range(min(capacity, batches) - workers):
                self._spawn()
        self._crew = max(self._crew, len(self._workers))

    def _no_place(self) -> str:
        aside = "".join(f" {one}" for one in self._hosts.aside)
        seconds = f"{self._ready_seconds:.0f} s"
        return f"No worker could be started within {seconds}: the cluster has no free place for one.{aside}"

    def _assign(self) -> None:
        """Give every idle worker a piece; when none waits, the second half of the longest lease, or a copy."""
        for number in list(self._idle) if not self._closed else ():
            if self._lone in self._workers:
                return
            if self._better_elsewhere(number):
                continue
            worker, at_work = self._workers[number], any(True for _ in self._leases())
            piece = self._work.take(worker.group, others_at_work=at_work)
            if piece is None and self._work.rests:
                second = self._second.take(number, self._places()) if self._second else None
                piece = second or self._cut() or self._copy(number)
            if piece is None and not self._second:
                return
            if piece is None:
                self._make_room(number)
                continue
            pending = {batch.index: batch for batch in piece.shard.batches}
            fresh = worker.group != piece.group or not worker.heard
            worker.lease = _Lease(next(self._numbers), piece, pending, self._clock(), fresh)
            worker.pace = worker.pace if worker.group == piece.group else None
            worker.group = piece.group
            self._pool.lease(number, worker.lease.number, piece.shard)
            first = piece.shard.batches[0].index
            self._tell({"event": "lease", "worker": number, "shard": piece.shard.shard_id, "following": first})
            del self._idle[number]
            self._lone = number if piece.alone else None

    def _better_elsewhere(self, number: int) -> bool:
        """Whether the piece that comes next and alone was lost on this worker's card, and another card is to be had."""
        lone, place = self._work.lone, self._workers[number].place
        if lone is None or place is None or place.card not in lone.lost_on:
            return False
        return any(other is not None and other.card not in lone.lost_on for other in self._places().values())

    def _places(self) -> dict[int, Whereabouts | None]:
        """Where the workers are that may do something; None of those that are starting."""
        return {number: worker.place for number, worker in self._workers.items() if number not in self._parked}

    def _make_room(self, number: int) -> None:
        """A worker with nothing to do gives way to a fresh one, where what failed waits for that."""
        if self._work.rests and self._clock() >= self._spawn_after and self._second.wait_in_vain(self._places()):
            self._say_lost(Lost(number, "retired", "a fresh process tries again what failed"), self._drop(number))
            self._spawn()

    def _spawn(self) -> None:
        self._newest = self._pool.spawn()
        self._workers[self._newest] = _Worker(self._clock())

    def _cut(self) -> Piece | None:
        """Take back what the owner of the longest lease would do last, if it is not asked for; else of the next one."""
        owners = [(number, w.lease) for number, w in self._workers.items() if w.lease and len(w.lease.pending) > 1]
        for number, lease in sorted(owners, key=lambda owner: -len(owner[1].pending)):
            if lease.piece.failed or any(lease.key(batch) in self._copies for batch in lease.pending.values()):
                continue
            batches = lease.piece.shard.batches
            keep = self._pool.cut(number, lease.number, len(batches) - len(lease.pending) // 2)
            tail = [lease.pending.pop(batch.index) for batch in batches[keep:] if batch.index in lease.pending]
            lease.piece = lease.piece.with_batches(batches[:keep])
            if tail:
                return lease.piece.with_batches(tail)
        return None

    def _look_ahead(self) -> None:
        """Where the end is near nothing is asked ahead any more: it can be shared.

        That is looked at where it may have changed: there may be thousands of workers, and a look at all of them.
        """
        before, self._staffed = self._staffed, (bool(self._work), len(self._workers))
        if self._staffed == before and (self._work or self._ending or self._far > 0):
            return
        left = 0 if self._work else sum(len(lease.pending) for lease in self._leases())
        self._far = left - NEAR * len(self._workers)
        self._ending = not self._work and self._far <= 0
        for number in self._eager if self._ending else ():
            self._workers[number].ahead = 1
            self._pool.ahead(number, 1)
        self._eager = set() if self._ending else self._eager

    def _ask_more(self, number: int, worker: _Worker) -> None:
        """Ask for a batch ahead, of a worker that is as fast as the others, as long as there is more to do."""
        slow = self._usual and (worker.pace or 0.0) > SLOW * self._usual
        ahead = 1 if slow or self._ending else AHEAD
        if ahead != worker.ahead:
            worker.ahead = ahead
            self._pool.ahead(number, ahead)
            self._eager.discard(number) if ahead == 1 else self._eager.add(number)

    def _copy(self, number: int) -> Piece | None:
        """The batch that is expected last, for a second worker that is expected to be done with it before: its owner is
        slow, or has said nothing for too long."""
        now, usual = self._clock(), self._patience.median
        latest: tuple[float, int, _Lease, Batch] | None = None
        for owner, worker in self._workers.items():
            lease = worker.lease
            if lease is None or lease.piece.suspect or lease.piece.failed or not lease.pending:
                continue
            pace = worker.pace or usual
            first = max(self._patience.first, default=0.0) if lease.fresh else pace
            late = now - lease.heard > LATE * first
            for place, batch in enumerate(lease.pending.values()):
                end = float("inf") if late else lease.heard + first + place * pace
                if lease.key(batch) not in self._copies and (latest is None or end > latest[0]):
                    latest = end, owner, lease, batch
        if not usual or latest is None or latest[0] <= now + self._expected(number, latest[2].piece):
            return None
        _, owner, lease, batch = latest
        self._copies.add(lease.key(batch), owner, number)
        return lease.piece.with_batches([batch])

    def _expected(self, number: int, piece: Piece) -> float:
        """Seconds that an idle worker would take for a batch of a piece."""
        worker = self._workers[number]
        opening = 0.0 if worker.group == piece.group else max(self._patience.first, default=0.0)
        return opening + (worker.pace or self._patience.median)

    def _drop(self, number: int) -> _Worker | None:
        self._pool.kill(number)
        self._idle.pop(number, None)
        self._eager.discard(number)
        self._parked.discard(number)
        return self._workers.pop(number, None)

    # -- what happens

    def _take(self, event: Event) -> Iterator[BatchDone]:
        worker = self._workers.get(event.worker)
        if worker is None:
            return
        lease = worker.lease
        if isinstance(event, Lost):
            yield from self._lose(event)
        elif isinstance(event, Ready):
            worker.ready, worker.about, self._failed_starts = True, event.about, 0
            self._tell({"event": "worker_ready", "worker": event.worker, **event.about})
            aside = self._hosts.holding(Whereabouts.of(event.about))
            if aside is None:
                self._idle[event.worker] = None
            elif aside.only_card:
                self._parked.add(event.worker)
            else:
                yield from self._lose(Lost(event.worker, "aside", aside.why))
        elif lease is None or event.lease != lease.number:
            return
        elif isinstance(event, Message):
            yield from self._acknowledge(event.worker, worker, lease, event.done)
        elif lease.pending:
            yield from self._lose(Lost(event.worker, "error", "it ended without doing all that it was given"))
        else:
            worker.lease, self._idle[event.worker] = None, None
            self._lone = None if self._lone == event.worker else self._lone

    def _acknowledge(self, number: int, worker: _Worker, lease: _Lease, done: BatchDone) -> Iterator[BatchDone]:
        now, key = self._clock(), (done.shard_id, done.index)
        if lease.fresh:
            worker.pace = self._patience.pace_after(now - lease.heard)
            self._patience.first.append(now - lease.heard)
        else:
            self._patience.usual.append(now - lease.heard)
            worker.took(now - lease.heard)
        lease.heard, lease.fresh, worker.heard = now, False, True
        self._far -= 2  # it, and a copy
        self._ask_more(number, worker)
        if lease.pending.pop(done.index, None):
            self._barren = 0
            place = Whereabouts.of(worker.about)
            aside = self._hosts.did(place, done.rows)
            following = next(iter(lease.pending), None)
            done = replace(self._tried(number, place, lease, done), worker=number, host=place.host, following=following)
            self._work.did(done)
            other = self._workers.get(self._copies.answered(key, number, worker.about, done) or 0)
            if other is not None and other.lease is not None:
                other.lease.pending.pop(done.index, None)
            yield done
            yield from self._set_aside(aside, done)
        elif words := self._copies.differs(key, number, worker.about, done):
            self._tell({"event": "machines_differ", "shard": done.shard_id, "batch": done.index, "text": words})
            yield BatchDone(done.shard_id, done.index, Rows.of(()), notices=(words,))

    def _tried(self, number: int, place: Whereabouts, lease: _Lease, done: BatchDone) -> BatchDone:
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
            for number, worker in list(self._workers.items()):
                if worker.place is not None and one.holds(worker.place):
                    yield from self._lose(Lost(number, "aside", one.why))

    def _silent(self) -> list[Lost]:
        """Workers that have said nothing for too long; one look a tick."""
        now, losses = self._clock(), list[Lost]()
        if now - self._looked < TICK:
            return losses
        self._looked, self._usual, (usual, first) = now, self._patience.median, self._patience.seconds()
        for number, worker in self._workers.items():
            lease = worker.lease
            if not worker.ready and now - worker.spawned > self._ready_seconds:
                losses.append(Lost(number, "timeout", f"it was not ready after {self._ready_seconds:.0f} s"))
            elif lease and now - lease.heard > (limit := first if lease.fresh else usual):
                losses.append(Lost(number, "stalled", f"it said nothing for {limit:.0f} s"))
        return losses

    def _lose(self, loss: Lost) -> Iterator[BatchDone]:
        """A worker is gone: what it had said counts, the rest is tried again, with suspicion where it is due."""
        worker = self._drop(loss.worker)
        if worker is None:
            return
        lease, others = worker.lease, any(True for _ in self._leases())
        for key, other in self._copies.of(loss.worker).items():  # who has the same batch does it alone
            self._copies.parted(key)
            held = self._workers[other].lease if other in self._workers else None
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
        if self._barren > LOSSES + LOSSES_EACH * self._crew:
            raise ClusterError(
                f"{self._barren} worker processes were lost one after the other and nothing got done in between; "
                f"the last one{f' on {worker.place}' if worker.about else ''}: {loss.reason}."
            )

    def _say_lost(self, loss: Lost, worker: _Worker | None) -> None:
        about, lease = (worker.about, worker.lease) if worker else ({}, None)
        at = {name: about[name] for name in ("host", "node", "gpu") if about.get(name)}
        at_work = {"shard": lease.piece.shard.shard_id, "batch": next(iter(lease.pending), None)} if lease else {}
        lost = {"event": "worker_lost", "worker": loss.worker, "kind": loss.kind, "reason": loss.reason}
        self._tell({**lost, **at, **at_work})

    def _failed_start(self, loss: Lost) -> None:
        """Try again a little later; without any worker at all, twice a worker is enough."""
        self._failed_starts += 1
        self._spawn_after = self._clock() + min(60.0, 0.5 * 2**self._failed_starts)
        if any(worker.ready for worker in self._workers.values()):
            return
        if self._failed_starts >= 2 * max(1, min(self._pool.capacity(), self._work.batches)):
            raise ClusterError(
                f"No worker process gets ready ({self._failed_starts} attempts); the last one: {loss.reason}"
            )
