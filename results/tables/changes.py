"""The leaderboard.csv of before and the leaderboard of now flow in; what changed flows out, in sentences."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from results.tables.ranking import Entry, Leaderboard, percent

SHOWN = 8  # runs that are named
_READ = ("method", "variant", "benchmark", "protocol", "miou", "images", "run_id")


class TablePlace(NamedTuple):
    """Where a number stands in a table."""

    method: str
    variant: str
    benchmark: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.method} {self.variant}".strip() + f" on {self.benchmark}"


Before = Mapping[TablePlace, Mapping[str, str]]  # a line of the file by its place


def read_before(path: Path) -> Before:
    """The lines of a leaderboard.csv; empty where there is none, or none that can be read."""
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    except (OSError, ValueError, csv.Error):
        return {}
    whole = [line for line in lines if all(isinstance(line.get(name), str) for name in _READ)]
    return {TablePlace(*(line[name] for name in TablePlace._fields)): line for line in whole}


def changes(before: Before, board: Leaderboard) -> list[str]:
    """What is other than it was, run by run; nothing where there was no table before."""
    if not before:
        return []
    now = {TablePlace(entry.method, entry.variant, entry.benchmark, entry.protocol): entry for entry in board.entries}
    moved = [said for place, entry in now.items() if place in before and (said := _moved(place, before[place], entry))]
    told = [*moved[:SHOWN], *([f"... and {len(moved) - SHOWN} others"] if len(moved) > SHOWN else [])]
    for words, some, others in (("new", now, before), ("no longer in the table", before, now)):
        if apart := [str(place) for place in some if place not in others]:
            told.append(f"{words}: {_some(apart)}")
    return (
        ["Since the table of before:", *(f"  {line}" for line in told)]
        if told
        else ["No number changed since the table of before."]
    )


def _moved(place: TablePlace, line: Mapping[str, str], entry: Entry) -> str:
    """How a run's score moved, and why; empty where neither score nor run is another one."""
    score = percent(entry.miou)
    if score == line["miou"] and entry.run_id == line["run_id"]:
        return ""
    return f"{place}: {line['miou'] or '-'} -> {score or '-'} ({'; '.join(_reasons(line, entry))})"


def _reasons(line: Mapping[str, str], entry: Entry) -> Iterator[str]:
    if line["run_id"] != entry.run_id:
        yield "another run: its settings, versions, files or code"
    if line["images"] != str(entry.images):
        yield f"{entry.images} images in place of {line['images']}"
    elif line["run_id"] == entry.run_id:
        yield "its rows are other ones"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} others" if len(names) > SHOWN else "")
