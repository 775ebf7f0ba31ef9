"""Receipts: what stands behind a number is all there, adds up to it, and its grid leads to the same run again."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import recount
import toy_results
import yaml
from in_process import call, door

from harness import __main__ as command
from harness.grid import reading as grids
from harness.planning import plan as plans
from results import explain
from results.folder import artefacts
from results.folder.store import Store
from results.tables import averages, matrices
from results.tables import explain as explained
from results.tables.cells import TableCell
from results.tables.evidence import Evidence
from results.tables.spec import TableSpec


def told(capsys: pytest.CaptureFixture[str], store: Store, *words: str) -> str:
    assert explain.main([*words, "--results", str(store.folder)]) == 0
    return capsys.readouterr().out


def test_a_cell_of_a_table(toys: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, toys, "refinement", "w/ SAR", "Toys 300")
    run_id = re.search(r"^Run +(\w+): Seg timestep=300 refine=sar on Toys$", text, re.M)[1]  # type: ignore[index]
    total = recount.sums(toys.folder, run_id)
    assert f"miou = {float(100 * recount.miou(total, len(toy_results.CLASSES))):.4f} %" in text
    for number, name in enumerate(toy_results.CLASSES, start=1):
        iou = recount.class_iou(total, number)
        assert iou is not None
        inside, union = total[number, number], int(total[number, number] / iou)
        (shown,) = re.findall(rf"{re.escape(name)}: {inside} / {union} = (\d+\.\d{{4}}) %", text)
        assert float(shown) == pytest.approx(float(100 * iou), abs=5e-5 + 1e-9)  # the fraction may end in a 5
    for words in ("30 scored, 0 failed, 0 missing, of 30", 'vocabulary = "present"', 'fingerprint = "weights-0123"',
                  'numpy = "2.0"', "0123456789ab-dirty", "layers = [1, 2]",
                  f" -m harness explain {run_id} --results {toys.folder} --grid again.yaml"):  # fmt: skip
        assert words in text


def test_a_table_of_another_score_shows_that_score(toys: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, toys, "accuracy", "Clip", "Bricks")
    run_id = re.search(r"^Run +(\w+):", text, re.M)[1]  # type: ignore[index]
    assert f"pixel_accuracy = {float(100 * recount.accuracy(recount.sums(toys.folder, run_id))):.4f} %" in text


def test_a_run_alone_and_a_hole(toys: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = toy_results.runs(30)[-1][0].run_id
    assert "29 scored, 0 failed, 1 missing, of 30" in told(capsys, toys, run_id)
    text = told(capsys, toys, "main", "Seg+", "Toys")
    assert "Missing    no run" in text and "Again" not in text


def test_a_number_of_several_runs_says_of_which(toys: Store, evidence: Evidence) -> None:
    ours = [one for one in evidence.board.entries if one.method == "Clip"]
    cells = [TableCell(one.run_id, one.miou) for one in ours]
    spread = matrices._over_seeds(TableSpec("t"), cells)
    mean = averages.cells(evidence, TableSpec("t"), [cells], ["Toys", "Bricks"])[0]
    for cell, interval in ((spread, False), (mean, True)):
        (number, title) = explained._mean(evidence, SimpleNamespace(spec=TableSpec("t")), cell)  # type: ignore[arg-type]
        assert number[1][0].startswith(f"miou = {50 * sum(one.miou or 0 for one in ours):.4f} %")
        assert ("interval" in number[1][0]) is interval
        assert title[1] == [
            f"{one.run_id}: Clip on {one.benchmark}, {100 * (one.miou or 0):.4f} %" for one in ours
        ]  # fmt: skip


def test_what_else_a_recipe_says_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = toy_results.fill(tmp_path, images=3, keep=0)
    run_id, recipe = next(iter(store.raw_recipes().items()))
    store.write_recipe(run_id, {**recipe, "losses": [3, 2, 1]})
    assert re.search(r"^Losses +3\n +2\n +1$", told(capsys, store, run_id), re.M)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mian", "Seg", "Toys"], "no table is called 'mian'; did you mean 'main'? (tables: main, refinement"),
        (["main", "Sog", "Toys"], "table 'main' has no row 'Sog'; did you mean 'Seg'?"),
        (["main", "Seg", "Toy"], "has no column 'Toy'; did you mean 'Toys'? (columns: 'Toys', 'Bricks')"),
        (["0000"], "holds no run '0000'"),
    ],
)
def test_wrong_words_are_answered_with_what_exists(
    toys: Store, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert explain.main([*words, "--results", str(toys.folder)]) == 2
    assert sentence in capsys.readouterr().err


def test_the_grid_of_a_receipt_is_the_same_run_again(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "name: g\nmethods:\n- {name: Random, use: 'methods.controls:RandomLabels', with: {side: [3, 5], seed: 7}}\n"
        "benchmarks:\n- {name: S, use: 'benchmarks.shapes:Shapes', with: {images: [2, 3]}}\n"
        "protocol: {vocabulary: all, background: constant, threshold: 0.25, templates: ['a {}', 'the {}']}\n"
    )
    folder = tmp_path / "r"
    assert door("grid.yaml", "--results", "r", cwd=tmp_path).returncode == 0
    for run_id in json.loads((folder / "grid.json").read_text())["runs"]:
        again = tmp_path / f"{run_id}.yaml"
        assert explain.main([run_id, "--results", str(folder), "--grid", str(again)]) == 0
        read = grids.read_grid(again)
        assert [one.run.run_id for one in plans.make(read.name, read.cells, read.batch).runs] == [run_id]


def test_the_lines_of_a_receipt_can_be_copied_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder whose name a shell would take apart, called by either command; neither needs to be on the path."""
    folder, bin_ = tmp_path / "Tom's runs", tmp_path / "own bin"
    grid = "name: g\nmethods:\n- {name: One, use: 'methods.controls:OneClass'}\n"
    (tmp_path / "grid.yaml").write_text(
        f"{grid}benchmarks:\n- {{name: S, use: 'benchmarks.shapes:Shapes', with: {{images: 2}}}}\n"
    )
    assert door("grid.yaml", "--results", folder.name, cwd=tmp_path).returncode == 0
    (run_id,) = json.loads((folder / "grid.json").read_text())["runs"]
    bin_.mkdir()
    (bin_ / "stableseg").touch(mode=0o755)
    for called, on_path, begins in (
        (str(bin_ / "stableseg"), True, ["stableseg"]),
        (str(bin_ / "stableseg"), False, [str(bin_ / "stableseg")]),
        (explain.__file__, False, [sys.executable, "-m", "harness"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [called])
            patch.setenv("PATH", str(bin_) if on_path else "")
            said = call(explain.main, run_id, "--results", folder.name, cwd=tmp_path).stdout
        lines = [shlex.split(line) for line in said.partition("\nAgain")[2].splitlines()]
        assert [line[: len(begins)] for line in lines] == [begins, begins]
    assert call(command.main, *lines[0][len(begins) :], cwd=tmp_path).returncode == 0
    assert call(command.main, *lines[1][len(begins) :], "--local", cwd=tmp_path).returncode == 0
    assert (
        Store(tmp_path / "again")
        .rows()
        .select("run_id", "image_id", "pixels")
        .equals(Store(folder).rows().select("run_id", "image_id", "pixels"))
    )


PLUG_IN = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Guess:
    def segment(self, image, vocabulary):
        return np.zeros(image.shape[:2], np.int16)
"""


def test_the_lines_of_a_receipt_find_plug_ins_of_plain_files_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (grids := tmp_path / "Tom's grids").mkdir()
    (grids / "guesses_of_tom.py").write_text(PLUG_IN)
    (grids / "grid.yaml").write_text(
        "name: g\nmethods:\n- {name: Guess, use: 'guesses_of_tom:Guess'}\n"
        "benchmarks:\n- {name: S, use: 'benchmarks.shapes:Shapes', with: {images: 2}}\n"
    )
    assert door("Tom's grids/grid.yaml", "--results", "r", cwd=tmp_path).returncode == 0
    (run_id,) = json.loads((tmp_path / "r" / "grid.json").read_text())["runs"]
    for stands in (tmp_path, tmp_path / "elsewhere", grids / "inner", grids):
        stands.mkdir(exist_ok=True)
        monkeypatch.delitem(sys.modules, "guesses_of_tom", raising=False)
        said = call(explain.main, run_id, "--results", os.path.relpath(tmp_path / "r", stands), cwd=stands).stdout
        lines = [shlex.split(line) for line in said.partition("\nAgain")[2].splitlines()]
        assert len(lines) == 2 and lines[0][-1] == lines[1][4] == os.path.relpath(grids / "again.yaml", stands)
        assert call(command.main, *lines[0][3:], cwd=stands).returncode == 0
        again = call(command.main, *lines[1][3:], "--local", cwd=stands)
        assert again.returncode == 0 and len(Store(stands / "again").rows()) == 2, again


def test_a_receipt_says_where_plug_ins_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "lost_guess.py").write_text(PLUG_IN)
    (tmp_path / "grid.yaml").write_text(
        "name: g\nmethods:\n- {name: Guess, use: 'lost_guess:Guess'}\n"
        "benchmarks:\n- {name: S, use: 'benchmarks.shapes:Shapes', with: {images: 2}}\n"
    )
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "lost_guess.py").unlink()
    (run_id,) = json.loads((tmp_path / "runs" / "grid.json").read_text())["runs"]
    said = call(explain.main, run_id, cwd=tmp_path).stdout
    assert said.endswith("(not all plug-ins of this run are found here: again.yaml belongs beside them)\n")


def test_a_run_that_learned_shows_its_card_and_its_grid_names_its_teachers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = toy_results.fill(tmp_path / "r", images=3, keep=0)
    own = [recipe for recipe, _ in toy_results.runs(3) if recipe.benchmark_name == "Toys"]
    learner, second, first = own[4], own[3], own[0]
    taught = {"id": "feed01", "teacher": f"Seg {second.variant}", "labels": "beef"}
    store.write_recipe(learner.run_id, {**learner.as_dict(), "artefact": taught})
    again = {"id": "feed02", "teacher": f"Seg {first.variant}", "labels": "cafe"}
    store.write_recipe(second.run_id, {**second.as_dict(), "artefact": again})
    benchmark = {"use": "toy:Benchmark", "settings": {"split": "train", "name": "Toys"}}
    artefacts.artefact_path(store.folder, "feed01").mkdir(parents=True)
    artefacts.finish(store.folder, "feed01", {"losses": [0.5, 0.25], "benchmark": benchmark})
    text = told(capsys, store, learner.run_id)
    assert re.search(r'^Artefact +id = "feed01"$', text, re.M) and "losses = [0.5, 0.25]" in text
    grid = tmp_path / "again.yaml"
    assert explain.main([learner.run_id, "--results", str(store.folder), "--grid", str(grid)]) == 0
    written = yaml.safe_load(grid.read_text())
    names = [learner.method_name, f"Seg {second.variant}", f"Seg {first.variant}"]
    assert [method["name"] for method in written["methods"]] == names
    assert [method["with"].get("teacher") for method in written["methods"]] == [*names[1:], None]
    assert written["benchmarks"][0]["train"] == {"split": "train"}
    store.write_recipe(learner.run_id, {**learner.as_dict(), "artefact": {**taught, "teacher": "Nobody"}})
    assert explain.main([learner.run_id, "--results", str(store.folder), "--grid", str(grid)]) == 0
    assert "# The teacher 'Nobody' has no recipe in this folder" in grid.read_text()
