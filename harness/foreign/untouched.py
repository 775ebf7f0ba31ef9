"""Dictionaries flow in; those that somebody touched since flow out, by the version that Python itself keeps of each.

Every change of a dictionary gives it a version that none had before (PEP 509), so that one that has its version still
holds what it held. Where this Python keeps none, each counts as touched, and is looked at entry by entry.
"""

from __future__ import annotations

import ctypes
import gc
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import Any

_PLACE = 3 * ctypes.sizeof(ctypes.c_ssize_t)  # behind the count of references, the type and the number of entries
_LAST = (3, 13)  # Python after it keeps no versions
_value: Callable[[Any], int] = operator.attrgetter("value")


def _cell(held: dict[Any, Any]) -> Any:
    """Where the version of a dictionary stands."""
    return ctypes.c_uint64.from_address(id(held) + _PLACE)


def _are_kept() -> bool:
    """Whether this Python gives a dictionary another version at every kind of change, and at no look."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] > _LAST or dict.__basicsize__ < 2 * _PLACE:
        return False
    held = {str(number): object() for number in range(9)}
    changes: list[Callable[[], object]] = [
        lambda: held.__setitem__("new", 1), lambda: held.__setitem__("0", 1), lambda: held.__delitem__("1"),
        lambda: held.pop("2"), held.popitem, lambda: held.update({"3": 1}), lambda: held.setdefault("more", 1),
        held.clear,
    ]  # fmt: skip
    cell, found = _cell(held), set[int]()
    for change in changes:
        before = int(cell.value)
        _ = dict(held), held.get("0"), [*held.items()]
        if cell.value != before:
            return False
        change()
        found |= {before, int(cell.value)}
    return len(found) == len(changes) + 1


KEPT = _are_kept()


class Untouched:
    """Dictionaries (`vars` of modules and classes); at first all of them count as touched."""

    def __init__(self, held: Iterable[Any]) -> None:
        self._held = [_behind(one) for one in held]  # they have to live as long as their versions are read
        self._cells = [_cell(one) for one in self._held] if KEPT else []
        self._were: list[int | None] = [None] * len(self._held)

    def touched(self) -> tuple[Sequence[int], list[int]]:
        """The numbers of those that were touched since they were last in order, and what makes them that: `take`."""
        now = [*map(_value, self._cells)]
        if not KEPT:
            return range(len(self._held)), now
        if now == self._were:
            return (), now
        return [number for number, pair in enumerate(zip(now, self._were, strict=True)) if pair[0] != pair[1]], now

    def take(self, now: Sequence[int]) -> None:
        """All are in order as they were when they were looked at."""
        self._were = [*now]


def _behind(held: Any) -> dict[Any, Any]:
    """The dictionary behind what `vars` gives for a class."""
    (found,) = gc.get_referents(held) if isinstance(held, MappingProxyType) else (held,)
    return found  # type: ignore[no-any-return]
