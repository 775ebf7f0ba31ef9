"""Names of our modules flow in; what stands for them in ids flows out: versions, by the committed table.

The table `versions.txt` has a line for every module of ours between an image and its counts: its name, its version, a
digest of what it says (see harness.recipes.syntax) and, of one that was moved, the name that ids know it by. A version
that is still 1 stands in no id, so that a new, divided or moved module changes none. A module that was changed and not
written into the table since stands for itself by its digest: an edit on somebody's desk never meets older rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.recipes.surroundings import house_closure, source_file, source_text

TABLE = Path(__file__).with_name("versions.txt")
SENTENCES = frozenset({"harness.errors", "harness.recipes.complaints"})  # say why something is refused; count nothing
DECIDING = ("harness.work.worker", "harness.learning.fitting", "harness.planning.batches")  # what every run rests on


@dataclass(frozen=True)
class Line:
    """One module of the table. known_as: its name in ids."""

    module: str
    version: int
    digest: str
    known_as: str


def read_table(path: Path = TABLE) -> dict[str, Line]:
    """Module -> its line."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    found = (Line(words[0], int(words[1]), words[2], words[3] if len(words) > 3 else words[0]) for words in lines)
    return {line.module: line for line in found}


def versions(modules: Iterable[str]) -> dict[str, int | str]:
    """What of these modules stands in an id, by the names that ids know: a version above 1, or an edit's digest."""
    table = _table()
    stands: dict[str, int | str] = {}
    for module in sorted(set(modules) - SENTENCES):
        line, digest = table.get(module), digest_of(module)
        if line is None or line.digest != digest:
            stands[line.known_as if line else module] = f"edited-{digest}"
        elif line.version > 1:
            stands[line.known_as] = line.version
    return stands


@cache
def deciding() -> Mapping[str, int | str]:
    """What of the harness itself stands in the id of every run."""
    return versions(house_closure(DECIDING))


def digest_of(module: str) -> str:
    """The digest of what a module of ours says; "0" for a package without a file."""
    path = source_file(module)
    return source_text(path).digest if path is not None else "0"


@cache
def _table() -> dict[str, Line]:
    return read_table()
