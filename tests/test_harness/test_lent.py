"""What is lent to methods and readers, and what they give back: who changes it fails, and nobody reads it so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_cells import DELICATE, FEW, Cell, counts, reader, rows_of
from toy_world import Boxes

from harness.checks.method_answers import Off
from harness.checks.method_trials import Trial, leaves_no_trace
from harness.checks.method_world import scene
from harness.contracts import MethodError, Recipe, Row
from harness.planning import plan as plans
from harness.protocol.decision import bare, checked_answer
from harness.work.worker import ShardWorker

READS = {  # what a reader does -> what its rows say
    **dict.fromkeys(
        ("data", "swap", "numpy", "memory", "other images", "other object", "other entry", "class"),
        "other numbers in the features that it reads",
    ),
    "passes": "another pass than it was lent",
    **dict.fromkeys(
        ("weights", "all weights", "hook", "training", "forward", "parameter", "number", "bank"),
        "other weights, or other hooks, in networks that others use too",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def alone() -> list[Row]:
    return rows_of(DELICATE)["delicate"]


def test_the_page_has_all_that_readers_spoil() -> None:
    page = (Path(__file__).parents[2] / "docs" / "neighbours.md").read_text(encoding="utf-8")
    assert [words for words in READS.values() if words not in page] == []


@pytest.mark.parametrize("spoils", READS)
def test_a_reader_that_spoils_what_readers_share_fails_and_changes_nobody(spoils: str) -> None:
    honest = Cell(Recipe.of("careless_readers:TensorReader"), "honest")
    spoiler = Cell(Recipe.of("careless_readers:TensorReader", spoils=spoils), "spoiler")
    rows, alone = rows_of(spoiler, honest), rows_of(honest)["honest"]
    assert counts(rows["honest"]) == counts(alone) and {row.status for row in alone} == {"ok"}
    failed = [row for row in rows["spoiler"] if row.status == "failed"]
    assert len(failed) == 6 or (spoils == "other images" and len(failed) >= 2)
    assert all(READS[spoils] in (row.error or "") for row in failed[-2:]), rows["spoiler"][0].error


@pytest.mark.parametrize("spoils", ["numpy", "weights"])
def test_a_stranger_within_one_of_ours_is_looked_at_as_closely(spoils: str) -> None:
    honest = Cell(Recipe.of("careless_readers:TensorReader"), "honest")
    around = Recipe.of("methods.pamr:PAMR", method=f"careless_readers:TensorReader(spoils={spoils})")
    rows = rows_of(Cell(around, "around"), honest)
    assert counts(rows["honest"]) == counts(rows_of(honest)["honest"])
    assert {row.status for row in rows["around"]} == {"failed"}
    assert READS[spoils] in (rows["around"][-1].error or ""), rows["around"][-1].error


def test_a_method_that_changes_its_vocabulary_fails_and_others_are_offered_what_they_were() -> None:
    by_name = Cell(Recipe.of("careless_readers:ByName"), "by name")
    rows = rows_of(Cell(Recipe.of("careless_readers:Renames"), "renames"), by_name)
    assert counts(rows["by name"]) == counts(rows_of(by_name)["by name"])
    assert all("it left another vocabulary than it was lent" in (row.error or "") for row in rows["renames"])


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Recipe.of("careless_readers:Renames"), "another vocabulary"),
        (Recipe.of("careless_readers:TensorReader", spoils="data"), "other numbers in the features"),
        (Recipe.of("careless_readers:TensorReader", spoils="weights"), "other weights"),
        (Recipe.of("careless_readers:TensorReader", spoils="number"), "other weights"),
    ],
)
def test_the_gate_finds_what_was_changed_of_what_is_lent(recipe: Recipe, says: str) -> None:
    benchmark = Boxes(3)
    samples = [(image_id, benchmark.load(image_id).image) for image_id in benchmark.ids()]
    trial = Trial(recipe, *scene(samples, benchmark.classes))
    with pytest.raises(Off, match=f"it left {says}"):
        leaves_no_trace(trial)


def test_a_method_that_writes_to_an_earlier_image_fails_and_changes_nobody(alone: list[Row]) -> None:
    rows = rows_of(Cell(Recipe.of("careless_readers:Keeper"), "keeper"), DELICATE)
    failed = [row.error or "" for row in rows["keeper"] if row.status == "failed"]
    assert len(failed) >= 4 and all("other pixels in the image that it was lent" in error for error in failed)
    assert counts(rows["delicate"]) == counts(alone)


def test_an_image_that_one_turned_over_and_the_next_turned_back_was_seen_as_it_is_by_who_came_between(
    alone: list[Row],
) -> None:
    turn = [Cell(Recipe.of("careless_readers:Mirrors", which=which), f"mirrors {which}") for which in range(2)]
    for cells in ((turn[0], DELICATE, turn[1]), (*turn, DELICATE), (DELICATE, *turn)):
        rows = rows_of(*cells)
        assert counts(rows["delicate"]) == counts(alone)
        assert {row.status for which in range(2) for row in rows[f"mirrors {which}"]} == {"failed"}


def test_images_that_a_reader_turned_over_are_as_they_are_when_the_network_leaves_its_next_pass() -> None:
    honest = Cell(Recipe.of("careless_readers:Sees", timestep=300), "honest")
    turn = [Cell(Recipe.of("careless_readers:Turns", timestep=time), f"turns {time}") for time in (1, 300)]
    rows = rows_of(turn[0], honest, turn[1])
    assert counts(rows["honest"]) == counts(rows_of(honest)["honest"])
    for row in (*rows["turns 1"], *rows["turns 300"]):
        assert row.status == "failed" and "other pixels in the image that it was lent" in (row.error or "")


def test_who_writes_to_images_when_all_have_seen_them_is_found_before_the_rows_are_given_out() -> None:
    honest = Cell(Recipe.of("careless_readers:Sees"), "honest", benchmark=FEW)
    turns = Cell(Recipe.of("careless_readers:Turns"), "turns", benchmark=FEW)
    found: dict[tuple[int, str], list[Any]] = {}
    for cells in ((honest,), (honest, turns)):
        plan = plans.make("toy", list(cells), 4)  # two batches: the second is at work when the first is looked at
        names = {one.run.run_id: one.run.method_name for one in plan.runs}
        shards = [replace(shard, keep=frozenset({"001"})) for shard in plan.shards(99)]
        done = [one for shard in shards for one in ShardWorker(threads=1).run(shard)]
        for row in (row for one in done for row in one.rows):
            found.setdefault((len(cells), names[row.run_id]), []).append(row)
        found[len(cells), "pictures"] = [(one.image, one.truth) for batch in done for one in batch.pictures]
    assert counts(found[2, "honest"]) == counts(found[1, "honest"]) and found[2, "pictures"] == found[1, "pictures"]
    failed = [row.error or "" for row in found[2, "turns"] if row.status == "failed"]
    assert len(failed) == len(found[2, "turns"]) == 6
    assert all("other pixels in the image that it was lent" in error for error in failed)


@pytest.mark.parametrize("part", ["all", "unlock"])
def test_a_reader_that_writes_into_features_fails_and_others_read_them_made_anew(part: str) -> None:
    honest = reader(1)
    scribbler = Cell(Recipe.of("careless_readers:Scribbler", part=part), "scribbler")
    rows = rows_of(scribbler, Cell(honest.method, "honest"))
    assert counts(rows["honest"]) == counts(rows_of(Cell(honest.method, "honest"))["honest"])
    assert {row.status for row in rows["scribbler"]} == {"failed"}
    says = "read-only" if part == "all" else "other numbers in the features that it reads"
    assert all(says in (row.error or "") for row in rows["scribbler"]), rows["scribbler"][0].error


@pytest.mark.parametrize("scores", [torch.ones(2, 4, 6).to_sparse(), torch.ones(2, 4, 6, device="meta")])
def test_scores_without_plain_memory_are_refused_in_our_words(scores: torch.Tensor) -> None:
    with pytest.raises(MethodError, match=r"the method gave a tensor (that is sparse|without memory)"):
        checked_answer(scores, 2, (4, 6))


class Sly:
    """No array; it counts who asks for its shape."""

    asked = 0

    @property
    def ndim(self) -> int:
        Sly.asked += 1
        return 3


class SlyTensor(torch.Tensor):
    """A tensor whose class has code of its own at every look."""

    @classmethod
    def __torch_function__(cls, *given: object, **named: object) -> object:
        Sly.asked += 1
        return super().__torch_function__(*given, **named)


class SlyArray(np.ndarray):
    """An array that says other shapes."""

    @property
    def ndim(self) -> int:  # type: ignore[override]
        Sly.asked += 1
        return 2


def test_no_code_of_an_answers_own_class_runs_once_the_call_is_over() -> None:
    Sly.asked = 0
    numbers = np.random.rand(2, 4, 6).astype(np.float32)
    answers = [bare(torch.from_numpy(numbers).as_subclass(SlyTensor)), bare(numbers.view(SlyArray)), bare(Sly())]
    Sly.asked = 0
    for answer in answers[:2]:
        assert np.array_equal(checked_answer(answer, 2, (4, 6)).numpy(), numbers)
    with pytest.raises(MethodError, match="the method gave a Sly; expected"):
        checked_answer(answers[2], 2, (4, 6))
    assert Sly.asked == 0
