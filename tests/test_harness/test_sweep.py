"""The door, as a user meets it: a grid file, a results folder, exit codes, and what is said."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from in_process import door
from PIL import Image
from toy_world import Boxes

from harness import sweep
from results.folder.keepsakes import label_map_path

GRID = """
name: toy
methods:
  - name: Colours
    use: toy_world:ToyReader
    with: {timestep: [1, 100], refine: [none, sar]}
  - name: Flat
    use: toy_world:Flat
benchmarks:
  - name: Boxes
    use: toy_world:Boxes
    with: {images: 10}
batch: 4
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def leaderboard(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = (folder / "runs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event.get("event") == kind]


def test_a_sweep_ranks_its_runs_and_says_where_the_files_are(folder: Path) -> None:
    answer = door("grid.yaml", cwd=folder, report=True)
    assert answer.returncode == 0, answer.stderr
    rows = leaderboard(folder / "runs")
    assert list(rows[0])[:11] == [
        "rank", "method", "variant", "benchmark", "protocol", "images", "failed", "miou", "image_miou",
        "pixel_accuracy", "run_id",
    ]  # fmt: skip
    assert [(row["rank"], row["method"]) for row in rows] == [("1", "Colours")] * 4 + [("5", "Flat")]
    assert {row["miou"] for row in rows[:4]} == {"100.0000"} and float(rows[4]["miou"]) < 50
    assert {row["images"] for row in rows} == {"10"}
    said = ("runs/leaderboard.csv", "runs/matrix.csv", "runs/report/index.html")
    assert all(line in answer.stdout.splitlines() and (folder / line).is_file() for line in said)
    assert sorted(path.stem for path in (folder / "runs" / "recipes").iterdir()) == sorted(
        row["run_id"] for row in rows
    )


def test_running_again_does_nothing_and_a_wider_grid_does_only_what_is_new(folder: Path) -> None:
    assert door("grid.yaml", cwd=folder).returncode == 0
    first = (folder / "runs" / "leaderboard.csv").read_bytes()
    again = door("grid.yaml", cwd=folder)
    assert again.returncode == 0 and "5 of them stored; 0 image results to do" in again.stdout
    assert (folder / "runs" / "leaderboard.csv").read_bytes() == first
    assert len(events(folder, "batch")) == 3
    (folder / "grid.yaml").write_text(GRID.replace("[1, 100]", "[1, 100, 300]"))
    assert door("grid.yaml", cwd=folder).returncode == 0
    assert sum(int(str(event["passes"])) for event in events(folder, "batch")[3:]) == 10, "one new timestep, ten images"


def test_the_plan_tells_passes_and_changes_nothing(folder: Path) -> None:
    answer = door("grid.yaml", "--plan", cwd=folder)
    assert answer.returncode == 0 and not (folder / "runs").exists()
    assert "20 passes and 10 image encodings; without sharing it would be 40 passes and 40 encodings" in answer.stdout
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert (plan["passes"], plan["encodings"], plan["images_missing"], plan["estimated_seconds"]) == (20, 10, 50, None)
    assert door("grid.yaml", "--limit", "4", cwd=folder).returncode == 0
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert plan["images_missing"] == 30 and plan["estimated_seconds"] > 0
    assert {run["why"] for run in plan["runs"]} == {"6 of 10 images missing"}


def test_a_limited_run_has_no_rank_unless_partial(folder: Path) -> None:
    assert door("grid.yaml", "--limit", "4", cwd=folder).returncode == 0
    assert {row["rank"] for row in leaderboard(folder / "runs")} == {""}
    assert door("grid.yaml", "--limit", "4", "--partial", cwd=folder).returncode == 0
    assert "1" in {row["rank"] for row in leaderboard(folder / "runs")}


def test_a_method_that_raises_leaves_failed_rows_and_exit_3_and_all_else_whole(folder: Path) -> None:
    moody = "  - {name: Moody, use: toy_world:Moody}\nbenchmarks:"
    (folder / "grid.yaml").write_text(GRID.replace("benchmarks:", moody))
    answer = door("grid.yaml", cwd=folder)
    assert answer.returncode == 3 and "3 x RuntimeError: no mood for this" in answer.stderr
    assert "Traceback" not in answer.stderr
    rows = {row["method"]: row for row in leaderboard(folder / "runs")}
    assert rows["Moody"]["rank"] == "" and rows["Moody"]["failed"] == "3"
    assert rows["Colours"]["rank"] == "1" and rows["Colours"]["images"] == "10"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["grid.yaml", "--workers", "0"], "whole number of at least 1"),
        (["grid.yaml", "--json"], "--json goes with --plan"),
        (["grid.yaml", "--local", "--address", "auto"], "not allowed with"),
        (["grid.yaml", "--local", "--results", "grid.yaml"], "grid.yaml"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_2(folder: Path, arguments: list[str], words: str) -> None:
    answer = door(*arguments, cwd=folder)
    assert answer.returncode == 2 and words in answer.stderr and "Traceback" not in answer.stderr


STOPS = """
import time
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Stops:
    def segment(self, image, vocabulary):
        if image.shape[0] == 10 and Path("stop-here").exists():
            Path("stop-here").rename("stopped")
            time.sleep(100)
        return np.zeros(image.shape[:2], np.int16)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_keeps_what_is_done_and_goes_on_from_there(folder: Path, how: signal.Signals) -> None:
    """A process of its own; its third image, alone in its batch as all are, waits for the signal."""
    (folder / "stops.py").write_text(STOPS)
    methods = "methods:\n  - {name: Stops, use: stops:Stops}\nbenchmarks:"
    grid = GRID.split("methods:")[0] + methods + GRID.split("benchmarks:")[1]
    (folder / "grid.yaml").write_text(grid.replace("batch: 4", "batch: 1"))
    (folder / "stop-here").touch()
    process = forked.start(folder, sweep.main, ["grid.yaml", "--local", "--no-report"])
    try:
        while process.is_alive() and not (folder / "stopped").exists():
            time.sleep(0.02)
        os.kill(process.pid or 0, how)
        process.join()
    finally:
        process.kill()
    said = (folder / "stderr").read_text()
    assert process.exitcode == 130 and "Interrupted" in said and "Traceback" not in said
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert plan["images_missing"] == 8
    assert door("grid.yaml", cwd=folder).returncode == 0
    assert [row["images"] for row in leaderboard(folder / "runs")] == ["10"]


def test_an_edited_plug_in_does_not_meet_the_results_of_its_former_self(folder: Path) -> None:
    (folder / "stops.py").write_text(STOPS)
    grid = GRID.replace("toy_world:Flat", "stops:Stops")
    (folder / "grid.yaml").write_text(grid)
    assert door("grid.yaml", cwd=folder).returncode == 0
    (folder / "stops.py").write_text(STOPS.replace("zeros", "ones"))
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert [run["missing"] for run in plan["runs"]] == [0, 0, 0, 0, 10]


def test_label_maps_are_kept_for_the_same_images_of_every_run_and_only_when_wanted(folder: Path) -> None:
    assert door("grid.yaml", cwd=folder).returncode == 0
    assert not (folder / "runs" / "label_maps").exists()
    before = (folder / "runs" / "leaderboard.csv").read_bytes()
    (folder / "grid.yaml").write_text(GRID + "keep: {label_maps: 3}\n")
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert {run["why"] for run in plan["runs"]} == {"stored, but 3 label maps are wanted"}
    assert door("grid.yaml", cwd=folder).returncode == 0
    kept = {
        path.name: sorted(one.name for one in path.iterdir()) for path in (folder / "runs" / "label_maps").iterdir()
    }
    assert len(kept) == 5 and len(set(map(tuple, kept.values()))) == 1 and len(next(iter(kept.values()))) == 3
    assert len(list((folder / "runs" / "pictures").glob("*/*.jpg"))) == 3
    assert (folder / "runs" / "leaderboard.csv").read_bytes() == before
    assert "0 image results to do" in door("grid.yaml", cwd=folder).stdout
    truth = Boxes().load("000").truth
    colours = next(row["run_id"] for row in leaderboard(folder / "runs") if row["method"] == "Colours")
    kept_map = np.asarray(Image.open(label_map_path(folder / "runs", colours, "000")))
    scored = (truth > 0) & (truth < 255)
    assert kept_map.shape == truth.shape and (kept_map[scored] == truth[scored]).all()
