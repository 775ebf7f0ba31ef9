"""Readers that are asked for a whole batch at once: the same rows as one by one, and every failure an image's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import toy_batches
import toy_world
from toy_cells import Cell, reader

from harness.contracts import ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.work.batch_reading import in_batches
from harness.work.worker import ShardWorker
from methods.cliper import CLIPer
from methods.stableseg import StableSeg

COUNTS = toy_world.COUNTS
BATCHES = [4, 4, 2]  # of ten images


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    COUNTS.clear()
    yield


def rows_of(*cells: Cell) -> dict[str, dict[str, Row]]:
    """By variant and image."""
    shards = plans.make("toy", list(cells), 4).shards(99)
    names = {run.run_id: run.variant for shard in shards for run in shard.runs}
    found: dict[str, dict[str, Row]] = {name: {} for name in names.values()}
    for shard in shards:
        for done in ShardWorker().run(shard):
            for row in done.rows:
                found[names[row.run_id]][row.image_id] = row
    return found


def at_once(mood: str = "", kind: str = "AtOnce", protocol: ProtocolSettings | None = None) -> Cell:
    return Cell(Recipe.of(f"toy_batches:{kind}", mood=mood), "batch", "batch", protocol=protocol or ProtocolSettings())


def counted(rows: dict[str, Row]) -> dict[str, tuple[list[int], ...]]:
    return {
        image_id: (row.true.tolist(), row.predicted.tolist(), row.pixels.tolist())
        for image_id, row in rows.items()
        if row.status == "ok"
    }


def test_where_memory_runs_out_while_a_batch_is_read_the_rows_of_those_it_is_too_little_for_name_the_batch() -> None:
    rows = rows_of(at_once("large"), Cell(reader(1).method, variant="plain"))
    lost = {image_id: row.error for image_id, row in rows["batch"].items() if row.status == "failed"}
    said = "memory ran out on a batch of 4 (MemoryError); write `batch: 2` into the grid"
    assert lost == dict.fromkeys(("002", "005", "008"), said)
    assert counted(rows["batch"]).items() <= counted(rows["plain"]).items() and len(rows["batch"]) == 10


@pytest.mark.parametrize("protocol", [ProtocolSettings(), ProtocolSettings(window=8, stride=5)])
def test_a_batch_is_read_in_one_call_and_counts_as_one_by_one(protocol: ProtocolSettings) -> None:
    plain = Cell(reader(1).method, variant="plain", protocol=protocol)
    rows = rows_of(plain, at_once(protocol=protocol))
    assert counted(rows["plain"]) == counted(rows["batch"]) and len(rows["batch"]) == 10
    assert COUNTS["read alone"] == 0
    if not protocol.window:
        assert [COUNTS[f"read {size} at once"] for size in (4, 2)] == [2, 1]


@pytest.mark.parametrize(("mood", "failed"), [("one", {"002", "005", "008"}), ("all", set())])
def test_where_a_batch_cannot_be_read_each_image_is_asked_for_alone(mood: str, failed: set[str]) -> None:
    rows = rows_of(Cell(reader(1).method, variant="plain"), at_once(mood))
    ok = counted(rows["batch"])
    assert rows["batch"].keys() - ok.keys() == failed
    assert ok.items() <= counted(rows["plain"]).items()
    assert all(str(rows["batch"][one].error).startswith("RuntimeError: too many (toy_batches.py, ") for one in failed)


def test_who_writes_into_a_batch_fails_and_spoils_nobody_else() -> None:
    rows = rows_of(at_once("scribbles"), Cell(reader(1).method, variant="plain"))
    alone = rows_of(Cell(reader(1).method, variant="plain"))
    assert counted(rows["plain"]) == counted(alone["plain"]) and len(counted(rows["plain"])) == 10
    assert not counted(rows["batch"])
    assert all("other numbers in the features" in str(row.error) for row in rows["batch"].values())


def test_what_a_batch_form_gives_in_another_form_is_said_in_one_sentence() -> None:
    """A list is refused even where its order happens to be that of the places."""
    listed = "its `read_batch` gave a list; it has to give a mapping from every place asked to scores"
    assert {row.error for row in rows_of(at_once("list"))["batch"].values()} == {listed}
    lacking = {row.error for row in rows_of(at_once("lacks"))["batch"].values()}
    assert lacking == {"its `read_batch` gave no scores for 1 of the 1 places that it was asked about"}


def test_a_read_written_further_down_is_not_passed_by() -> None:
    rows_of(at_once(kind="Inherits"))
    assert COUNTS["read by its own"] == 10 and not any("at once" in name for name in COUNTS)
    assert in_batches(StableSeg("shapes")) and in_batches(toy_batches.AtOnce())
    assert not in_batches(CLIPer("shapes")) and not in_batches(toy_world.ToyReader())
    stranger = type("Mine", (StableSeg,), {"__module__": "elsewhere.mine"})
    assert not in_batches(stranger("shapes"))


def together(mood: str = "", protocol: ProtocolSettings | None = None) -> Cell:
    return at_once(mood, "Together", protocol)


@pytest.mark.parametrize("protocol", [ProtocolSettings(), ProtocolSettings(window=8, stride=5)])
def test_a_method_with_a_batch_form_is_asked_once_a_batch_in_one_shape(protocol: ProtocolSettings) -> None:
    """Ten images in batches of four: the last is filled up."""
    plain = Cell(Recipe.of("toy_batches:Apart"), variant="plain", protocol=protocol)
    rows = rows_of(plain, together(protocol=protocol))
    assert counted(rows["plain"]) == counted(rows["batch"]) and len(counted(rows["batch"])) == 10
    if not protocol.window:
        assert [COUNTS[f"{size} of 4 at once"] for size in (4, 2)] == [2, 1] and COUNTS["segmented alone"] == 10


@pytest.mark.parametrize(("mood", "failed"), [("one", {"002", "005", "008"}), ("all", set())])
def test_where_a_batch_cannot_be_segmented_each_image_is_asked_for_alone_in_the_same_shape(
    mood: str, failed: set[str]
) -> None:
    rows = rows_of(Cell(Recipe.of("toy_batches:Apart"), variant="plain"), together(mood))
    ok = counted(rows["batch"])
    assert rows["batch"].keys() - ok.keys() == failed and ok.items() <= counted(rows["plain"]).items()
    assert all(str(rows["batch"][one].error).startswith("RuntimeError: too many (toy_batches.py, ") for one in failed)
    assert COUNTS["1 of 4 at once"] == 10


def test_answers_that_are_missing_and_writing_into_an_image_are_failed_rows() -> None:
    short = rows_of(together("short"))["batch"]
    assert {row.error for row in short.values()} == {"its `segment_batch` gave 3 answers for 4 images"}
    for mood, kind in (("dict", "dict"), ("none", "NoneType")):
        wrong = f"its `segment_batch` gave a {kind}; it has to give a list of 4 answers, one an image"
        assert {row.error for row in rows_of(together(mood))["batch"].values()} == {wrong}
    large = {row.error for row in rows_of(together("large"))["batch"].values()}
    assert large == {"memory ran out on a batch of 4 (MemoryError); write `batch: 2` into the grid"}
    for row in rows_of(together("scribbles"))["batch"].values():
        assert row.status == "failed" and row.error


def test_the_batch_is_in_the_id_of_what_is_asked_in_batches() -> None:
    def ids(use: str) -> set[str]:
        cell = Cell(Recipe.of(use), "m")
        return {plans.make("toy", [cell], batch).runs[0].run.run_id for batch in (2, 4)}

    assert len(ids("toy_batches:Together")) == 2 and len(ids("toy_batches:Apart")) == 1
