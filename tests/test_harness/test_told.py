"""What a benchmark tells of itself beyond its images: its official number of them, and which belong together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from in_process import door
from toy_videos import Videos

from results.folder.store import Store
from results.tables import leaderboard

GRID = """
name: videos
methods: [{name: One, use: 'methods.controls:OneClass', with: {position: [0, 1]}}]
benchmarks: [{name: Videos, use: 'toy_videos:Videos'}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def test_frames_of_a_video_are_drawn_together_and_a_part_of_the_data_is_marked(folder: Path) -> None:
    answer = door("grid.yaml", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    assert "Videos (60 of the 1449 official images)" in answer.stdout
    store = Store.open(folder / "runs", create=False)
    (standings,) = leaderboard.build_board(store).standings.values()
    assert standings.effects is not None
    assert (standings.effects.blocks, standings.effects.images) == ((12,), 60)
    header, *lines = csv.reader((folder / "runs" / "leaderboard.csv").open())
    assert [line[header.index("official_images")] for line in lines] == ["1449", "1449"]


def test_neither_is_in_the_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert door("grid.yaml", cwd=folder).returncode == 0
    before = json.loads((folder / "runs" / "grid.json").read_text())["runs"]
    monkeypatch.setattr(Videos, "expected_images", None)
    monkeypatch.setattr(Videos, "cluster_of", None)
    assert "2 runs" in door("grid.yaml", cwd=folder).stdout
    assert json.loads((folder / "runs" / "grid.json").read_text())["runs"] == before


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("expected_images", "many", "expected_images is 'many'; it must be a number of images, or None"),
        ("expected_images", -3, "expected_images is -3; it must be"),
        ("fault", 7, "cluster_of('video00-frame0') holds an int, 7; it must hold texts"),
    ],
)
def test_what_it_tells_wrongly_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, sentence: str
) -> None:
    monkeypatch.setattr(Videos, name, value)
    answer = door("grid.yaml", "--plan", cwd=folder)
    assert answer.returncode == 2 and f"Videos: {sentence}" in answer.stderr
