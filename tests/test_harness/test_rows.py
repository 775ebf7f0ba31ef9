"""Rows as columns: read one by one, joined, chosen and sent they are what they were; what would change is refused."""

from __future__ import annotations

import pickle
from dataclasses import astuple, replace

import numpy as np
import pytest

from harness.contracts import BatchDone, Mark, Origin, Row, Rows
from harness.executors.seat import SMALL_BYTES, packed, unpacked


def some(rng: np.random.Generator, count: int) -> list[Row]:
    """Good rows with some overlaps or none, failed ones, rows with files, with and without a digest."""
    made = []
    for number in range(count):
        size = int(rng.integers(0, 4)) if number % 3 else 0
        counts = rng.integers(0, 2**16, size), rng.integers(0, 2**16, size), rng.integers(1, 2**32, size)
        row = Row(f"r{rng.integers(3)}", f"i{number}", "ok", float(rng.random()), None, *counts)
        if number % 5 == 0:
            row = replace(row, status="failed", error=f"broke {number % 2}", true=row.true[:0], predicted=row.true[:0],
                          pixels=row.true[:0])  # fmt: skip
        row = replace(row, sample=f"{number % 4:032x}") if number % 4 else row
        row = replace(row, label_map=b"map", gathered=b"npz") if number % 7 == 0 else row
        made.append(replace(row, boundaries=rng.integers(1, 9, (number % 4, 3))) if number % 6 == 0 else row)
    return made


def told(rows: Rows | list[Row]) -> list[tuple[object, ...]]:
    return [tuple(one.tolist() if isinstance(one, np.ndarray) else one for one in astuple(row)) for row in rows]


def test_columns_hold_what_rows_say(rng: np.random.Generator) -> None:
    rows = some(rng, 23)
    columns = Rows.of(rows)
    assert told(columns) == told(rows) and len(columns) == 23
    assert told([columns[number] for number in range(-23, 0)]) == told(rows)
    assert told(columns[3:17:2]) == told(rows[3:17:2])
    assert columns.keys == [(row.run_id, row.image_id) for row in rows]
    assert told(columns.bare()) == told([replace(row, label_map=None, gathered=None) for row in rows])


def test_parts_join_and_rows_are_chosen_by_number_and_by_mask(rng: np.random.Generator) -> None:
    rows = some(rng, 31)
    parts = [Rows.of(rows[:9]), Rows.of(()), Rows.of(rows[9:10]), Rows.of(rows[10:])]
    whole = Rows.joined(parts)
    assert told(whole) == told(rows) and told(Rows.joined([])) == []
    order = rng.permutation(31)[:12]
    assert told(whole.only(order)) == told([rows[number] for number in order])
    mask = rng.random(31) < 0.5
    assert told(whole.only(mask)) == told([row for row, chosen in zip(rows, mask, strict=True) if chosen])


@pytest.mark.parametrize("count", [0, 5, 9000])
def test_what_travels_arrives_whether_it_is_small_or_large(rng: np.random.Generator, count: int) -> None:
    rows = some(rng, count)
    origins = Origin("ü", "0" * 32, (Mark("b", 1, 2),)), Origin("b", "1" * 32, ())
    done = BatchDone("s", 1, Rows.of(rows), origins=origins, notices=("said",))
    message = packed(done)
    assert (len(pickle.dumps(done, 5)) > SMALL_BYTES) is (count == 9000)
    arrived = unpacked(message)
    assert told(arrived.rows) == told(rows) and arrived.notices == ("said",)
    assert arrived.origins == origins and all(type(one) is Origin for one in arrived.origins)
    again = unpacked(packed(arrived)).done_by(3, "there", None)  # through a process of its own
    assert again.lines == done.origin_lines == tuple([one.line() for one in origins])
    assert (again.worker, again.host, again.following, told(again.rows)) == (3, "there", None, told(rows))


@pytest.mark.parametrize(
    "row",
    [
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([1, 2]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([[1]]), np.array([[1]]), np.array([[3]])),
        Row("a", "0", "ok", 1.0, None, np.array([2**16]), np.array([1]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([-1]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([1]), np.array([2**32])),
        Row("a", "0", "perhaps", 1.0),
    ],
)
def test_what_columns_would_change_is_refused(row: Row) -> None:
    good = Row("a", "1", "ok", 1.0, None, np.array([1, 2]), np.array([1, 2]), np.array([3, 4]))
    with pytest.raises(ValueError, match="the row of run a, image 0"):
        Rows.of([good, row, good])
