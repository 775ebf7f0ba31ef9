"""Rows, events and origins gather in a load; it leaves for the disk step by step, each of which can be done again.

Whatever comes between two steps, a signal, an exception or a disk that refuses, what was taken over is there once:
what changes is made aside and put in place by one assignment, and a part has its name, and events their lines, before
they are written, so that who goes on writes the same once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.contracts import Rows
from harness.errors import StoreError
from results.folder import events, origins, parts
from results.folder.arrivals import checked_together, stacked
from results.folder.rows import checked, frame_by_key


@dataclass
class Load:
    """arrived: unchecked, with the events that tell of them, and how many rows they are. rows: checked, and how many.
    origins: as lines, by benchmark. before: what is on its way to the disk; part, lines: what of it is written."""

    arrived: list[tuple[Rows, Mapping[str, object] | None]] = field(default_factory=list)
    unchecked: int = 0
    rows: list[Rows] = field(default_factory=list)
    number: int = 0
    events: list[Mapping[str, object]] = field(default_factory=list)
    origins: dict[str, list[str]] = field(default_factory=dict)
    before: Load | None = None
    part: parts.Part | None = None
    lines: str = ""

    def __bool__(self) -> bool:
        return bool(self.arrived or self.rows or self.events or self.origins)

    def settled(self) -> tuple[Load, StoreError | None]:
        """The same with all that arrived checked, together, and what is wrong with the first malformed row."""
        arrived, refused = self.arrived, None
        columns = [rows for rows, _ in arrived if len(rows)]
        whole = checked_together(columns) if columns else None
        if columns and whole is None:
            found = [(one, _fault(one[0])) for one in arrived]
            arrived = [one for one, fault in found if fault is None]
            refused = next((fault for _, fault in found if fault is not None), None)
        good = [checked(rows) for rows, _ in arrived if len(rows)] if whole is None else [whole]
        return replace(
            self, arrived=[], unchecked=0, rows=self.rows + good, number=self.number + sum(map(len, good)),
            events=self.events + [event for _, event in arrived if event is not None],
        ), refused  # fmt: skip

    def leave(self, folder: Path) -> None:
        """Write all of it: where images came from before rows, events after them. StoreError when the disk refuses."""
        for key in list(self.origins):
            origins.append_lines(folder, key, self.origins[key])  # the last line of an image stands, and equal ones too
            del self.origins[key]
        if self.rows and self.part is None:
            self.part = parts.part_of(frame_by_key(_joined(self.rows)), ordered=True)
        if self.part is not None:
            parts.put(folder / "rows", self.part)
        if self.events:
            self.lines = self.lines or events.lines_now(self.events)
            events.append(folder / "events.jsonl", self.lines)  # equal lines count once


def _fault(rows: Rows) -> StoreError | None:
    try:
        checked(rows)
    except StoreError as error:
        return error
    return None


def _joined(waiting: list[Rows]) -> Rows:
    """Checked rows in one."""
    rows = stacked(waiting)
    assert rows is not None
    return rows
