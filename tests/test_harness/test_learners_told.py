"""What a plan asks of learners and of their lessons: odd answers, classes that cannot be told apart, shared fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import PLUGINS, call
from in_process import door as sweep
from toy_cells import Cell, Taught
from toy_chain import cards, door, events, tables

from harness.checks.__main__ import main as checks
from harness.contracts import Recipe
from harness.planning import plan as plans
from harness.planning import steps_report
from harness.planning.overlap import Overlap
from harness.planning.planned import most
from harness.planning.report import plan_summary

GRID = """name: told
methods:
  - {{name: Bright, use: toy_learners:Brightest}}
  - {{name: Plus, use: "toy_learners:{learner}", with: {{teacher: Bright{settings}}}}}
benchmarks:
  - {{name: Boxes, use: "toy_learners:{world}", with: {{images: 4}}, train: {{split: train, images: 3{train}}}}}
batch: 3
"""


def grid(folder: Path, learner: str = "Colours", settings: str = "", world: str = "SplitBoxes", train: str = "",
         more: str = "") -> None:  # fmt: skip
    text = GRID.format(learner=learner, settings=settings, world=world, train=train)
    (folder / "grid.yaml").write_text(text + more)


ODD = [
    ("rule", "none", "Plus: its rule is None; a learner's is a harness.contracts.LabelRule"),
    ("rule", "text", "its rule is 'many'; a learner's is"), ("rule", "mapping", "its rule is a dict; a learner's is"),
    ("rule", "raises", "its rule cannot be told: RuntimeError: nobody knows"),
    ("crops", "text", "its crops, the images or crops that it trains on, should be a whole number from 0 on, or None, "
     "not 'many'"),
    *[("crops", word, "should be a whole number from 0 on, or None, not ")
      for word in ("minus", "half", "nan", "huge", "truth")],
    ("artefact_bytes", "text", "its artefact_bytes(), the bytes of its artefact, should be a whole number from 0 on"),
    ("artefact_bytes", "raises", "its artefact_bytes cannot be told: RuntimeError: nobody knows"),
    ("workers", "minus", "its workers, the processes that can share its fit, should be a whole number from 1 on, or "
     "None, not -5"),
    ("workers", "half", "from 1 on, or None, not 1.5"), ("workers", "text", "from 1 on, or None, not 'many'"),
]  # fmt: skip


@pytest.mark.parametrize(("about", "word", "sentence"), ODD, ids=[f"{one[0]} {one[1]}" for one in ODD])
def test_odd_answers_are_refused_at_the_plan(about: str, word: str, sentence: str, tmp_path: Path) -> None:
    grid(tmp_path, "Teller", f", about: {about}, word: {word}")
    assert door(tmp_path, "--plan") == 2
    said = (tmp_path / "stderr").read_text()
    assert sentence in said and "Traceback" not in said


def test_odd_answers_are_refused_at_the_gate_and_plain_ones_are_taken(tmp_path: Path) -> None:
    learner = ("method", "toy_learners:Teller", "--with", "teacher=T")
    answer = call(checks, *learner, "about=workers", "word=minus", cwd=tmp_path, path=PLUGINS)
    assert answer.returncode == 2 and "Teller: its workers, the processes that can share its fit" in answer.stderr
    answer = call(checks, *learner, cwd=tmp_path, path=PLUGINS)
    assert answer.returncode == 2 and "Teller answers once a grid has fitted it" in answer.stderr
    grid(tmp_path, "Teller", ", about: crops, word: plain")
    assert door(tmp_path, "--plan") == 0 and "3 images or crops of them go through" in (tmp_path / "stdout").read_text()


@pytest.mark.parametrize(
    ("order", "differ"),
    [("[blue, green, red]", "class 1 is 'blue' there, and 'red' where it is scored"),
     ("[red, green]", "it has 2 classes, and what is scored 3"),
     ("[red, green, blue, grey]", "it has 4 classes, and what is scored 3")],
)  # fmt: skip
def test_a_train_split_of_other_classes_is_refused(order: str, differ: str, tmp_path: Path) -> None:
    grid(tmp_path, world="Recoloured", train=f", order: {order}")
    assert door(tmp_path, "--plan") == 2
    told = f"Plus on Boxes: its train split has other classes than what is scored ({differ})"
    assert told in (tmp_path / "stderr").read_text()
    choice = "protocol: {background: constant, threshold: {choose: best_miou, of: [0.3, 0.5]}}\n"
    (tmp_path / "grid.yaml").write_text(
        (tmp_path / "grid.yaml").read_text().split("  - {name: Plus")[0]
        + "benchmarks:"
        + (tmp_path / "grid.yaml").read_text().split("benchmarks:")[1]
        + choice
    )
    assert door(tmp_path, "--plan") == 2
    assert (
        f"Bright on Boxes: its train split has other classes than what is scored ({differ})"
        in (tmp_path / "stderr").read_text()
    )


def test_two_classes_of_one_usual_name_are_refused_where_somebody_learns(tmp_path: Path) -> None:
    """Whoever learns nothing takes them: it looks at all words. The order of words is the cure."""
    (tmp_path / "names.yaml").write_text("[[red, warm], [green, red], [red, blue]]\n")
    grid(tmp_path, more="protocol: {names: names.yaml}\n")
    assert door(tmp_path, "--plan") == 2
    told = "Plus on Boxes: the classes 'red' and 'blue' are both called 'red' first, and a learner knows a class by the"
    assert told in (tmp_path / "stderr").read_text()
    (tmp_path / "names.yaml").write_text("[[red, warm], [green, red], [blue, red]]\n")
    assert door(tmp_path) == 0 and cards(tmp_path)["Plus"]["image_count"] == 3
    (tmp_path / "names.yaml").write_text("[[red, warm], [green, red], [red, blue]]\n")
    (tmp_path / "grid.yaml").write_text((tmp_path / "grid.yaml").read_text().replace("  - {name: Plus", "  # {name:"))
    assert door(tmp_path, "--plan") == 0


def test_thresholds_that_lessons_do_not_know_share_one_fit(tmp_path: Path) -> None:
    """So do a scale, and another background rule that offers no word: one run of the teacher, one fit."""
    grid(tmp_path, more="protocol: {background: constant, threshold: [0.3, 0.99]}\n")
    assert door(tmp_path) == 0
    assert len(cards(tmp_path)) == len(events(tmp_path, "fit")) == 1
    assert len(tables(tmp_path)[0].splitlines()) == 1 + 2 * 2
    for other in ("{background: power}", "{background: constant, scale: none, threshold: 0.4, area_thd: 0.01}"):
        grid(tmp_path, more=f"protocol: {other}\n")
        assert door(tmp_path) == 0 and len(events(tmp_path, "fit")) == 1
    grid(tmp_path, more="protocol: {background: class}\n")  # its words are offered to the teacher
    assert door(tmp_path, "--plan", "--json") == 0
    assert json.loads((tmp_path / "stdout").read_text())["fits_missing"] == 1


def test_only_the_benchmark_that_holds_the_lessons_loses(tmp_path: Path) -> None:
    """Two benchmarks with one train split share its fit; three scored images of one of them are among the lessons."""
    text = GRID.split("benchmarks:")[0].format(learner="Colours", settings="")
    places = "".join(
        f"  - {{name: {name}, use: toy_learners:OtherTruth, with: {{split: {split}, images: 6}}, "
        "train: {split: copy, images: 3}}\n"
        for name, split in (("Apart", "train"), ("Same", "val"))
    )
    (tmp_path / "grid.yaml").write_text(f"{text}benchmarks:\n{places}batch: 3\n")
    answer = sweep("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3 and len(cards(tmp_path)) == 1 and "cannot be fitted" not in answer.stderr
    assert answer.stderr.count("Plus on Same is not scored: 3 of the 6 scored images are among the 3 train") == 1
    rows = (tmp_path / "runs" / "leaderboard.csv").read_text()
    assert [line.split(",")[1:4] for line in rows.splitlines()[1:]] and "Plus" in rows
    assert not events(tmp_path, "fit failed")


def test_shares_are_taken_as_they_are_written() -> None:
    """0.58 * 50 is 28.999999999999996, and 0.07 * 100 is 7.000000000000001."""
    for hundredths in range(100):
        for count in (1, 7, 10, 50, 100, 1464):
            assert most(hundredths / 100, count) == hundredths * count // 100
    pairs = tuple((f"a{number}", f"b{number}") for number in range(29))
    assert not Overlap(pairs, (50, 99), 0.58).refusal and Overlap(pairs, (50, 99), 0.57).refusal
    assert most(1, 5) == 5 and most(1e-5, 100_000) == 1


def test_the_plan_counts_what_a_teacher_is_asked_about() -> None:
    """Six crops, and, where a part is judged by the whole, each of the eight images once."""
    train, val = (Recipe.of("toy_learners:SplitBoxes", split=split, images=8) for split in ("train", "val"))
    teacher = Cell(Recipe.of("toy_world:ToyReader"), "t", benchmark=train)

    def asked(**settings: object) -> tuple[int, int, str]:
        student = Recipe.of("methods.student:Student", teacher="t", steps=3, batch=2, **settings)
        cell = Taught(student, "s", benchmark=val, teacher=teacher)
        plan = plans.make("toy", [cell], 4)
        (step,) = [one for one in steps_report.steps(plan) if one["step"] == "fit"]
        return step["asked"], step["passes"], " ".join(plan_summary(plan, {}, 1))

    assert asked()[:2] == (0, 0) and "teachers are asked" not in asked()[2]
    count, passes, said = asked(pseudo="same_crop")
    assert (count, passes) == (6, 6)
    assert "teachers are asked about 6 images or crops of them meanwhile, 6 passes of backbones that are in no" in said
    for judged in ({"label_low": 0.5}, {"label_unsure": 0.2}):
        assert asked(pseudo="same_crop", **judged)[:2] == (14, 14)
    assert asked(pseudo="same_crop", label_low=0.5, label_scale="none")[:2] == (6, 6)


def test_a_students_bad_settings_are_told_before_its_teacher_labels(tmp_path: Path) -> None:
    student = "{name: S, use: methods.student:ShapesStudent, with: {teacher: Bright, learning_rate: -1.0}}"
    grid(tmp_path, more="")
    (tmp_path / "grid.yaml").write_text(
        (tmp_path / "grid.yaml").read_text().replace("benchmarks:", f"  - {student}\nbenchmarks:")
    )
    assert door(tmp_path) == 2 and not (tmp_path / "runs" / "label_maps").exists()
    assert "The setting learning_rate is -1.0; give above 0." in (tmp_path / "stderr").read_text()
