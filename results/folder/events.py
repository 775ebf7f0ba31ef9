"""What happened goes line by line into `events.jsonl` and comes back; every line carries the digest of its content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import StoreError
from results.folder.durable import read_whole
from results.folder.proof import sealed_line, unsealed

_CURE = "move it away; what happened before is forgotten, and no number rests on it"


@dataclass(frozen=True)
class Told:
    """events: in order. damaged: the numbers of the lines, from 1, that are not what was written, or were cut short."""

    events: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...] = ()


def tell(path: Path, contents: Sequence[Mapping[str, object]]) -> None:
    """Append what happened, with the time (UTC), in one piece. StoreError when the disk refuses."""
    append(path, lines_now(contents))


def lines_now(contents: Sequence[Mapping[str, object]]) -> str:
    """The lines of what happened, with the time (UTC)."""
    time = now()
    return lines_of([{"time": time, **content} for content in contents])


def append(path: Path, lines: str) -> None:
    """Append lines in one piece; those that are there already count once. StoreError when the disk refuses."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is no file; {_CURE}")
    try:
        with path.open("ab+") as file:
            # A crash may have cut the last line short; it stays alone.
            file.write((lines if _at_the_start_of_a_line(file) else "\n" + lines).encode("utf-8"))
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); free or mend the disk") from None


def now() -> str:
    """The time (UTC) as it stands in events."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def lines_of(contents: Sequence[Mapping[str, object]]) -> str:
    """The lines of some events."""
    return "".join([sealed_line(content) for content in contents])


def told_events(path: Path) -> Told:
    """All events, each once, and which lines are damaged. StoreError when the file cannot be read."""
    events, damaged = [], []
    lines = read_whole(path, _CURE).split(b"\n") if path.exists() else []
    seen = set[bytes]()  # a copied file, or a crash, may have doubled some: no two events are alike to the millisecond
    for number, line in enumerate(lines, start=1):
        if line in seen:
            continue
        seen.add(line)
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip():
            damaged.append(number)
    return Told(tuple(events), tuple(damaged))


def _event(line: bytes) -> dict[str, object] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return unsealed(content) if isinstance(content, dict) else None


def _at_the_start_of_a_line(file: BinaryIO) -> bool:
    if not file.tell():
        return True
    file.seek(-1, 2)
    return file.read(1) == b"\n"
