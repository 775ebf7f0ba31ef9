"""Boundary counts of rows go in; columns of lists come out, null where they were not asked for, and what breaks a rule.

Of every class that has a boundary in an image: its number, and how many pixels lie at it in the truth and in the
prediction, and in either (see harness.work.boundaries).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import Rows

BOUNDARY_SCHEMA: dict[str, pl.DataType] = {
    "boundary_class": pl.List(pl.UInt16),
    "boundary_intersection": pl.List(pl.UInt32),
    "boundary_union": pl.List(pl.UInt32),
}
BOUNDARIES = tuple(BOUNDARY_SCHEMA)
_LAST_CLASS, _MOST = 2**16 - 2, 2**32 - 1


def boundary_lists(rows: Rows) -> pl.DataFrame:
    """The boundaries of every row as lists, null where they are not counted."""
    whole = pl.DataFrame({"row": np.arange(len(rows), dtype=np.int64)})
    if not rows.boundaries:
        return whole.select(pl.repeat(None, pl.len(), dtype=kind).alias(name) for name, kind in BOUNDARY_SCHEMA.items())
    numbers = np.array(list(rows.boundaries), np.int64)
    tables = [np.asarray(table, np.int64) for table in rows.boundaries.values()]
    row = np.repeat(numbers, [len(table) for table in tables])
    values = dict(zip(BOUNDARIES, np.concatenate(tables).T, strict=True))
    lists = pl.DataFrame({"row": row, **values}).group_by("row", maintain_order=True).agg(*BOUNDARIES)
    joined = whole.join(lists, on="row", how="left", maintain_order="left")
    counted = pl.col("row").is_in(numbers)
    return joined.select(
        pl.when(counted).then(pl.col(name).cast(kind).fill_null(pl.lit([], kind))).alias(name)
        for name, kind in BOUNDARY_SCHEMA.items()
    )


def wrongly_bounded(rows: Rows) -> NDArray[np.int64]:
    """The rows whose boundaries break a rule; failed ones have none."""
    numbers = np.array(list(rows.boundaries), np.int64)
    if not numbers.size:
        return numbers
    tables = [np.asarray(table, np.int64) for table in rows.boundaries.values()]
    if any(table.ndim != 2 or table.shape[1] != len(BOUNDARIES) for table in tables):
        return numbers
    lengths = np.array([len(table) for table in tables])
    found = _breakers(*np.concatenate(tables).T, lengths=lengths)
    return np.union1d(numbers[found], numbers[~rows.ok[numbers]])


def _breakers(
    classes: NDArray[Any], both: NDArray[Any], either: NDArray[Any], *, lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The numbers of the lists that break a rule. classes, both, either: of all lists end to end, so long each."""
    ends = np.cumsum(lengths)
    rises = np.ones(classes.size + 1, np.bool_)  # one more, where empty lists begin at the end
    np.greater(classes[1:], classes[:-1], out=rises[1:-1])
    rises[ends - lengths] = True
    nobody = (classes < 0) | (classes > _LAST_CLASS)
    impossible = nobody | (both < 0) | (both > either) | (either < 1) | (either > _MOST)
    found: NDArray[np.int64] = np.searchsorted(ends, np.flatnonzero(impossible | ~rises[:-1]), side="right")
    return found


def badly_bounded(frame: pl.DataFrame) -> pl.Expr:
    """Whether a row's boundaries break a rule: not all of them there, of several lengths, or numbers that cannot be."""
    lists = frame.select(BOUNDARIES)
    lengths = lists.select(pl.all().list.len())
    wrong = np.zeros(frame.height, np.bool_)
    if lengths.null_count().sum_horizontal()[0] < frame.height * len(BOUNDARIES):
        first, *others = lengths
        wrong = np.logical_or.reduce([first.ne_missing(other).to_numpy() for other in others])
        holes = lists.select(pl.any_horizontal(pl.all().list.eval(pl.element().is_null()).list.any())).to_series()
        wrong |= holes.fill_null(False).to_numpy()
        if "status" in frame.columns:
            wrong |= (frame["status"].eq_missing("failed") & first.is_not_null()).to_numpy()
        if not wrong.any():
            columns = [one.drop_nulls().list.explode(empty_as_null=False).to_numpy().astype(np.int64) for one in lists]
            numbers = np.flatnonzero(first.is_not_null().to_numpy())
            found = _breakers(*columns, lengths=first.drop_nulls().to_numpy().astype(np.int64))
            wrong[numbers[found]] = True
    return pl.lit(pl.Series(wrong))
