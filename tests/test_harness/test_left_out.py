"""Train images on which a teacher fails: refused, or left out up to a share and marked, until they succeed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from toy_chain import CHAIN, cards, door, events, tables

from harness.contracts.facts import id_of_fit
from results import verify
from results.folder.store import Store
from results.tables import matrices
from results.tables.evidence import gather

GRID = (
    CHAIN.split("methods:")[0]
    + """methods:
  - {name: Bright, use: toy_learners:Shy}
  - {name: Plus, use: toy_learners:Bold, with: {teacher: Bright, teacher_may_fail: 0.3}}
  - {name: Gains, use: toy_learners:Gains, with: {teacher: Plus}}
benchmarks:"""
    + CHAIN.split("benchmarks:")[1]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def board(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "runs" / "leaderboard.csv").open(newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def said(folder: Path) -> str:
    return (folder / "stdout").read_text() + (folder / "stderr").read_text()


def test_images_left_out_are_in_the_artefacts_id_and_mark_every_table(folder: Path) -> None:
    (folder / "shy").write_text("002 005")  # 2 of 7 are 0.29
    assert door(folder) == 0
    assert "Plus leaves out 2 of 7 train images, on which Bright failed" in said(folder)
    plus, gains = cards(folder)["Plus"], cards(folder)["Gains"]
    assert plus["left_out"] == ["train-002", "train-005"] and plus["image_count"] == 5
    assert plus["artefact_id"] == id_of_fit(plus) != id_of_fit({**plus, "left_out": []})
    assert "left_out" not in gains and gains["image_count"] == 7  # its own teacher saw all
    words = "image-level labels, without 2 of 7 train images"
    lines = board(folder)
    assert {name: line["supervision"] for name, line in lines.items()} == {"Bright": "", "Plus": words, "Gains": words}
    assert f"Plus, Gains: {words}." in said(folder) or f"Gains, Plus: {words}." in said(folder)
    evidence = gather(Store(folder / "runs"))
    (matrix,) = [matrices.build_matrix(evidence, spec) for spec in matrices.declared(Store(folder / "runs"))]
    assert [matrix.cell(f"{name}", "Boxes").remark for name in ("Bright", "Plus", "Gains")] == ["", words, words]
    assert verify.main([str(folder / "runs")]) == 0


def test_who_learns_from_a_learner_that_waits_waits_too(folder: Path) -> None:
    """Nobody fails: once Plus goes without two images, Gains and Third learn from it, of all and of five."""
    third = "  - {name: Third, use: toy_learners:Bold, with: {teacher: Plus, teacher_may_fail: 0.3, low: 0.1}}\n"
    (folder / "grid.yaml").write_text(GRID.replace("benchmarks:", f"{third}benchmarks:"))
    (folder / "shy").write_text("002 005")
    assert door(folder) == 0 and "cannot be fitted" not in said(folder) and not events(folder, "fit failed")
    assert [event["images"] for event in events(folder, "left out")] == [2]
    assert {name: card["image_count"] for name, card in cards(folder).items()} == {"Plus": 5, "Gains": 7, "Third": 7}


def test_once_they_succeed_fit_and_scores_are_missing(folder: Path) -> None:
    (folder / "shy").write_text("002 005")
    assert door(folder) == 0
    without = cards(folder)["Plus"]["artefact_id"]
    before = len(events(folder, "fit"))
    assert door(folder) == 0 and len(events(folder, "fit")) == before  # tried again, in vain: nothing else is done
    (folder / "shy").unlink()
    assert door(folder) == 0
    held = [event["artefact"] for event in events(folder, "fit")[before:]]
    assert len(held) == 2 and without not in held  # Plus and Gains are learned anew, from all
    assert {line["supervision"] for line in board(folder).values()} == {"", "image-level labels"}
    fresh = folder / "fresh"
    fresh.mkdir()
    (fresh / "grid.yaml").write_text(GRID)
    assert door(fresh) == 0 and tables(fresh) == tables(folder)


@pytest.mark.parametrize("share", ["0.28", "0"])
def test_more_than_the_share_is_refused(folder: Path, share: str) -> None:
    (folder / "grid.yaml").write_text(GRID.replace("teacher_may_fail: 0.3", f"teacher_may_fail: {share}"))
    (folder / "shy").write_text("002 005")
    assert door(folder) == 3
    assert "Plus cannot be fitted, and what needs it is left out: 2 results on the train images failed" in said(folder)
    assert "ValueError: too shy" in said(folder)
    assert ("teacher_may_fail: 0.28 allows 1 of 7" in said(folder)) == (share == "0.28")
    assert "Gains cannot be fitted, and what needs it is left out: its teacher Plus is not fitted" in said(folder)
    assert [event["error"] for event in events(folder, "fit failed")][1:] == ["its teacher Plus is not fitted"]


def test_the_share_is_in_no_id(folder: Path) -> None:
    assert door(folder) == 0
    (folder / "grid.yaml").write_text(GRID.replace("teacher_may_fail: 0.3", "teacher_may_fail: 0.1"))
    before = len(events(folder, "batch"))
    assert door(folder) == 0 and len(events(folder, "batch")) == before
    (folder / "grid.yaml").write_text(GRID.replace("teacher_may_fail: 0.3", "teacher_may_fail: 1.0"))
    assert door(folder) == 2 and "Plus: teacher_may_fail is a share from 0 to below 1, not 1.0" in said(folder)
