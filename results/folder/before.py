"""A file that proves nothing goes in; whether it may be of a time before files proved themselves comes out.

Its runs tell, by their recipes. Where no recipe says whose it is, all of the folder do.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from harness.errors import StoreError
from results.folder.proof import read_json
from results.folder.recipes import benchmark_key, is_of_now

_ALL = ""  # stands for every recipe of a folder


def may_be_of_before(folder: Path, owner: str = _ALL) -> bool:
    """Whether a file without a digest may be as it was written: one of its runs is of before, or no recipe is there.

    owner: the id of its run, or the key of its benchmark.
    """
    place = folder / "recipes"
    of_now = _of_now(place, place.stat().st_mtime_ns) if place.is_dir() else {}
    return not of_now.get(owner, of_now.get(_ALL, False))


@lru_cache(maxsize=4)  # a folder of before may have ten thousand such files
def _of_now(place: Path, _changed: int) -> dict[str, bool]:
    """By owner, whether all its recipes are of now."""
    found: dict[str, bool] = {}
    for path in sorted(place.glob("*.json")):
        with suppress(StoreError, TypeError):  # a damaged recipe says nothing here: whoever reads recipes tells
            recipe = read_json(path)
            for owner in (path.stem, benchmark_key(recipe.get("benchmark", {})), _ALL):
                found[owner] = found.get(owner, True) and is_of_now(recipe)
    return found
