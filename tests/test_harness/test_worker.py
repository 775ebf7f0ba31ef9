"""The worker over the toy world: rows, sharing, and every failure a row."""

import gc
import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import toy_world
from toy_cells import FLAT, NINE, Cell, reader

from harness.contracts import Batch, ProtocolSettings, Query, Recipe, Row
from harness.planning import plan as plans
from harness.work.slots import read_places
from harness.work.worker import ShardWorker


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    toy_world.COUNTS.clear()
    yield


def rows_of(cells: list[Cell], size: int = 99, batch: int = 4) -> dict[tuple[str, str], Row]:
    plan = plans.make("toy", cells, batch)
    worker = ShardWorker()
    found = [row for shard in plan.shards(size) for done in worker.run(shard) for row in done.rows]
    keyed = {(row.run_id, row.image_id): row for row in found}
    assert len(keyed) == len(found) == plan.images_missing
    return keyed


def counts(row: Row) -> list[tuple[int, int, int]]:
    return list(zip(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist(), strict=True))


def test_a_reader_that_sees_colours_is_right_everywhere_and_background_is_not_counted() -> None:
    rows = rows_of([reader(1)])
    for (_, image_id), row in rows.items():
        truth = toy_world.Boxes().load(image_id).truth
        assert row.status == "ok" and row.seconds > 0
        expected = [(k, k, int((truth == k).sum())) for k in (1, 2, 3) if (truth == k).any()]
        assert counts(row) == expected


def test_every_distinct_pass_is_computed_once_for_all_readers() -> None:
    rows_of(NINE)
    assert toy_world.COUNTS["encodings"] == 12 and toy_world.COUNTS["rows"] == 36, "10 images and 2 fillers"
    assert toy_world.COUNTS["shape 4"] == toy_world.COUNTS["calls"] == 3


def test_parts_of_one_pass_are_joined() -> None:
    rows_of([reader(1, part="maps"), reader(1, part="keys", refine="sar")])
    assert toy_world.COUNTS["parts ['keys', 'maps']"] == 3 == toy_world.COUNTS["rows"] / 4


def test_counts_alone_in_company_and_in_any_shards_are_equal() -> None:
    alone = rows_of([reader(100)])
    company = rows_of([FLAT, *NINE], size=1)
    for key, row in alone.items():
        assert counts(row) == counts(company[key])


def test_an_unreadable_image_is_one_failed_row_a_run() -> None:
    cell = Cell(reader(1).method, benchmark=Recipe.of("toy_world:Boxes", images=6, broken=("002",)))
    rows = rows_of([cell, Cell(FLAT.method, benchmark=cell.benchmark)])
    failed = [row for row in rows.values() if row.status == "failed"]
    assert len(failed) == 2 and {row.image_id for row in failed} == {"002"}
    assert str(failed[0].error).startswith("ValueError: 002 is broken (toy_world.py, line ")
    assert len(failed[0].pixels) == 0


def test_a_backbone_that_fails_on_one_image_costs_that_image_only() -> None:
    rows = rows_of([reader(1, fails_on="005"), reader(2, fails_on="005"), FLAT])
    failed = [row for row in rows.values() if row.status == "failed"]
    assert {row.image_id for row in failed} == {"005"} and len(failed) == 2
    assert str(failed[0].error).startswith("RuntimeError: cannot see 005 (toy_world.py, line ")


@pytest.mark.parametrize("mood", ["raise", "shape", "float", "range", "none", "nan", "classes"])
def test_a_method_that_misbehaves_leaves_failed_rows_where_it_did(mood: str) -> None:
    cell = Cell(Recipe.of("toy_world:Moody", mood=mood))
    rows = rows_of([cell, reader(1)])
    failed = {row.image_id for row in rows.values() if row.status == "failed"}
    assert failed == {"001", "004", "007"}


def test_an_image_without_scored_classes_is_an_ok_row_without_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    load = toy_world.Boxes.load

    def empty(self: toy_world.Boxes, image_id: str) -> object:
        sample = load(self, image_id)
        sample.truth[:] = np.where(sample.truth == 255, 255, 0) if image_id == "001" else sample.truth
        return sample

    monkeypatch.setattr(toy_world.Boxes, "load", empty)
    rows = rows_of([reader(1), FLAT])
    blank = [row for row in rows.values() if row.image_id == "001"]
    assert [row.status for row in blank] == ["ok", "ok"] and all(len(row.pixels) == 0 for row in blank)


def test_rows_keep_the_digest_of_the_image_and_truth_that_they_were_computed_from() -> None:
    rows = rows_of([FLAT, Cell(Recipe.of("toy_world:Moody"))])
    for (_, image_id), row in rows.items():
        sample = toy_world.Boxes().load(image_id)
        told = b"".join(f"|u1{a.shape}".encode() + a.tobytes() for a in (sample.image, sample.truth))
        assert row.sample == hashlib.blake2b(told, digest_size=16).hexdigest(), "of failed rows too"
    assert len({row.sample for row in rows.values()}) == 10


def test_classes_in_another_order_than_planned_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plans.make("toy", [reader(1), FLAT], 4)
    turned = toy_world.Boxes().classes[::-1]
    monkeypatch.setattr(toy_world.Boxes, "classes", property(lambda _: turned))  # as another process reads a set
    done = [one for shard in plan.shards() for one in ShardWorker().run(shard)]
    rows = [row for one in done for row in one.rows]
    assert len(rows) == plan.images_missing and {row.status for row in rows} == {"failed"}
    assert all("classes, or their order, are other ones in this process" in str(row.error) for row in rows)
    (notice,) = {notice for one in done for notice in one.notices}
    assert "in a fixed order (a set has none)" in notice


def test_who_looks_at_all_objects_does_not_break_the_reading_of_images() -> None:
    def load(image_id: str, _: object) -> object:
        kept.append(gc.get_objects())  # a tuple that grows while others hold it cannot grow
        raise OSError(image_id)

    kept: list[list[object]] = []
    places = read_places([((("a",),), ProtocolSettings())], load, Batch(0, ("x", "y")))  # type: ignore[arg-type]
    kept.clear()
    assert [str(slot.error).partition(" (")[0] for (slot,) in places] == ["OSError: x", "OSError: y"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")])
def test_where_memory_runs_out_the_rows_name_the_batch_to_write_and_nothing_is_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def run(self: object, queries: list[Query], requests: object) -> Iterator[object]:
        asked.append(len(queries))
        raise error
        yield

    monkeypatch.setattr(toy_world.ToyBackbone, "run", run)
    rows = rows_of([reader(1)])
    assert asked == [4, 4, 4]
    assert {row.status for row in rows.values()} == {"failed"}
    said = f"memory ran out on a batch of 4 ({type(error).__name__}); write `batch: 2` into the grid"
    assert {row.error for row in rows.values()} == {said}
