"""What workers say, and where they are, flow in; hosts and cards that are set aside for the sweep, and why, flow out.

Failing is fast: a host that lacks a package or the data would take nearly all the work. It is set aside when everything
fails there for reasons of a machine, and another host does what it could not. A card is set aside when it broke twice,
and other cards did both times what it had been at: an image that breaks every card is not laid to one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from harness.contracts import Batch, Rows, Shard
from harness.errors import of_card

FAILED = 2  # batches in a row that failed as a whole on a host that has done nothing yet: it may be broken
FAILED_LATER = 20  # the same, of one that has done something
BROKEN = 2  # times that a card broke at what others did

Done: TypeAlias = tuple[str, str]  # run and image


class Whereabouts(NamedTuple):
    """Where a worker is. node: the host's, as Ray calls it. gpu: its card, as the host numbers it; else empty."""

    host: str = ""
    node: str = ""
    gpu: str = ""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Whereabouts:
        """That of a worker that told where it is."""
        return cls(*(str(about.get(name) or "") for name in cls._fields))

    @property
    def machine(self) -> str:
        """What tells hosts apart: two may have one name."""
        return self.node or self.host

    @property
    def card(self) -> tuple[str, str]:
        """What tells cards apart."""
        return self.machine, self.gpu

    def __str__(self) -> str:
        card = f", GPU {self.gpu}" if self.gpu else ""
        return f"{self.host or 'a machine without a name'}{card}"


_NOWHERE = Whereabouts()


class Failed(NamedTuple):
    """Where a piece failed first. worker: who; newest: the last worker that had been started by then."""

    place: Whereabouts
    worker: int
    newest: int
    card: bool

    def __str__(self) -> str:
        return f"worker {self.worker} on {self.place}"


class SetAside(NamedTuple):
    """A host, or only one of its cards, that gets no more work. why: what failed there last."""

    place: Whereabouts
    only_card: bool
    why: str

    def holds(self, place: Whereabouts) -> bool:
        """Whether a worker at this place is one of those that get nothing more."""
        return place.card == self.place.card if self.only_card else place.machine == self.place.machine

    def __str__(self) -> str:
        host, gpu = self.place.host, self.place.gpu
        if self.only_card:
            return f"GPU {gpu} of {host} is set aside: it broke {BROKEN} times at what other cards did ({self.why})."
        return f"Host {host} is set aside: everything fails there, and not elsewhere ({self.why})."


@dataclass
class _Tally:
    """What a host did of late. failed: batches in a row of which everything failed; runs: those that they were of."""

    worked: bool = False
    failed: int = 0
    runs: set[str] = field(default_factory=set)
    place: Whereabouts = _NOWHERE
    why: str = ""


@dataclass
class _Charge:
    """A card broke once. left: what it had been at that nobody else has done yet."""

    card: Whereabouts
    left: set[Done]
    why: str


class Hosts:
    """Who is to be set aside, by what workers said until now. aside: who was."""

    def __init__(self) -> None:
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._failing: dict[str, _Tally] = {}  # of hosts whose last batch failed: few, where there are thousands
        self._doers: defaultdict[str, set[str]] = defaultdict(set)  # by run, the hosts that did some of it
        self._known: set[tuple[str, tuple[str, ...]]] = set()  # hosts, and runs of which each did some
        self._charges: list[_Charge] = []
        self._proven: defaultdict[tuple[str, str], list[_Charge]] = defaultdict(list)  # by card
        self.aside: list[SetAside] = []

    def holding(self, place: Whereabouts) -> SetAside | None:
        """By what a worker at this place gets nothing to do, if it is so."""
        return next((one for one in self.aside if one.holds(place)), None)

    def did(self, place: Whereabouts, rows: Rows) -> list[SetAside]:
        """A batch was answered; who is set aside for what is known now."""
        if not place.machine or not len(rows):
            return []
        self._count(place, rows)
        broken = {rows.key(number): rows.errors.get(number, "") for number in rows.elsewhere}
        broken = {work: why for work, why in broken.items() if of_card(why)}
        if self._charges:
            well = {key for key, ok in zip(rows.keys, rows.ok.tolist(), strict=True) if ok}
            self._judge(place, well, set(rows.keys) - broken.keys())
        if broken:
            self.broke(place, broken, next(iter(broken.values())))
        return self._new()

    def broke(self, place: Whereabouts, work: Iterable[Done], why: str) -> None:
        """The card of a worker failed at some work."""
        if place.gpu:
            self._charges.append(_Charge(place, set(work), why))

    def _count(self, place: Whereabouts, rows: Rows) -> None:
        tally = self._tallies[place.machine]
        if len(rows.elsewhere) == len(rows):
            tally.failed, tally.place, tally.why = tally.failed + 1, place, next(iter(rows.errors.values()), "")
            self._failing[place.machine] = tally
            tally.runs.update(rows.runs)
        elif rows.ok.any():
            tally.worked, tally.failed = True, 0
            self._failing.pop(place.machine, None)
            tally.runs.clear()
            if (known := (place.machine, rows.runs)) not in self._known:
                numbers = set(rows.run[rows.ok].tolist())
                for number in numbers:
                    self._doers[rows.runs[number]].add(place.machine)
                if len(numbers) == len(rows.runs):
                    self._known.add(known)

    def _judge(self, place: Whereabouts, well: set[Done], said: set[Done]) -> None:
        """A charge is proven once other cards did all of it; it is dropped where some fails, or goes well here."""
        for charge in self._charges:
            touched = charge.left & said
            if touched and touched <= well and place.card != charge.card.card:
                charge.left -= touched
                if not charge.left:
                    self._proven[charge.card.card].append(charge)
            elif touched:
                charge.left = set()
        self._charges = [charge for charge in self._charges if charge.left]

    def _new(self) -> list[SetAside]:
        if not self._failing and not self._proven:
            return []
        found = [
            SetAside(tally.place, False, tally.why)
            for machine, tally in self._failing.items()
            if tally.failed >= (FAILED_LATER if tally.worked else FAILED)
            and any(self._doers[run] - {machine} for run in tally.runs)
        ]
        for charges in self._proven.values():
            if len(charges) >= BROKEN:
                found.append(SetAside(charges[-1].card, True, charges[-1].why))
        new = [one for one in found if self.holding(one.place) is None]
        self.aside += new
        return new


def work_of(shard: Shard, batches: Iterable[Batch]) -> Iterator[Done]:
    """The runs and images of some batches."""
    return ((run.run_id, image) for batch in batches for run in shard.runs for image in batch.image_ids)
