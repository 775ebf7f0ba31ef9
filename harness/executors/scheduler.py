"""Shards and a pool of workers -> every (run, image) exactly once, whatever happens to the workers; knows no Ray.

A worker holds one lease at a time: a piece of a shard under a number that is never used again. What a worker says
under a number that is no longer its own is void, so nothing counts twice. A batch counts once it was handed on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, TypeAlias

from harness.contracts import Batch, BatchDone, Shard
from harness.errors import ClusterError
from harness.executors.suspects import BLAMELESS, Piece, Suspects

TICK = 1.0  # seconds between looks at the clock
LEAST_PATIENCE = 60.0  # seconds of silence that are always allowed
LOSSES, LOSSES_EACH = 8, 4  # workers that may be lost in a row without progress: in all, and per worker
FIRST_PATIENCE = 600.0  # before a worker's first batch, which opens networks, when none has been seen
OPENINGS = 2  # times the longest first batch that was seen, on top of the usual patience


@dataclass(frozen=True)
class Ready:
    """A worker has started and can take a lease; `about` says where it is."""

    worker: int
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """A worker has done one batch of a lease."""

    worker: int
    lease: int
    done: BatchDone


@dataclass(frozen=True)
class Finished:
    """A worker has come to the end of a lease."""

    worker: int
    lease: int


@dataclass(frozen=True)
class Lost:
    """A worker is gone. kind: died, oom, node, preempted, unavailable, timeout, init, error, stalled."""

    worker: int
    kind: str
    reason: str


Event: TypeAlias = Ready | Message | Finished | Lost


class Pool(Protocol):
    """Starts, feeds and ends worker processes; numbers them and never uses a number twice."""

    def capacity(self) -> int:
        """How many workers can live at once, now."""
        ...

    def spawn(self) -> int: ...

    def lease(self, worker: int, lease: int, shard: Shard) -> None: ...

    def cut(self, worker: int, lease: int, keep: int) -> int:
        """Ask for only the first `keep` batches of a lease; returns how many will be done at most."""
        ...

    def poll(self, timeout: float) -> Sequence[Event]:
        """What has happened; waits up to `timeout` seconds for something to happen."""
        ...

    def kill(self, worker: int) -> None:
        """End the process; nothing of it is heard of any more. Unknown numbers pass."""
        ...


@dataclass
class _Lease:
    number: int
    piece: Piece
    pending: dict[int, Batch]  # by index, in order
    heard: float  # when it was handed out, or last said something
    fresh: bool  # a first batch is still to come: of a new worker, or of runs whose networks it has not opened


@dataclass
class _Worker:
    spawned: float
    ready: bool = False
    heard: bool = False  # it has done a batch
    group: tuple[str, ...] = ()
    lease: _Lease | None = None


@dataclass
class _Patience:
    """How long silence may last: as told, or 10 times what 95 of 100 batches took.

    A first batch, for which networks are opened, may take longer: several times the longest of those seen.
    """

    told: float | None
    usual: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    first: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    def seconds(self, fresh: bool) -> float:
        usual = self.told if self.told is not None else self._measured()
        if not fresh:
            return usual
        return usual + OPENINGS * max(self.first) if self.first else max(usual, FIRST_PATIENCE)

    def _measured(self) -> float:
        ordered = sorted(self.usual) or [0.0]
        return max(LEAST_PATIENCE, 10 * ordered[int(0.95 * len(self.usual))])


class Scheduler:
    """Hands shards to the workers of a pool and keeps these workers from one `run` to the next.

    stall_seconds: silence after which a worker counts as hung (None: from the times of batches). ready_seconds: how
    long a worker may take to start. clock: seconds, monotonic. on_event: told what happens to workers.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        stall_seconds: float | None = None,
        ready_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        on_event: Callable[[dict[str, object]], None] = lambda event: None,
    ) -> None:
        self._pool, self._clock, self._tell = pool, clock, on_event
        self._ready_seconds, self._patience = ready_seconds, _Patience(stall_seconds)
        self._workers: dict[int, _Worker] = {}
        self._numbers = count(1)
        self._work = Suspects((), clock)
        self._stopped: set[str] = set()
        self._begin()

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        """What workers did, as it comes; after losses the rows of one batch can come in several parts.

        Raises ClusterError when workers cannot be had or are lost again and again without any progress.
        """
        self._work = Suspects(shards, self._clock)
        self._begin()
        try:
            while self._work or self._pending():
                self._staff()
                self._assign()
                for event in self._pool.poll(TICK):
                    yield from self._take(event)
                for loss in self._silent():
                    yield from self._take(loss)
        finally:
            for number in [n for n, worker in self._workers.items() if worker.lease and worker.lease.pending]:
                self._drop(number)

    def _begin(self) -> None:
        self._barren = 0  # workers lost since something last got done
        self._crew = 0  # the most workers there have been at once
        self._failed_starts = 0  # in a row
        self._spawn_after = self._served = self._clock()
        self._stopped = set()

    def _leases(self) -> list[_Lease]:
        return [worker.lease for worker in self._workers.values() if worker.lease]

    def _pending(self) -> int:
        return sum(len(lease.pending) for lease in self._leases())

    # -- workers and leases

    def _staff(self) -> None:
        """Start workers up to what the pool can hold and the work can use."""
        capacity, now = self._pool.capacity(), self._clock()
        if capacity or self._workers:
            self._served = now
        elif now - self._served > self._ready_seconds:
            raise ClusterError(
                f"No worker could be started within {self._ready_seconds:.0f} s: the cluster has no free place for one."
            )
        wanted = min(capacity, self._work.batches + self._pending())
        if now >= self._spawn_after:
            for _ in range(wanted - len(self._workers)):
                self._workers[self._pool.spawn()] = _Worker(now)
        self._crew = max(self._crew, len(self._workers))

    def _assign(self) -> None:
        """Give every idle worker a piece; when none waits, the second half of the longest lease."""
        for number, worker in self._workers.items():
            if not worker.ready or worker.lease or any(lease.piece.alone for lease in self._leases()):
                continue
            piece = self._work.take(worker.group, others_at_work=bool(self._leases()))
            if piece is None and self._work.rests:
                piece = self._cut()
            if piece is None:
                return
            pending = {batch.index: batch for batch in piece.shard.batches}
            fresh = worker.group != piece.group or not worker.heard
            worker.lease = _Lease(next(self._numbers), piece, pending, self._clock(), fresh)
            worker.group = piece.group
            self._pool.lease(number, worker.lease.number, piece.shard)

    def _cut(self) -> Piece | None:
        """Take back what the owner of the longest lease would do last."""
        owners = [(n, w.lease) for n, w in self._workers.items() if w.lease and len(w.lease.pending) > 1]
        if not owners:
            return None
        number, lease = max(owners, key=lambda owner: len(owner[1].pending))
        batches = lease.piece.shard.batches
        keep = self._pool.cut(number, lease.number, len(batches) - len(lease.pending) // 2)
        tail = [lease.pending.pop(batch.index) for batch in batches[keep:] if batch.index in lease.pending]
        lease.piece = lease.piece.with_batches(batches[:keep])
        return lease.piece.with_batches(tail) if tail else None

    def _drop(self, number: int) -> _Worker | None:
        self._pool.kill(number)
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
            worker.ready, self._failed_starts = True, 0
            self._tell({"event": "worker_ready", "worker": event.worker, **event.about})
        elif lease is None or event.lease != lease.number:
            return
        elif isinstance(event, Message):
            yield from self._acknowledge(worker, lease, event.done)
        elif lease.pending:
            yield from self._lose(Lost(event.worker, "error", "it ended without doing all that it was given"))
        else:
            worker.lease = None

    def _acknowledge(self, worker: _Worker, lease: _Lease, done: BatchDone) -> Iterator[BatchDone]:
        now = self._clock()
        times = self._patience.first if lease.fresh else self._patience.usual
        times.append(now - lease.heard)
        lease.heard, lease.fresh, worker.heard = now, False, True
        if lease.pending.pop(done.index, None):
            self._barren = 0
            self._work.did(done)
            yield done

    def _silent(self) -> list[Lost]:
        """Workers that have said nothing for too long."""
        now, losses = self._clock(), []
        for number, worker in self._workers.items():
            lease = worker.lease
            if not worker.ready and now - worker.spawned > self._ready_seconds:
                losses.append(Lost(number, "timeout", f"it was not ready after {self._ready_seconds:.0f} s"))
            elif lease and now - lease.heard > (limit := self._patience.seconds(lease.fresh)):
                losses.append(Lost(number, "stalled", f"it said nothing for {limit:.0f} s"))
        return losses

    def _lose(self, loss: Lost) -> Iterator[BatchDone]:
        """A worker is gone: what it had said counts, the rest is tried again, with suspicion where it is due."""
        worker = self._drop(loss.worker)
        if worker is None:
            return
        lease, others = worker.lease, self._leases()
        at_work = {"shard": lease.piece.shard.shard_id, "batch": next(iter(lease.pending), None)} if lease else {}
        self._tell({"event": "worker_lost", "worker": loss.worker, "kind": loss.kind, "reason": loss.reason, **at_work})
        if not worker.ready:
            self._failed_start(loss)
            return
        if not lease or not lease.piece.single or loss.kind in BLAMELESS:
            self._barren += 1
        if lease:
            for done in self._work.lost(lease.piece, list(lease.pending.values()), loss.kind, nothing_else=not others):
                self._barren = 0
                yield done
        for run in sorted(self._work.stopped - self._stopped):
            self._tell({"event": "run_stopped", "run": run})
        self._stopped |= self._work.stopped
        if self._barren > LOSSES + LOSSES_EACH * self._crew:
            raise ClusterError(
                f"{self._barren} worker processes were lost one after the other and nothing got done in between; "
                f"the last one: {loss.reason}."
            )

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
