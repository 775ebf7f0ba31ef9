"""A threshold that is chosen on a train split: by its rule, never on what is scored, and with no value in the id."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recount
import toy_words
from in_process import Answer, call, door

from harness.contracts import ProtocolSettings
from harness.errors import GridError
from harness.grid.reading import Grid
from harness.planning import plan as plans
from results import explain, verify
from results.folder.store import Store

LEVELS = (0.2, 0.45, 0.61, 0.9)
GRID = """\
name: chosen
methods:
  - {name: Faint, use: 'toy_faint:Faint'}
  - {name: Other, use: 'toy_faint:Faint', with: {seed: 1}}
benchmarks:
  - {name: Split, use: 'toy_faint:Splits', with: {broken: broken}, train: {split: train}}
protocol: {vocabulary: all, background: constant, scale: none, threshold: {choose: best_miou, of: %s}}
"""


def text(levels: object = list(LEVELS)) -> str:
    return GRID % json.dumps(levels)


def sweep(place: Path, written: str, *options: str) -> Answer:
    (place / "grid.yaml").write_text(written)
    return door("grid.yaml", *options, cwd=place)


def recipes(place: Path) -> dict[str, dict[str, Any]]:
    return Store(place / "runs").raw_recipes()


def lines(place: Path) -> dict[str, dict[str, str]]:
    return {line["method"]: line for line in csv.DictReader((place / "runs" / "leaderboard.csv").open())}


def whole_miou(runs: Path, run_id: str) -> float:
    """Over the background and three classes, counted from parquet."""
    ious = [recount.class_iou(recount.sums(runs, run_id), number) for number in range(4)]
    return float(sum(one for one in ious if one is not None) / 4)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chosen")
    answer = sweep(place, text())
    assert answer.returncode == 0, answer.stderr
    return place


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every level on both splits, each written out."""
    place = tmp_path_factory.mktemp("plain")
    levels = ", ".join(map(str, LEVELS))
    both = text().replace("train: {split: train}}", "}").replace("{broken: broken}", "{split: [train, val]}")
    both = both.replace("}, }", "}}").replace(f"{{choose: best_miou, of: [{levels}]}}", f"[{levels}]")
    assert sweep(place, both).returncode == 0
    return place


def test_the_best_on_the_train_split_is_taken_and_nothing_else_differs(done: Path, plain: Path) -> None:
    found, every = recipes(done), recipes(plain)
    for method, line in lines(done).items():
        chosen = found[line["run_id"]]["chosen"]
        train = {
            recipe["protocol"]["threshold"]: whole_miou(plain / "runs", run_id)
            for run_id, recipe in every.items()
            if recipe["method_name"] == method and recipe["benchmark"]["settings"]["split"] == "train"
        }
        assert sorted(train) == list(LEVELS)
        best = max(train, key=lambda level: train[level])
        assert chosen["values"] == {"threshold": best} and chosen["rule"] == "best_miou" and best not in (0.2, 0.9)
        assert chosen["scores"] == pytest.approx([train[level] for level in LEVELS])
        same = [
            run_id for run_id, recipe in every.items()
            if recipe["method_name"] == method and recipe["protocol"]["threshold"] == best
            and recipe["benchmark"]["settings"]["split"] == "val"
        ]  # fmt: skip
        columns = ["image_id", "true", "predicted", "pixels"]
        own, other = Store(done / "runs").rows([line["run_id"]]), Store(plain / "runs").rows(same)
        assert own.select(columns).equals(other.select(columns)) and same != [line["run_id"]]
        assert line["supervision"] == f"threshold={best} by best_miou over 10 train images and their truth"


def test_the_id_holds_the_rule_and_the_train_runs(done: Path, tmp_path: Path) -> None:
    first = json.loads(sweep(tmp_path, text(), "--plan", "--json").stdout)
    ids = {one["method"]: one["run_id"] for one in first["runs"]}
    assert ids == {method: line["run_id"] for method, line in lines(done).items()}, "before anything is chosen"
    assert {one["why"] for one in first["runs"]} == {"its protocol is chosen first, on the train split"}
    assert first["images_missing"] == 2 * len(LEVELS) * 10
    other = json.loads(sweep(tmp_path, text([0.2, 0.45, 0.61]), "--plan", "--json").stdout)
    fewer = json.loads(sweep(tmp_path, text(), "--plan", "--json", "--limit", "5").stdout)
    for plan in (other, fewer):
        assert not {one["run_id"] for one in plan["runs"]} & set(ids.values())
    again = sweep(done, text())
    assert again.returncode == 0 and "2 runs, 2 of them stored; 0 image results to do." in again.stdout
    assert call(verify.main, done / "runs", cwd=done).returncode == 0, "an id is found again from what a recipe says"


def test_methods_of_one_rule_are_ranked_together_and_the_table_names_it(done: Path) -> None:
    found = lines(done)
    assert sorted(line["rank"] for line in found.values()) == ["1", "2"]
    assert {line["protocol"] for line in found.values()} == {
        'vocabulary=all background=constant threshold="best_miou of 0.2 0.45 0.61 0.9" scale=none'
    }


