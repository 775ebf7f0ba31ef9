"""A results folder's files flow in; the names of their objects flow out, in the order in which they are copied.

A file is an object of the same name. A log grows: each time it is copied, what is new becomes an object of its own,
`events/<where it begins>-<digest>.jsonl`, that never changes again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from results.folder.durable import ASIDE
from results.folder.proof import bytes_digest

# What a later one rests on comes first: rows have their recipes, a card its files, an event the rows that it tells of.
FOLDERS = ("recipes", "ledger", "pictures", "label_maps", "artefacts", "origins", "rows")
FILES = ("grid.json", "leaderboard.csv", "matrix.csv", "events.jsonl")
LOGS = ("events", "origins")
_LEFT_OUT = (ASIDE, ".new")  # what is only half written
_PART = re.compile(r"rows/\d{20}-[0-9a-f]{32}\.parquet")
_GROWTH = re.compile(r"(?P<log>events|origins/[A-Za-z0-9_-]+)/(?P<start>\d{15})-(?P<digest>[0-9a-f]{32})\.jsonl")

State = tuple[int, int]  # bytes, and time of the last change in ns


class Growth(NamedTuple):
    """A piece of a log: where it begins and how long it is. path: of its object."""

    start: int
    size: int
    path: str


def files_of(folder: Path) -> dict[str, State]:
    """The files of a results folder that a mirror has, by their paths in it, in the order in which they are copied."""
    found: dict[str, State] = {}
    for place in (*FOLDERS, *FILES):
        for path in _walk(folder / place):
            name = path.relative_to(folder).as_posix()
            if not name.endswith(_LEFT_OUT) and "/unfinished/ray/" not in name:
                try:
                    seen = path.lstat()
                except OSError:  # it went meanwhile
                    continue
                if stat.S_ISREG(seen.st_mode):  # no link is followed
                    found[name] = seen.st_size, seen.st_mtime_ns
    return dict(sorted(found.items(), key=lambda one: _place(one[0])))


def is_log(name: str) -> bool:
    """Whether a file only ever grows."""
    return name == "events.jsonl" or (name.startswith("origins/") and name.endswith(".jsonl") and name.count("/") == 1)


def is_part(name: str) -> bool:
    """Whether the name of an object carries the digest of its content."""
    return _PART.fullmatch(name) is not None


def growth_name(log: str, start: int, content: bytes) -> str:
    """The object of a piece of a log."""
    return f"{log.removesuffix('.jsonl')}/{start:015d}-{bytes_digest(content)}.jsonl"


def log_of(name: str) -> str | None:
    """Of which log an object is a piece; None for one that is none."""
    found = _GROWTH.fullmatch(name)
    return f"{found['log']}.jsonl" if found else None


def digest_in(name: str) -> str:
    """The digest in the name of a piece of a log."""
    found = _GROWTH.fullmatch(name)
    return found["digest"] if found else ""


def pieces(log: str, sizes: Iterable[tuple[str, int]]) -> list[Growth]:
    """The pieces that make up a log from its start, without a gap; of those that begin at one place the longest."""
    longest: dict[int, Growth] = {}
    for path, size in sizes:
        found = _GROWTH.fullmatch(path)
        if found and f"{found['log']}.jsonl" == log and size > 0:
            piece = Growth(int(found["start"]), size, path)
            longest[piece.start] = max(piece, longest.get(piece.start, piece), key=lambda one: one.size)
    chain, at = list[Growth](), 0
    while at in longest:
        chain.append(longest[at])
        at += longest[at].size
    return chain


def is_mirrored(name: str) -> bool:
    """Whether an object is a file of a results folder, or a piece of a log: names come from outside."""
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and ".." not in parts and "\\" not in name and "\0" not in name
    return plain and not is_log(name) and (parts[0] in (*FOLDERS, "events") if len(parts) > 1 else name in FILES)


def _place(name: str) -> tuple[int, bool, str]:
    top = name.partition("/")[0]
    order = FOLDERS.index(top) if top in FOLDERS else len(FOLDERS) + FILES.index(name)
    return order, name.endswith("/card.json"), name


def _walk(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in names)
