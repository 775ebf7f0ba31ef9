"""The chain of learners on Shapes with the shipped models, shortened, on Ray: labels, layer weights, a student."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import door

WEIGHTS = """
  - {name: StableSeg, use: "methods.stableseg:StableSeg", with: {model: shapes, refine: none}}
  - name: Weights
    use: methods.learned_stableseg:LearnedStableSeg
    with: {teacher: StableSeg, model: shapes, refine: none, loss: least_squares, per: [layer, head], label_low: 0.5}
"""
STUDENT = """
  - name: Student
    use: methods.student:ShapesStudent
    with: {teacher: Weights per=layer, steps: 6, batch: 4, group: 2, decoder: 16, validate_every: 3, held_out: 0.2}
"""
REST = """
benchmarks:
  - {name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 2}, train: {split: train, images: 6}}
batch: 2
"""


def sweep(folder: Path, methods: str, *more: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "grid.yaml").write_text(f"name: chain\nmethods:{methods}{REST}")
    answer = door("grid.yaml", *more, cwd=folder)
    assert answer.returncode == 0, answer


def cards(folder: Path) -> dict[str, dict[str, Any]]:
    found = [(path, json.loads(path.read_text())) for path in (folder / "runs" / "artefacts").glob("*/card.json")]
    return {f"{card['method_name']} {card['variant']}".strip(): card | {"folder": path.parent} for path, card in found}


def board(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "runs" / "leaderboard.csv").open(newline="") as file:
        return {f"{row['method']} {row['variant']}".strip(): row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_the_chain_on_ray_with_two_workers_learns_what_one_process_learns(tmp_path: Path, ray_address: str) -> None:
    sweep(tmp_path / "ray", WEIGHTS + STUDENT, "--address", ray_address, "--workers", "2")
    sweep(tmp_path / "here", WEIGHTS)
    together, alone = cards(tmp_path / "ray"), cards(tmp_path / "here")
    for variant, count in (("per=layer", 10), ("per=head", 20)):
        one, other = (held[f"Weights {variant}"] for held in (together, alone))
        assert one["artefact_id"] == other["artefact_id"]
        weights = np.array(one["learner_tells"]["weights"])
        assert len(weights) == count and np.ptp(weights) > 0.01
        assert np.abs(weights - other["learner_tells"]["weights"]).max() < 1e-8
        assert one["learner_tells"]["residual"] < one["learner_tells"]["residual_of_mean"]
    student = together["Student"]
    assert student["teacher"] == "Weights per=layer" and student["learner_tells"]["workers"] == 2
    steps = [json.loads(line) for line in (student["folder"] / "curve.jsonl").read_text().splitlines()]
    assert {line["step"] for line in steps} == {1, 2, 3, 4, 5, 6}
    assert all(line["rate"] <= 1 and line["loss"] > 0 for line in steps if "loss" in line)
    assert [line["step"] for line in steps if "validation_miou" in line] == [3, 6]
    rows, same = board(tmp_path / "ray"), board(tmp_path / "here")
    for column in ("run_id", "miou", "image_miou", "pixel_accuracy"):
        assert rows["StableSeg"][column] == same["StableSeg"][column]
    assert len(rows) == 4 and {(row["images"], row["failed"]) for row in rows.values()} == {("2", "0")}
