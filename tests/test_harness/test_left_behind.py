"""Learners that leave odd files, or say odd things: each is a fit that failed, with its sentence, or does no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import door
from toy_chain import cards

from harness.contracts import ModelError
from harness.learning import left_behind
from results import verify

GRID = """
name: untidy
methods:
  - {{name: Bright, use: toy_learners:Brightest}}
  - {{name: "{name}", use: toy_learners:Untidy, with: {{teacher: Bright, word: {word}}}}}
benchmarks:
  - {{name: Boxes, use: toy_learners:SplitBoxes, with: {{images: 3}}, train: {{split: train, images: 3}}}}
batch: 3
"""


def grid(folder: Path, word: str, name: str = "Odd") -> None:
    (folder / "grid.yaml").write_text(GRID.format(word=word, name=name))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [("nan", "what it returns cannot stand on a card (loss is nan)"),
     ("list", "what it returns cannot stand on a card ("),
     ("card", "it wrote card.json, which only a sweep may write"),
     ("half", "it left colours.tmp: what ends in .tmp counts as half written"),
     ("link", "it left the link sub, behind which anything may change"),
     ("nothing", "all that it left is unfinished/sums.json, and unfinished/ is thrown away once it has learned")],
)  # fmt: skip
def test_what_no_card_can_answer_for_is_a_fit_that_failed(word: str, sentence: str, tmp_path: Path) -> None:
    grid(tmp_path, word)
    for _ in range(2):  # the next sweep finds nothing that makes it whole
        answer = door("grid.yaml", cwd=tmp_path)
        assert answer.returncode == 3 and "Odd cannot be fitted" in answer.stderr and sentence in answer.stderr
        assert "Bright" in answer.stdout and not cards(tmp_path)


def test_a_try_begins_with_its_checkpoints_alone(tmp_path: Path) -> None:
    grid(tmp_path, "raises once")
    for _ in range(2):
        answer = door("grid.yaml", cwd=tmp_path)
        assert answer.returncode == 3 and "not at the first try" in answer.stderr


def test_odd_lines_of_a_curve_and_odd_names_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(tmp_path, "curve", "Odd [/x] [red]")
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    told = answer.stdout + answer.stderr
    assert "fit Odd [/x] [red] from 3 label maps of Bright" in told and "done in" in told and "loss 0.500" in told
    (card,) = cards(tmp_path).values()
    assert card["learner_tells"]["found"] is False and json.dumps(card)
    assert verify.main([str(tmp_path / "runs")]) == 0, capsys.readouterr().out


def test_what_stands_on_the_card_may_be_all_that_was_learned(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "sums.json").write_text("[]")
    left_behind.check(tmp_path, False, {"first": 1})
    with pytest.raises(ModelError, match=r"all that it left is unfinished/sums\.json"):
        left_behind.check(tmp_path, False, {})