def test_the_receipts_grid_chooses_again(done: Path, tmp_path: Path) -> None:
    run_id = lines(done)["Faint"]["run_id"]
    told = call(explain.main, run_id, "--results", done / "runs", "--grid", tmp_path / "again.yaml", cwd=done)
    assert told.returncode == 0 and "best_miou" in told.stdout
    answer = sweep(tmp_path, (tmp_path / "again.yaml").read_text(), "--plan", "--json")
    (run,) = json.loads(answer.stdout)["runs"]
    assert run["run_id"] == run_id


def test_a_hole_on_the_train_split_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    answer = sweep(tmp_path, text())
    assert answer.returncode == 3
    assert "Faint on Split: its protocol cannot be chosen, since 4 runs on the train split have holes" in answer.stderr
    assert "8 x ValueError: the last one is broken" in answer.stderr
    (tmp_path / "broken").unlink()
    assert sweep(tmp_path, text()).returncode == 0 and len(lines(tmp_path)) == 2


def test_images_that_are_scored_choose_nothing(tmp_path: Path) -> None:
    answer = sweep(
        tmp_path, text().replace("toy_faint:Splits", "toy_faint:Twins").replace("with: {broken: broken}, ", "")
    )
    assert answer.returncode == 3 and "10 of the 10 scored images are among the 10 train images" in answer.stderr
    assert not any(line["miou"] for line in lines(tmp_path).values())


WRONG = [
    ("no train split", text().replace(", train: {split: train}", ""), "the threshold of 'Faint' is chosen there, so "),
    ("what is scored", text().replace("train: {split: train}", "train: {split: val}"), "must not see the images"),
    ("no such rule", text().replace("best_miou", "best"), "choose must be 'best_miou', not 'best'"),
    ("one value", text([0.2]), "of must have at least 2 item"),
    ("twice", text([0.2, 0.2]), "holds 0.2 twice"),
    ("beyond", text([0.2, 1.2]).replace("scale: none", "scale: minmax"), "less than or equal to 1, not 1.2"),
    ("no key", text().replace("choose:", "chose:"), "a chosen value has no key 'chose'; did you mean 'choose'?"),
    ("a learner", text().replace("{name: Other, use: 'toy_faint:Faint', with: {seed: 1}}",
     "{name: Other, use: 'toy_learners:Gains', with: {teacher: Faint}}").replace("Faint'}", "Faint', protocol: voc20}"),
     "cannot be chosen there as well"),
    ("a teacher", text().replace("{name: Other, use: 'toy_faint:Faint', with: {seed: 1}}",
     "{name: Other, use: 'toy_learners:Gains', with: {teacher: Faint}, protocol: voc20}"), "give a teacher one"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "words"), [pytest.param(*rest, id=name) for name, *rest in WRONG])
def test_what_cannot_be_chosen_is_told_with_its_line(
    read_grid: Callable[[str], Grid], written: str, words: str
) -> None:
    with pytest.raises(GridError) as caught:
        read_grid(written)
    assert words in str(caught.value) and str(caught.value).startswith("grid.yaml, line "), caught.value


def test_a_value_without_effect_is_not_chosen(read_grid: Callable[[str], Grid]) -> None:
    (one, _) = read_grid(text().replace("background: constant", "background: ignored")).cells
    assert one.choice is None and one.protocol == ProtocolSettings("all")


def test_what_is_chosen_costs_no_pass_a_value(tmp_path: Path) -> None:
    toy_words.SHOWN.clear()
    faint = text().replace("toy_faint:Faint", "toy_words:Careful").replace("with: {seed: 1}", "with: {image: true}")
    assert sweep(tmp_path, faint).returncode == 0
    shown = Counter(image[:3] for kind, image, _ in toy_words.SHOWN if kind == "WordPass")
    assert shown == {"tra": 10, "val": 10}


def test_another_choice_sets_aside_what_rests_on_the_former(read_grid: Callable[[str], Grid]) -> None:
    found = read_grid(text())
    shelf = plans.Shelf(miou=lambda run, images, classes: run.protocol.threshold * (run.protocol.threshold < 0.5))
    waiting = plans.make("g", found.cells, 8, folder=found.folder)
    assert len(waiting.waiting) == 2 and len(waiting.trials) == 8
    images = {image: "ok" for trial in waiting.trials for image in trial.image_ids}
    stored = {trial.run.run_id: images for trial in waiting.trials}
    stored |= {run.run.run_id: dict.fromkeys(run.image_ids, "ok") for run in waiting.runs}
    for before, why in (
        ({"threshold": 0.45}, "stored"),
        ({"threshold": 0.2}, "10 images changed since"),
        (None, "stored"),
    ):
        plan = plans.make("g", found.cells, 8, stored, shelf=replace(shelf, chosen=lambda _, known=before: known),
                          folder=found.folder)  # fmt: skip
        assert {run.reason for run in plan.runs} == {why} and not plan.waiting
        assert {run.run.protocol.threshold for run in plan.runs} == {0.45}
