"""Dictionaries flow in; those that somebody touched since flow out, by the version that Python itself keeps of each.

Every change of a dictionary gives it a version that none had before (PEP 509), so that one that has its version still
holds what it held. Where this Python keeps none, each counts as touched, and is looked at entry by entry.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import Any

from harness.foreign.words import WORD, Addresses, as_numbers

_PLACE = 3 * WORD  # behind the count of references, the type and the number of entries
_LAST = (3, 13)  # Python after it keeps no versions


def versions_of(held: Iterable[dict[Any, Any]]) -> Callable[[], bytes]:
    """What tells the versions of dictionaries, where they are kept. Who asks holds the dictionaries."""
    return Addresses(id(one) + _PLACE for one in held).now


def _are_kept() -> bool:
    """Whether this Python gives a dictionary another version at every kind of change, and at no look."""
    known = sys.implementation.name == "cpython" and sys.version_info[:2] <= _LAST and sys.maxsize > 1 << 32
    if not known or dict.__basicsize__ < 2 * _PLACE:
        return False
    held = {str(number): object() for number in range(9)}
    changes: list[Callable[[], object]] = [
        lambda: held.__setitem__("new", 1), lambda: held.__setitem__("0", 1), lambda: held.__delitem__("1"),
        lambda: held.pop("2"), held.popitem, lambda: held.update({"3": 1}), lambda: held.setdefault("more", 1),
        held.clear,
    ]  # fmt: skip
    version, found = versions_of([held]), set[bytes]()
    for change in changes:
        before = version()
        _ = dict(held), held.get("0"), [*held.items()]
        if version() != before:
            return False
        change()
        found |= {before, version()}
    return len(found) == len(changes) + 1


KEPT = _are_kept()


class Untouched:
    """Dictionaries (`vars` of modules and classes); at first all of them count as touched."""

    def __init__(self, held: Iterable[Any]) -> None:
        self._held = [_behind(one) for one in held]  # they have to live as long as their versions are read
        self._now = versions_of(self._held) if KEPT else bytes
        self._were: bytes | None = None

    def touched(self) -> tuple[Sequence[int], bytes]:
        """The numbers of those that were touched since they were last in order, and what makes them that: `take`."""
        now = self._now()
        if not KEPT or self._were is None:
            return range(len(self._held)), now
        if now == self._were:
            return (), now
        pairs = zip(as_numbers(now), as_numbers(self._were), strict=True)
        return [number for number, (one, other) in enumerate(pairs) if one != other], now

    def take(self, now: bytes) -> None:
        """All are in order as they were when they were looked at."""
        self._were = now


def _behind(held: Any) -> dict[Any, Any]:
    """The dictionary behind what `vars` gives for a class."""
    (found,) = gc.get_referents(held) if isinstance(held, MappingProxyType) else (held,)
    return found  # type: ignore[no-any-return]
