"""Workers come, take leases, speak and go; who is there, what is still to come, and from whom last, flow out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.contracts import Batch
from harness.executors.copies import Copies, Key
from harness.executors.hosts import Whereabouts
from harness.executors.patience import Patience
from harness.executors.pool import Lost
from harness.executors.suspects import Piece

LATE = 1.25  # times what a worker's batches take, after which one may never come


@dataclass
class HeldLease:
    """A piece of a shard in a worker's hands, under a number that is never used again."""

    number: int
    piece: Piece
    pending: dict[int, Batch]  # by index, in order
    heard: float  # when it was handed out, or last said something
    fresh: bool  # a first batch is still to come: of a new worker, or of runs whose networks it has not opened

    def key(self, batch: Batch) -> Key:
        """By what two workers know that they are at the same batch."""
        return self.piece.shard.shard_id, batch.index


@dataclass
class Hand:
    """What is known of one worker."""

    spawned: float
    ready: bool = False
    heard: bool = False  # it has done a batch
    about: Mapping[str, Any] = field(default_factory=dict)  # where it is, once it has said so
    place: Whereabouts | None = None
    group: tuple[str, ...] = ()
    pace: float | None = None  # seconds that its last batches of this group took
    ahead: int = 1  # batches that it may be asked for
    lease: HeldLease | None = None

    def is_there(self, about: Mapping[str, Any]) -> Whereabouts:
        """It has started, and said where."""
        self.ready, self.about, self.place = True, about, Whereabouts.of(about)
        return self.place

    def told(self) -> dict[str, object]:
        """What is told of one that is lost: where it was, and at what."""
        at = {name: self.about[name] for name in ("host", "node", "gpu") if self.about.get(name)}
        if self.lease is None:
            return at
        return {**at, "shard": self.lease.piece.shard.shard_id, "batch": next(iter(self.lease.pending), None)}

    def took(self, seconds: float) -> None:
        """A batch was done, not the first one of its lease's runs."""
        self.pace = seconds if self.pace is None else (3 * self.pace + seconds) / 4

    def take(self, lease: HeldLease) -> None:
        """It is given a lease; what it took for other runs says nothing of these."""
        self.pace = self.pace if self.group == lease.piece.group else None
        self.lease, self.group = lease, lease.piece.group


class Expected(NamedTuple):
    """When a batch is expected, and who is at it."""

    end: float
    owner: int
    lease: HeldLease
    batch: Batch


class Crew:
    """The workers there are, by number.

    idle: ready, and without a lease, in order. parked: on cards that are set aside: they hold them, and do nothing.
    lone: who is at a piece that is tried with nothing else at work. most: how many there have been at once.
    """

    def __init__(self) -> None:
        self.members: dict[int, Hand] = {}
        self.idle: dict[int, None] = {}
        self.parked: set[int] = set()
        self.lone: int | None = None
        self.most = 0

    def leases(self) -> Iterator[HeldLease]:
        """What they are at."""
        return (member.lease for member in self.members.values() if member.lease)

    def anybody_at_work(self) -> bool:
        """Whether any of them has a lease."""
        return any(True for _ in self.leases())

    def pending(self) -> int:
        """How many batches are still to come from them."""
        return sum(len(lease.pending) for lease in self.leases())

    def places(self) -> dict[int, Whereabouts | None]:
        """Where those are that may do something; None of those that are starting."""
        return {number: member.place for number, member in self.members.items() if number not in self.parked}

    def joins(self, number: int, now: float) -> None:
        """One is being started."""
        self.members[number] = Hand(now)

    def leaves(self, number: int) -> Hand | None:
        """One is gone; what was known of it."""
        self.idle.pop(number, None)
        self.parked.discard(number)
        return self.members.pop(number, None)

    def rests(self, number: int) -> None:
        """One has done its lease."""
        self.members[number].lease, self.idle[number] = None, None
        self.lone = None if self.lone == number else self.lone

    def silent(self, now: float, ready_seconds: float, patience: Patience) -> list[Lost]:
        """Those that have said nothing for too long, as losses."""
        losses, (usual, first) = list[Lost](), patience.seconds()
        for number, member in self.members.items():
            lease = member.lease
            if not member.ready and now - member.spawned > ready_seconds:
                losses.append(Lost(number, "timeout", f"it was not ready after {ready_seconds:.0f} s"))
            elif lease and now - lease.heard > (limit := first if lease.fresh else usual):
                losses.append(Lost(number, "stalled", f"it said nothing for {limit:.0f} s"))
        return losses

    def longest_leases(self) -> list[tuple[int, HeldLease]]:
        """Those with more than one batch to come, the longest first, and whose they are."""
        owners = [(n, one.lease) for n, one in self.members.items() if one.lease and len(one.lease.pending) > 1]
        return sorted(owners, key=lambda owner: -len(owner[1].pending))

    def expected_last(self, copies: Copies, patience: Patience, now: float) -> Expected | None:
        """Of the batches that one worker alone is at, the one that is expected last; never, of who is too late."""
        usual, latest = patience.median, None
        for owner, member in self.members.items():
            lease = member.lease
            if lease is None or lease.piece.suspect or lease.piece.failed or not lease.pending:
                continue
            pace = member.pace or usual
            first = max(patience.first, default=0.0) if lease.fresh else pace
            late = now - lease.heard > LATE * first
            for place, batch in enumerate(lease.pending.values()):
                end = float("inf") if late else lease.heard + first + place * pace
                if lease.key(batch) not in copies and (latest is None or end > latest.end):
                    latest = Expected(end, owner, lease, batch)
        return latest

    def would_take(self, number: int, piece: Piece, patience: Patience) -> float:
        """Seconds that one which is idle would take for a batch of a piece."""
        member = self.members[number]
        opening = 0.0 if member.group == piece.group else max(patience.first, default=0.0)
        return opening + (member.pace or patience.median)
