"""Runs with their scores and standings go in; entries of a leaderboard with ranks, in order, come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.contracts import FrozenDict
from results.counts.seeds import SeedSpread
from results.counts.significance import Group
from results.counts.standings import TOO_FEW, Place, Standing, Standings


@dataclass(frozen=True)
class Entry:
    """One run in the leaderboard; scores 0..1, None where undefined; `missing` images have neither row nor failure.

    standing: how it stands to the best; None for a run that is in no comparison. official: how many images the data
    set has by its own account, where that is known. spread: over runs that differ in their seed alone.
    unverified: images whose rows do not say of which data they are. disputed: images that were not the same for another
    run of the benchmark. supervision: what a method's learning rests on besides images, and on how few.
    apart: the fields of its protocol that are other ones for other runs of the table, in words; empty where none is.
    apart_here: likewise, among the runs of its benchmark.
    settings: of its method, by name, in words.
    """

    rank: int | None
    method: str
    variant: str
    benchmark: str
    protocol: str
    images: int
    failed: int
    missing: int
    miou: float | None
    image_miou: float | None
    pixel_accuracy: float | None
    run_id: str
    standing: Standing | None = None
    official: int | None = None
    spread: SeedSpread | None = None
    unverified: int = 0
    disputed: int = 0
    supervision: str = ""
    apart: str = ""
    apart_here: str = ""
    settings: Mapping[str, str] = FrozenDict()

    @property
    def complete(self) -> bool:
        return self.failed == 0 and self.missing == 0 and self.disputed == 0

    @property
    def whole(self) -> int:
        """How many images there are."""
        return self.images + self.failed + self.missing

    @property
    def part(self) -> str:
        """In words, that the data set's folder holds fewer images than the data set; else empty."""
        return f"{self.whole} of the {self.official} official images" if self.whole < (self.official or 0) else ""

    @property
    def name(self) -> str:
        """Method, variant and, in a table of several protocols, what tells its protocol apart."""
        return f"{self.method} {self.variant}".strip() + (f" [{self.apart}]" if self.apart else "")

    @property
    def title(self) -> str:
        """The benchmark, marked where it is a part of itself."""
        return f"{self.benchmark} ({self.part})" if self.part else self.benchmark


@dataclass(frozen=True)
class Leaderboard:
    """Entries in their order; `partial` says whether runs with holes are ranked and fill the matrix.

    run_ids: the runs as the grid lists them. differing: the fields in which their protocols differ; protocols share no
    column, in no ranked table. common: what they have in common, in words. standings: by benchmark and protocol.
    disputes: a sentence a benchmark whose images were not the same for all runs. left_out: what of the grid has no run
    (see results.folder.store). cards: a sentence where cards of several kinds computed one run. unlearned: one where a
    learner's fit is unfinished.
    """

    name: str
    entries: tuple[Entry, ...]
    run_ids: tuple[str, ...]
    partial: bool
    differing: tuple[str, ...] = ()
    common: str = ""
    standings: Mapping[Place, Standings] = field(default_factory=dict)
    disputes: tuple[str, ...] = ()
    left_out: tuple[Mapping[str, str], ...] = ()
    cards: tuple[str, ...] = ()
    unlearned: tuple[str, ...] = ()

    @property
    def absent(self) -> dict[str, str]:
        """Benchmarks of the grid that were not on the machine, and why: holes."""
        there = {entry.benchmark for entry in self.entries}
        found = [one for one in self.left_out if not one["method"] and one["benchmark"] not in there]
        return {one["benchmark"]: one["why"] for one in found}

    def detectable(self, entry: Entry) -> float | None:
        """The difference that is found with a chance of 80 % in the entry's group; None where it has none."""
        group = self._group(entry)
        return group.detectable if group else None

    def needed(self, entry: Entry) -> int | None:
        """How many images would find a difference of one point in the entry's group; None where it has none."""
        group = self._group(entry)
        return group.needed if group else None

    def _group(self, entry: Entry) -> Group | None:
        if entry.standing is None or entry.standing.group is None:
            return None
        return self.standings[entry.benchmark, entry.protocol].groups[entry.standing.group - 1]


def percent(value: float | None) -> str:
    """A score 0..1 as percent with 4 decimals; empty where undefined."""
    return "" if value is None else f"{100 * value:.4f}"


def place_of(entry: Entry) -> Place:
    """What a run may be compared within."""
    return entry.benchmark, entry.protocol


def ranked(entries: Sequence[Entry], partial: bool) -> list[Entry]:
    """Ranks within a benchmark and protocol, by mIoU as it is printed; equal ones share the better rank.

    A run with holes is ranked by how far it is from the best on the images that both have, if they are not too few.
    """
    rivals: dict[Place, list[float]] = defaultdict(list)
    levels = {e.run_id: level for e in entries if (level := _level(e, partial)) is not None}
    for entry in entries:
        if entry.run_id in levels:
            rivals[place_of(entry)].append(levels[entry.run_id])
    return [
        replace(e, rank=1 + sum(other > levels[e.run_id] for other in rivals[place_of(e)])) if e.run_id in levels else e
        for e in entries
    ]


def _level(entry: Entry, partial: bool) -> float | None:
    """What a run is ranked by, the highest first, with the digits that are printed; None for one that is not ranked."""
    if entry.miou is None or not (partial or entry.complete):
        return None
    standing = entry.standing
    if entry.complete or (standing is not None and standing.whole):
        return float(percent(entry.miou))
    if standing is None or standing.words == TOO_FEW:
        return None
    return float(percent(standing.level))


def order_of(entry: Entry, benchmarks: Mapping[str, int]) -> tuple[object, ...]:
    place = (entry.rank is None, entry.rank or 0)
    return (benchmarks[entry.benchmark], entry.protocol, *place, entry.method, entry.variant, entry.run_id)
