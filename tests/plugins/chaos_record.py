"""A lab and the events that hit it flow in; what its sweep left, what each event cost and how long nothing went on flow
out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl
from chaos import Chaos, Happened
from chaos_lab import Lab
from in_process import door

from results.folder.store import Store

SAME = ("run_id", "image_id")


@dataclass(frozen=True)
class Left:
    """What a sweep leaves."""

    leaderboard: bytes
    rows: pl.DataFrame

    @classmethod
    def of(cls, folder: Path) -> Left:
        """The table as it is, and the rows in order, without how long each took."""
        rows = Store(folder).rows().drop("seconds").sort(SAME)
        return cls((folder / "leaderboard.csv").read_bytes(), rows)


def by_one_process(lab: Lab) -> Left:
    """The same grid by `--local`."""
    answer = door("grid.yaml", "--local", "--quiet", "--results", "local", cwd=lab.place)
    assert answer.returncode == 0, answer.stderr
    return Left.of(lab.place / "local")


@dataclass(frozen=True)
class Cost:
    """What an event cost until the next one. again: image results computed once more; still: the longest time, in
    seconds, in which nobody computed; back: how long after it a new process computed, where it ended one."""

    again: int
    still: float
    back: float | None


ENDS_A_PROCESS = ("worker killed", "raylet killed", "host killed", "link cut for long", "head killed")


def costs(chaos: Chaos) -> list[tuple[Happened, Cost]]:
    """Of every event, by what was written down."""
    computed, events = chaos.lab.computed(), chaos.events
    bounds = [*(event.at for event in events[1:]), float("inf")]
    seen: set[str] = set()
    found = []
    for event, bound in zip(events, bounds, strict=True):
        seen |= {what for when, _, what in computed if when < event.at}
        within = [(when, what) for when, _, what in computed if event.at <= when < bound]
        again = 0
        for _, what in within:
            again += what in seen
            seen.add(what)
        times = [event.at, *(when for when, _ in within), *([bound] if bound < float("inf") else [])]
        still = max((b - a for a, b in pairwise(times)), default=0.0)
        found.append((event, Cost(again, still, _back(event, computed))))
    return found


def _back(event: Happened, computed: Sequence[tuple[float, str, str]]) -> float | None:
    """When somebody who was not there before computed, on the same host where it is one host that was hit."""
    if not event.kind.startswith(("driver", *ENDS_A_PROCESS)):
        return None
    before = {who for when, who, _ in computed if when < event.at} if event.kind != "host killed" else set()
    host = "" if event.kind.startswith(("driver", "head")) else event.detail.split()[0].rstrip(",")
    later = (when for when, who, _ in computed if when > event.at and who not in before and who.startswith(host))
    return next((when - event.at for when in later), None)
