"""Methods that learn, through the door: a graph of steps, each done once, refusals, kills; on Ray: test_fit_losses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_chain import CHAIN, cards, door, events, tables

from harness.contracts import WIDE_IGNORED, LabelRule, MethodError, ModelError, ProtocolSettings, Vocabulary
from harness.errors import GridError
from harness.grid import reading as grids
from harness.learning.fitting import FitJob, fit
from harness.learning.lessons import LessonBook
from harness.planning import plan as plans
from harness.planning import steps_report
from harness.protocol.offering import Offer
from harness.protocol.views import Cut, Window
from harness.recipes import house, loading
from harness.work.lesson_masks import lesson, positions
from methods.student.network import DEEPLABV2_RATES

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests" / "plugins"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(CHAIN)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, run without a mishap."""
    place = tmp_path_factory.mktemp("whole")
    (place / "grid.yaml").write_text(CHAIN)
    assert door(place) == 0
    return place


def test_the_chain_is_fitted_in_order_and_every_card_says_from_what(whole: Path) -> None:
    held = cards(whole)
    assert [event["method"] for event in events(whole, "fit")] == ["Plus", "Gains", "PlusPlus"]
    assert [held[name]["teacher"] for name in ("Plus", "Gains", "PlusPlus")] == ["Bright", "Plus", "Gains"]
    card = held["Plus"]
    recipes = {path.stem: json.loads(path.read_text()) for path in (whole / "runs" / "recipes").glob("*.json")}
    assert recipes[card["teacher_run"]]["method_name"] == "Bright"
    assert recipes[card["teacher_run"]]["benchmark"]["settings"]["split"] == "train"
    assert card["label_rule"]["low"] == 0.5 and card["image_count"] == 7 and card["learner_tells"]["labelled"] > 0
    assert {"python", "numpy"} <= card["versions"].keys() and card["seconds"] >= 0 and card["finished"]
    row = next(recipe for recipe in recipes.values() if recipe["method_name"] == "Plus" and "val" in str(recipe))
    assert row["artefact"] == {"id": card["artefact_id"], "teacher": "Bright", "labels": card["teacher_run"]}
    assert not list((whole / "runs" / "artefacts").glob("*/unfinished"))


