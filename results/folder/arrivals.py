"""Columns of many batches go in as they arrived; the columns of all that keep the rules, checked together, come out.

What is between the columns of one batch is looked at batch by batch, or the fault of one could hide that of another;
what is true of a row, or of an overlap, is looked at once for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Rows
from harness.contracts.rows import COLUMNS, SPARSE_COLUMNS, TEXT_COLUMNS
from results.folder.rows import COUNTS, by_rules

_OPTIONAL = frozenset({"sample", "card"})  # -1 in a row that has none
_BY_ROW = tuple(name for name in COLUMNS if name not in COUNTS)


def checked_together(parts: Sequence[Rows]) -> Rows | None:
    """The rows of several parts as they are stored: `stacked`, and by the rules; None where anything breaks one."""
    rows = stacked(parts)
    return None if rows is None else by_rules(rows)


def stacked(parts: Sequence[Rows]) -> Rows | None:
    """The rows of several parts, none empty, in order; None where the columns of one do not belong together.

    Other than in Rows.joined, a text may be there several times: none is looked up.
    """
    if not all([_is_formed(part) for part in parts]):
        return None
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    sizes = np.array([part.run.size for part in parts])
    starts = np.cumsum(sizes) - sizes
    overlaps = np.add.reduceat(columns["lengths"], starts)
    if columns["lengths"].min() < 0 or (overlaps != [part.true.size for part in parts]).any():
        return None
    for name, place in TEXT_COLUMNS.items():
        own, least = [getattr(part, name) for part in parts], -1 if place in _OPTIONAL else 0
        found = _moved(columns[place], own, sizes, starts, least)
        if found is None:
            return None
        columns[name], columns[place] = found
    for name in SPARSE_COLUMNS:
        columns[name] = _renumbered([getattr(part, name) for part in parts], starts)
    return Rows(**columns)


def _is_formed(part: Rows) -> bool:
    """Whether columns are of the types in which they are stored, and of one length."""
    columns = part.__dict__
    if not all([columns[name].dtype == kind and columns[name].ndim == 1 for name, kind in COLUMNS.items()]):
        return False
    by_row, by_overlap = {columns[name].size for name in _BY_ROW}, {columns[name].size for name in COUNTS}
    return len(by_row) == len(by_overlap) == 1


def _moved(
    places: NDArray[Any], own: Sequence[tuple[str, ...]], sizes: NDArray[Any], starts: NDArray[Any], least: int
) -> tuple[tuple[str, ...], NDArray[Any]] | None:
    """The texts of all parts, and places among them for those among the own ones of a part; None where one is none."""
    numbers = np.array([len(texts) for texts in own])
    if (np.minimum.reduceat(places, starts) < least).any() or (np.maximum.reduceat(places, starts) >= numbers).any():
        return None
    if all([texts == own[0] for texts in own]):
        return own[0], places
    firsts = np.repeat(np.cumsum(numbers) - numbers, sizes)
    return tuple(chain.from_iterable(own)), np.where(places < 0, -1, places + firsts).astype(places.dtype)


def _renumbered(own: Sequence[Mapping[int, Any]], starts: NDArray[Any]) -> dict[int, Any]:
    """What some rows of some parts have, by the number that the row has among all."""
    held = [(start, some) for start, some in zip(starts.tolist(), own, strict=True) if some]
    return {start + number: one for start, some in held for number, one in some.items()}
