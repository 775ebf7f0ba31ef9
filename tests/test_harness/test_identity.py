"""Sweeps of a stranger's method: what changed gives new rows, equal to a fresh folder's; what is of before stays."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from in_process import door

from harness.contracts.facts import id_of_run
from results import verify
from results.folder.proof import read_json, sealed
from results.folder.store import Store

PLUG = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Mine:
    checkpoint: str = "none"

    def segment(self, image, vocabulary):
        from my_helper import VALUE
        share = VALUE if self.checkpoint == "none" else float(np.load(self.checkpoint)[0])
        labels = np.zeros(image.shape[:2], np.int16)
        labels[: int(share * image.shape[0])] = len(vocabulary) - 1
        return labels
"""
GRID = """
name: own
methods:
  - {name: Mine, use: "plug:Mine"%s}
benchmarks:
  - {name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plug.py").write_text(PLUG)
    (tmp_path / "my_helper.py").write_text("VALUE = 0.25\n")
    (tmp_path / "grid.yaml").write_text(GRID % "")
    return tmp_path


def swept(folder: Path, results: str) -> tuple[str, float]:
    """The run's id and its mIoU, after a sweep."""
    answer = door("grid.yaml", "--results", results, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    (line,) = csv.DictReader((folder / results / "leaderboard.csv").read_text().splitlines())
    return line["run_id"], float(line["miou"])


def test_a_changed_helper_gives_the_rows_of_a_fresh_folder(folder: Path) -> None:
    first = swept(folder, "runs")
    (folder / "my_helper.py").write_text("VALUE = 0.25  # a comment\n")
    assert swept(folder, "runs") == first
    (folder / "my_helper.py").write_text("VALUE = 0.75\n")
    second = swept(folder, "runs")
    assert second == swept(folder, "fresh") and second[0] != first[0] and second[1] != first[1]
    (folder / "my_helper.py").write_text("VALUE = 0.25\n")
    assert "1 of them stored; 0 image results to do" in door("grid.yaml", "--plan", cwd=folder).stdout
    assert swept(folder, "runs") == first


def test_retrained_weights_give_the_rows_of_a_fresh_folder(folder: Path) -> None:
    (folder / "grid.yaml").write_text(GRID % ", with: {checkpoint: w.npy}")
    np.save(folder / "w.npy", np.array([0.25]))
    first = swept(folder, "runs")
    np.save(folder / "w.npy", np.array([0.75]))
    second = swept(folder, "runs")
    assert second == swept(folder, "fresh") and second[0] != first[0] and second[1] != first[1]


def test_a_sweep_that_is_called_from_elsewhere_reads_what_lies_beside_its_grid(folder: Path) -> None:
    (folder / "plug.py").write_text(PLUG.replace('checkpoint: str = "none"', 'checkpoint: str = "default.npy"'))
    for setting, name in ((", with: {checkpoint: [w.npy]}", "w.npy"), ("", "default.npy")):
        (folder / "grid.yaml").write_text(GRID % setting)
        np.save(folder / name, np.array([0.25]))
        beside = swept(folder, f"of_{name}")
        (folder / "elsewhere").mkdir(exist_ok=True)
        np.save(folder / "elsewhere" / name, np.array([0.75]))
        answer = door("../grid.yaml", "--results", f"of_{name}", cwd=folder / "elsewhere", path=folder)
        assert answer.returncode == 0, answer.stderr
        (line,) = csv.DictReader((folder / "elsewhere" / f"of_{name}" / "leaderboard.csv").read_text().splitlines())
        assert (line["run_id"], float(line["miou"])) == beside
        assert line["variant"] == ("checkpoint=w.npy" if setting else "")
        (folder / name).unlink()
        refused = door("../grid.yaml", "--plan", cwd=folder / "elsewhere", path=folder)
        assert refused.returncode == 2 and f"write 'elsewhere/{name}'" in refused.stderr, refused


def test_a_recipe_names_every_sweep_that_added_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit, arguments in (("one", ["--limit", "2"]), ("two", []), ("three", [])):
        monkeypatch.setattr("harness.installation._commit", lambda commit=commit: commit)
        door("grid.yaml", *arguments, cwd=folder)
    (recipe,) = Store.open(folder / "runs", create=False).recipes().values()
    assert sorted(one["commit"] for one in recipe.made_by) == ["one", "two"]
    assert {"python", "numpy", "torch"} <= recipe.made_by[0]["versions"].keys()


def test_a_recipe_that_tells_of_another_run_is_told_by_its_id(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id, _ = swept(folder, "runs")
    path = folder / "runs" / "recipes" / f"{run_id}.json"
    content = read_json(path)
    assert id_of_run(content) == run_id and verify.main([str(folder / "runs")]) == 0
    content["method"]["settings"]["checkpoint"] = "another"
    path.write_text(json.dumps(sealed(content)))  # by somebody who knows how seals are made
    capsys.readouterr()
    assert verify.main([str(folder / "runs")]) == 1
    assert f"{path} was changed by hand: what it says gives the id " in capsys.readouterr().out
    assert swept(folder, "runs")[0] == run_id and verify.main([str(folder / "runs")]) == 0, "a sweep writes it anew"


def test_runs_of_before_can_be_read_and_are_not_resumed(folder: Path) -> None:
    run_id, score = swept(folder, "runs")
    recipes = folder / "runs" / "recipes"
    content = json.loads((recipes / f"{run_id}.json").read_text())
    for key in ("identity", "harness", "sweeps", "seal"):
        content.pop(key, None)
    before = {**content, "versions": {"python": "3.11"}, "commit": "long ago"}
    (recipes / f"{run_id}.json").write_text(json.dumps(before))
    plan = door("grid.yaml", "--plan", cwd=folder).stdout
    assert "1 stored run is of an earlier identity and not resumed: not all that can change a pixel" in plan
    told = json.loads(door("grid.yaml", "--plan", "--json", cwd=folder).stdout)
    assert told["stored_under_an_earlier_identity"] == 1
    store = Store.open(folder / "runs", create=False)
    (recipe,) = store.recipes().values()
    assert recipe.made_by == ({"versions": {"python": "3.11"}, "commit": "long ago"},) and recipe.identity is None
    from results import explain, leaderboard, merge

    assert leaderboard.main([str(folder / "runs")]) == 0
    assert explain.main([run_id, "--results", str(folder / "runs")]) == 0
    assert merge.main([str(folder / "runs"), "--into", str(folder / "merged")]) == 0
    assert f"{score:.4f}" in (folder / "runs" / "leaderboard.csv").read_text()