def test_only_the_cells_of_the_grid_are_ranked(whole: Path) -> None:
    lines = (whole / "runs" / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 5 and all(",Boxes," in line and ",6,0," in line for line in lines[1:])
    assert lines[1].split(",")[0] == "1" and "100.0000" in lines[4]


def test_what_is_stored_is_not_done_again(whole: Path) -> None:
    before = len((whole / "runs" / "events.jsonl").read_text().splitlines())
    assert door(whole) == 0
    assert len((whole / "runs" / "events.jsonl").read_text().splitlines()) == before
    assert door(whole, "--plan", "--json") == 0
    plan = json.loads((whole / "stdout").read_text())
    assert {step["missing"] for step in plan["steps"]} == {0} and plan["fits_missing"] == 0


def test_a_process_that_is_not_as_planned_does_not_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plans.make("chain", grids.read_grid(folder / "grid.yaml").cells, 3).fits[0]
    monkeypatch.setattr(house, "deciding", lambda: {"harness.learning.lessons": "edited-0"})
    job = FitJob("plus", planned.learner, LessonBook(planned.labels.run, {}), str(folder / "plus"), planned.planned)
    with pytest.raises(ModelError, match="is not what was planned: the modules of the harness differ here"):
        fit(job)


def test_a_fit_computes_as_a_worker_does_whatever_ran_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plans.make("chain", grids.read_grid(folder / "grid.yaml").cells, 3).fits[0]
    seen: list[tuple[str, bool]] = []

    def look(*_: object) -> dict[str, str]:
        seen.append((os.environ.get("MKL_CBWR", ""), torch.backends.mkldnn.enabled))
        return {}

    monkeypatch.setattr(loading.load_class(planned.learner.use), "fit", look)
    monkeypatch.delenv("MKL_CBWR")  # as in a process that has computed nothing
    before = torch.backends.mkldnn.set_flags(True)
    try:
        fit(FitJob("plus", planned.learner, LessonBook(planned.labels.run, {}), str(folder / "plus")))
        assert torch.backends.mkldnn.enabled
    finally:
        torch.backends.mkldnn.set_flags(*before)
    assert seen[0][0].endswith(",STRICT") and not seen[0][1]


def test_a_new_learner_shares_the_steps_that_are_stored(whole: Path) -> None:
    (whole / "grid.yaml").write_text(CHAIN.replace("{teacher: Gains, low: 0.1}", "{teacher: Gains, low: 0.2}"))
    assert door(whole, "--plan", "--json") == 0
    steps = json.loads((whole / "stdout").read_text())["steps"]
    todo = [(step["step"], step["method"]) for step in steps if step["missing"]]
    (whole / "grid.yaml").write_text(CHAIN)
    assert todo == [("label", "Gains"), ("fit", "PlusPlus"), ("score", "PlusPlus")]  # by another rule


def test_the_plan_prints_the_graph(folder: Path) -> None:
    assert door(folder, "--plan") == 0
    said = (folder / "stdout").read_text()
    assert "Steps" in said and "label" in said and "taught by Bright" in said and "3 fits, 0 of them stored" in said
    assert not (folder / "runs").exists()
    sys.path.append(str(PLUGINS)) if str(PLUGINS) not in sys.path else None
    cells = grids.read_grid(folder / "grid.yaml").cells
    steps = steps_report.steps(plans.make("chain", cells, 3))
    kinds = [(step["step"], step["method"]) for step in steps]
    assert kinds[:7] == [
        ("label", "Bright"), ("fit", "Plus"), ("label", "Plus"), ("gather", "Gains"), ("fit", "Gains"),
        ("label", "Gains"), ("fit", "PlusPlus"),
    ]  # fmt: skip
    places = {step["id"]: number for number, step in enumerate(steps)}
    assert all(places[need] < number for number, step in enumerate(steps) for need in step["needs"])
    assert len(places) == len(steps) == 11


@pytest.mark.parametrize("place", ["label 0", "fit 4", "gather", "answer 0.1"])
def test_a_driver_that_is_interrupted_anywhere_ends_in_the_same_table(whole: Path, folder: Path, place: str) -> None:
    assert door(folder, wish=f"stop at {place}") == 130
    assert door(folder) == 0
    assert tables(folder) == tables(whole)
    if place == "fit 4":
        assert cards(folder)["Plus"]["learner_tells"]["started"] == 4  # it went on from its checkpoint


def test_a_fit_that_fails_is_said_and_the_rest_goes_on(folder: Path) -> None:
    text = CHAIN.replace("toy_learners:Brightest}", "toy_world:Flat}")  # a label map, and a rule that needs scores
    (folder / "grid.yaml").write_text(text)
    assert door(folder) == 3
    said = (folder / "stderr").read_text()
    assert "Plus cannot be fitted, and what needs it is left out: 7 results on the train images" in said
    assert "18 image results failed or are missing" in said


ENTRY = "  - {name: Bright, use: toy_learners:Brightest}\n"
REFUSED = [
    ("teacher: Bright}", "teacher: Brigth}", 5,
     "no method is called 'Brigth', so it cannot teach 'Plus'; did you mean 'Bright'?"),
    ("teacher: Bright}", "teacher: Plus}", 5, "in a circle: Plus <- Plus"),
    ("teacher: Bright}", "teacher: PlusPlus}", 6, "in a circle"),
    (ENTRY, ENTRY.replace("}", ", with: {turn: [0, 1]}}"), 5,
     "has 2 variants; name one of: Bright turn=0, Bright turn=1"),
    (", train: {split: train, images: 7}", "", 9, "needs `train:`"),
    ("train: {split: train, images: 7}", "train: {split: val}", 9, "a teacher must not see the images that 'Plus'"),
    ("train: {split: train, images: 7}", "train: {spilt: train}", 9, "did you mean 'split'"),
    ("train: {split: train, images: 7}", "train: {split: [train, val]}", 9, "give 'split' one value here"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "words"), REFUSED, ids=[case[3][:24] for case in REFUSED])
def test_teachers_that_cannot_teach_are_refused_with_a_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert CHAIN.count(old) == 1
    (tmp_path / "grid.yaml").write_text(CHAIN.replace(old, new))
    with pytest.raises(GridError) as refusal:
        grids.read_grid(tmp_path / "grid.yaml")
    assert words in str(refusal.value) and f"line {line}:" in str(refusal.value)


def test_a_train_split_that_shares_images_with_the_scored_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(CHAIN.replace("split: train, images: 7", "images: 7"))
    told = r"Plus on Boxes: 6 of the 6 scored images are among the 7 train images \('val-000' is 'val-000' there, "
    with pytest.raises(GridError, match=told):
        plans.make("x", grids.read_grid(tmp_path / "grid.yaml").cells, 3)


def test_a_teacher_is_named_by_its_variant_too(tmp_path: Path) -> None:
    text = CHAIN.replace(ENTRY, ENTRY.replace("}", ", with: {turn: [0, 1]}}"))
    text = text.replace("teacher: Bright}", "teacher: [Bright turn=0, Bright turn=1]}").replace(
        "teacher: Plus}", "teacher: \"Plus teacher='Bright turn=1'\"}"
    )
    (tmp_path / "grid.yaml").write_text(text)
    cells = grids.read_grid(tmp_path / "grid.yaml").cells
    teachers = [(cell.method_name, cell.teacher.variant) for cell in cells if cell.teacher]
    assert teachers[:2] == [("Plus", "turn=0"), ("Plus", "turn=1")]
    fits = plans.make("x", cells, 3).fits
    assert len({fit.artefact_id for fit in fits}) == 4


def test_a_name_is_in_no_id_but_a_teachers_settings_are(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        (tmp_path / "grid.yaml").write_text(text)
        return [
            planned.run.run_id for planned in plans.make("x", grids.read_grid(tmp_path / "grid.yaml").cells, 3).runs
        ]

    plain, renamed = ids(CHAIN), ids(CHAIN.replace("Bright,", "Glow,").replace("teacher: Bright", "teacher: Glow"))
    turned = ids(CHAIN.replace("Brightest}", "Brightest, with: {turn: 1}}"))
    assert plain == renamed
    assert not set(plain) & set(turned)  # it reaches the end of the chain


def mask_of(scores: Any, rule: LabelRule, numbers: tuple[int, ...] = (3, 5)) -> Any:
    offered = Offer(Vocabulary(tuple((str(number),) for number in numbers)), numbers)
    import torch

    given = scores if scores.ndim == 2 else torch.tensor(scores, dtype=torch.float32)
    size = given.shape[-2:]
    cut = Cut((size[0], size[1]), (Window(0, 0, size[0], size[1]),))
    return lesson([given], cut, offered, (size[0], size[1]), ProtocolSettings(), rule)


def test_the_label_rule_by_hand() -> None:
    scores = np.array([[[0.9, 0.4, 0.2], [0.55, 0.5, 0.1]], [[0.1, 0.5, 0.1], [0.50, 0.1, 0.8]]])
    plain = [[3, 5, 3], [3, 3, 5]]
    assert mask_of(scores, LabelRule(scale="none")).tolist() == plain
    assert mask_of(scores, LabelRule(low=0.45, scale="none")).tolist() == [[3, 5, WIDE_IGNORED], [3, 3, 5]]
    banded = LabelRule(low=0.45, high=0.54, scale="none", below="background")
    assert mask_of(scores, banded).tolist() == [[3, WIDE_IGNORED, 0], [3, WIDE_IGNORED, 5]]
    # distances .8 .1 .1 / .05 .4 .7: the least third of six is left out
    assert mask_of(scores, LabelRule(unsure=0.1, scale="none")).tolist() == [[3, 5, 3], [WIDE_IGNORED, 3, 5]]
    scaled = (scores - scores.min((1, 2), keepdims=True)) / np.ptp(scores, axis=(1, 2), keepdims=True)
    expected = np.where(scaled.max(0) < 0.6, WIDE_IGNORED, np.where(scaled[0] >= scaled[1], 3, 5))
    assert np.array_equal(mask_of(scores, LabelRule(low=0.6)), expected)


def test_a_map_that_is_constant_but_for_rounding_teaches_nothing() -> None:
    scores = np.array([[[0.7, 0.7, 0.7], [0.7, 0.7, 0.7]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.5]]], np.float32)
    scores[0, 0] = np.nextafter(np.float32(0.7), np.float32(1))
    assert mask_of(scores, LabelRule(low=0.6)).tolist() == [[WIDE_IGNORED] * 3, [5, 5, 5]]


def test_a_label_map_teaches_as_it_is_or_is_refused() -> None:
    labels = np.array([[0, 1], [-1, 1]])
    assert mask_of(labels, LabelRule()).tolist() == [[3, 5], [WIDE_IGNORED, 5]]
    with pytest.raises(MethodError, match="a label rule looks at scores"):
        mask_of(labels, LabelRule(low=0.5))


def test_positions_of_a_lesson() -> None:
    offered = Offer(Vocabulary((("a",), ("b",), ("background",)), background=2), (4, 9, 0))
    found = positions(np.array([[4, 9, 0, WIDE_IGNORED, 7]], np.uint16), offered)
    assert found.tolist() == [[0, 1, 3, -1, -1]]


def test_the_shipped_grids_hold_the_whole_chain() -> None:
    small = grids.read_grid(ROOT / "grids" / "learn.yaml")
    plan = plans.make(small.name, small.cells, small.batch)
    assert [fit.method_name for fit in plan.fits] == ["StableSeg+", "Weights", "StableSeg++", "MaskCLIP+"]
    paper = grids.read_grid(ROOT / "grids" / "paper-table3.yaml")
    chains = {}
    for cell in paper.cells:
        names, one = [], cell
        while one is not None:
            names.append(one.method_name)
            one = one.teacher
        chains[cell.benchmark_name, cell.method_name] = names
    for benchmark in ("PAS-20", "PC-59"):
        assert chains[benchmark, "StableSeg++"] == ["StableSeg++", "Weights", "StableSeg+", "StableSeg"]
        assert chains[benchmark, "MaskCLIP+"] == ["MaskCLIP+", "MaskCLIP"]


def test_the_papers_grid_trains_maskclip_plus_as_its_authors_do() -> None:
    """Their configuration for VOC without annotations; docs/learning.md names what differs."""
    paper = grids.read_grid(ROOT / "grids" / "paper-table3.yaml")
    (cell,) = [one for one in paper.cells if (one.method_name, one.benchmark_name) == ("MaskCLIP+", "PAS-20")]
    student: Any = loading.build(cell.method)
    assert (student.network, student.rates or DEEPLABV2_RATES, student.stride) == ("deeplabv2", (6, 12, 18, 24), 8)
    assert (student.head, student.pseudo) == ("text", "same_crop") and student.rule == LabelRule()
    assert (student.short_side, student.long_side, student.crop) == (512, 2048, 512)
    assert (student.batch, student.grouped, student.steps) == (16, 16, 2000), "4 GPUs of 4 images, synchronised"
    assert (student.optimiser, student.learning_rate, student.weight_decay, student.floor) == ("sgd", 0.01, 5e-4, 0.01)
    assert cell.teacher is not None and cell.teacher.benchmark.as_dict()["split"] == "trainaug"
    others = {one.method_name: dict(one.method.as_dict()) for one in paper.cells if one.benchmark_name == "PAS-20"}
    assert [others[name]["rates"] for name in ("StableSeg+", "StableSeg++")] == [(6, 12, 18)] * 2
