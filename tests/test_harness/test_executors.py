"""The seam, and the executor in this process: batches in order, and a worker that breaks leaves failed rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.contracts import BatchDone, Recipe, Row
from harness.errors import AddressError
from harness.executors.seam import LocalExecutor

PLUGINS = str(Path(__file__).parents[1] / "plugins")


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def rows_of(results: Iterator[BatchDone]) -> list[Row]:
    return [row for done in results for row in done.rows]


def test_batches_come_in_order_and_a_filler_leaves_no_row() -> None:
    from toy_workers import row_of, shard_of

    shards = [shard_of("s", ["a", "b"], [["i0", "i1"], ["i2", None]]), shard_of("t", ["a"], [["i3", "i4"]])]
    with LocalExecutor(Recipe.of("toy_workers:Mild")) as executor:
        done = list(executor.run(shards))
    assert [(one.shard_id, one.index) for one in done] == [("s", 0), ("s", 1), ("t", 0)]
    keys = [(row.run_id, row.image_id) for row in done[1].rows]
    assert keys == [("a", "i2"), ("b", "i2")]
    for row in done[1].rows:
        assert np.array_equal(row.pixels, row_of(row.run_id, row.image_id, shape=2).pixels)


def test_an_exception_becomes_failed_rows_of_that_batch_only() -> None:
    from toy_workers import shard_of

    shard = shard_of("s", ["a", "b"], [["i0", "i1"], ["i2raises", "i3"], ["i4", "i5"], ["i6raises", None]])
    rows = rows_of(LocalExecutor(Recipe.of("toy_workers:Harmful")).run([shard]))
    assert len(rows) == 14
    failed = {(row.run_id, row.image_id) for row in rows if row.status == "failed"}
    assert failed == {(run, image) for run in "ab" for image in ("i2raises", "i3", "i6raises")}
    (error,) = {row.error or "" for row in rows if row.image_id == "i3"}
    assert error.startswith("The worker broke on this batch: RuntimeError: cannot see i2raises (toy_workers.py, ")


def test_rows_left_out_are_failed_rows_that_say_so() -> None:
    from toy_workers import shard_of

    shard = shard_of("s", ["a"], [["i0", "i1"], ["i2", "i3"], ["i4", "i5"]])
    rows = rows_of(LocalExecutor(Recipe.of("toy_workers:Forgetful")).run([shard]))
    assert [row.status for row in rows] == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert "batch 1 of shard s should give 2 rows, one a run and image; the worker gave 1 rows" in (rows[2].error or "")


def test_the_worker_is_opened_with_the_first_shard_and_kept() -> None:
    from toy_workers import shard_of

    shards = [shard_of(name, ["a"], [[f"{name}0"]]) for name in ("s", "t")]
    executor = LocalExecutor(Recipe.of("toy_workers:Counting"))
    rows = rows_of(executor.run(shards)) + rows_of(executor.run(shards[:1]))
    assert [int(row.pixels[0]) for row in rows] == [1, 2, 3]


def test_a_wrong_address_is_said_before_any_work() -> None:
    from toy_workers import shard_of

    with pytest.raises(AddressError, match="Milk"):
        next(LocalExecutor(Recipe.of("toy_workers:Milk")).run([shard_of("s", ["a"], [["i"]])]))


def test_what_fails_for_a_reason_of_the_machine_is_tried_once_more_by_a_fresh_worker(tmp_path: Path) -> None:
    """And nothing else is: the rest of its batch was done, and the shape of the batch stays."""
    from toy_workers import row_of, shard_of

    shards = [
        shard_of("s", ["a", "b"], [["i0", "later1", "never2"], ["i3", "i4", "i5"]]),
        shard_of("t", ["a"], [["later6", "i7raises"]]),
    ]
    place = tmp_path / "opened"
    rows = rows_of(LocalExecutor(Recipe.of("toy_workers:Shortly", place=str(place))).run(shards))
    assert place.read_text().count("opened") == 2, "all that is tried again shares one fresh worker"
    assert sorted((row.run_id, row.image_id) for row in rows) == sorted(
        (run.run_id, image) for shard in shards for run in shard.runs for b in shard.batches for image in b.image_ids
    )
    assert [(row.run_id, row.image_id) for row in rows if row.status == "failed"] == [("a", "never2"), ("b", "never2")]
    assert [row.image_id for row in rows[-4:]] == ["later1", "never2", "never2", "later6"]
    (again,) = [row for row in rows if row.image_id == "later1" and row.run_id == "a"]
    assert np.array_equal(again.pixels, row_of("a", "later1", shape=3).pixels)


def test_where_an_end_is_asked_for_nothing_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_workers import shard_of

    place = tmp_path / "opened"
    executor = LocalExecutor(Recipe.of("toy_workers:Shortly", place=str(place)))
    results = executor.run([shard_of("s", ["a"], [["later0", "i1"], ["i2"]])])
    assert [row.image_id for row in next(results).rows] == ["i1"]
    monkeypatch.setattr("harness.foreign.interrupts.closing", lambda: True)
    assert rows_of(results) == [] and place.read_text() == "opened\n"
