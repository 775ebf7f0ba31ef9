"""The page on benchmarks, run as a reader would run it: its class passes the gate, its grid is swept."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from in_process import call, door
from PIL import Image

from harness.checks.__main__ import main

PAGE = (Path(__file__).parents[2] / "docs" / "data" / "add_a_benchmark.md").read_text("utf-8")


def snippet(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[0]


@pytest.fixture
def mine(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with the page's class and grid, and four images of two sizes."""
    (tmp_path / "my_garden.py").write_text(snippet("python"))
    (tmp_path / "grid.yaml").write_text(snippet("yaml"))
    for number in range(4):
        for kind, shape, most in (("images", (9, 7 + number % 2, 3), 256), ("masks", (9, 7 + number % 2), 4)):
            path = tmp_path / "data" / kind / "val" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, most, shape).astype(np.uint8)).save(path)
    return tmp_path


def test_the_example_passes_the_gate(mine: Path) -> None:
    answer = call(main, "benchmark", "my_garden:Garden", "--with", "root=data", cwd=mine, path=mine)
    assert answer.returncode == 0 and "Nothing is off" in answer.stdout and "note" not in answer.stdout, answer


def test_the_example_is_swept_and_a_missing_mask_is_a_failed_row(mine: Path) -> None:
    answer = door("grid.yaml", cwd=mine)
    assert answer.returncode == 0, answer.stderr
    (mine / "data" / "masks" / "val" / "2.png").unlink()
    answer = door("grid.yaml", cwd=mine)
    assert answer.returncode == 3 and f"2 x {mine}/data/masks/val/2.png is missing" in answer.stderr, answer
    lines = csv.DictReader((mine / "runs" / "leaderboard.csv").open())
    assert [(line["images"], line["failed"]) for line in lines] == [("3", "1"), ("3", "1")]
