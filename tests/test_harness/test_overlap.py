"""What is learned from and what is scored, compared by the pixels of the images, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_chain import CHAIN, cards, door, events

from harness.grid import reading as grids
from harness.planning import plan as plans
from harness.recipes.origins import sample_digest
from results.folder import origins

FIRST = CHAIN.split("  - {name: Gains")[0]
SPLITS = """benchmarks:
  - {{name: Boxes, use: toy_learners:OtherTruth, with: {{images: 6}}, train: {{split: copy, images: {images}}}{more}}}
batch: 3
"""


def grid(folder: Path, images: int = 7, more: str = "") -> None:
    (folder / "grid.yaml").write_text(FIRST + SPLITS.format(images=images, more=more))


def said(folder: Path) -> str:
    return (folder / "stdout").read_text() + (folder / "stderr").read_text()


def test_renamed_images_are_refused_before_the_fit_and_then_at_the_plan(tmp_path: Path) -> None:
    """Their truth is another one, so only the image tells."""
    grid(tmp_path)
    assert door(tmp_path, "--plan") == 0  # nothing is remembered yet
    assert door(tmp_path) == 3 and not cards(tmp_path) and not events(tmp_path, "fit")
    told = (
        "on Boxes, 6 of the 6 scored images are among the 7 train images ('val-000' is 'copy-000' there, 'val-001' is "
        "'copy-001' there, 'val-002' is 'copy-002' there, ...); `train:` should name a split without the scored images"
    )
    assert f"Plus cannot be fitted, and what needs it is left out: {told}" in said(tmp_path)
    assert door(tmp_path, "--plan") == 2
    assert told.replace("on Boxes, ", "Plus on Boxes: ") in said(tmp_path)


def test_a_share_of_them_can_be_allowed_and_is_named_and_counted(tmp_path: Path) -> None:
    grid(tmp_path, images=2, more=", train_overlap: 0.34")
    told = "Plus on Boxes: 2 of the 6 scored images are among the 2 train images"
    assert door(tmp_path) == 0
    assert f"{told} ('val-000' is 'copy-000' there, 'val-001' is 'copy-001' there)." in said(tmp_path)
    grid(tmp_path, images=2, more=", train_overlap: 0.33")
    assert door(tmp_path) == 2 and told in said(tmp_path) and "may be there, now 0.33" in said(tmp_path)


def test_what_was_learned_is_not_scored_on_its_own_lessons_either(tmp_path: Path) -> None:
    """The artefact is there, and the benchmark that holds its lessons comes later."""
    with_train = FIRST + SPLITS.format(images=7, more="").replace("images: 6}", "images: 6, split: train}")
    (tmp_path / "grid.yaml").write_text(with_train)
    assert door(tmp_path) == 0 and len(cards(tmp_path)) == 1
    grid(tmp_path)
    assert door(tmp_path) == 3 and "6 of the 6 scored images are among the 7 train images" in said(tmp_path)


def test_two_drawings_of_one_data_set_may_share_their_names(tmp_path: Path) -> None:
    """Refused once, since their ids are the same."""
    place = 'benchmarks:\n  - {name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 9}, train: {seed: SEED}}\n'
    drawings = FIRST + place
    (tmp_path / "grid.yaml").write_text(drawings.replace("SEED", "5"))
    (run, *_) = [one for one in plans.make("x", grids.read_grid(tmp_path / "grid.yaml").cells, 3).runs if one.fit]
    assert run.fit is not None and set(run.image_ids) & set(run.fit.image_ids)


def test_origins_of_before_say_nothing_of_the_image_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid(tmp_path, more=", train_overlap: 1")
    assert door(tmp_path) == 0
    kept = [one for one in origins.said(tmp_path / "runs") if one.image_id == "val-000"]
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins"))
    from toy_learners import OtherTruth

    sample, other = OtherTruth("val").load("val-000"), OtherTruth("copy").load("copy-000")
    assert np.array_equal(sample.image, other.image) and sample_digest(sample) != sample_digest(other)
    assert {one.sample for one in kept} == {sample_digest(sample)} and all(one.image for one in kept)
    for path in (tmp_path / "runs" / "origins").iterdir():
        lines = [line for line in path.read_text().splitlines() if line]
        path.write_text("\n".join(line.rpartition(", ")[0] + "]" for line in lines))
    assert all(not one.image for one in origins.said(tmp_path / "runs"))
    grid(tmp_path)
    assert door(tmp_path, "--plan") == 0  # nobody knows
