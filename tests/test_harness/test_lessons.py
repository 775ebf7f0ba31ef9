"""What learners are given of a train split: images and masks, and nothing from which a truth could be loaded."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from harness.contracts import DataError, Labelling, LabelRule, ProtocolSettings, Recipe, Run, Sample
from harness.learning.lessons import LessonBook, StoredLessons
from harness.protocol.given import checked_sample
from harness.recipes import loading
from harness.work.pictures import encode_map


@pytest.fixture
def lessons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredLessons:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugins"))
    world, teacher = Recipe.of("toy_learners:SplitBoxes", split="train"), Recipe.of("toy_learners:Brightest")
    run = Run("run", "T", "", teacher, "Boxes", world, ProtocolSettings(), purpose=Labelling(LabelRule()))
    (tmp_path / "0.png").write_bytes(encode_map(np.full((9, 14), 2, np.uint16)))
    return StoredLessons(LessonBook(run, {"train-000": str(tmp_path / "0.png")}))


def reached(start: object) -> list[object]:
    """All that can be reached from an object through attributes, containers and frames, not through code."""
    seen, todo = {}, [start]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen[id(one)] = one
        todo += gc.get_referents(one)
    return list(seen.values())


def test_from_lessons_no_benchmark_and_no_truth_can_be_reached(lessons: StoredLessons) -> None:
    benchmark = loading.build(Recipe.of("toy_learners:SplitBoxes", split="train"))
    sample = checked_sample(benchmark.load("train-000"), "train-000", 3)
    assert np.array_equal(lessons.image("train-000"), sample.image)
    assert lessons.vocabulary.words == ("red", "green", "blue")
    asked = lessons.ask("train-000", lessons.image("train-000"))
    assert asked.shape == sample.truth.shape and set(np.unique(asked)) <= set(np.unique(sample.truth)) | {255}
    assert (lessons.mask("train-000") == 2).all()
    found = reached(lessons)
    assert not [one for one in found if isinstance(one, Sample | Run) or type(one).__name__ == "SplitBoxes"]
    assert not [one for one in found if isinstance(one, Recipe) and "Boxes" in one.use]
    assert "SplitBoxes" not in repr(vars(lessons)) and any(isinstance(one, Recipe) for one in found)


def test_what_a_file_of_tags_says_of_an_image_holds_for_its_crops(tmp_path: Path, lessons: StoredLessons) -> None:
    """The file knows the image by its id, which a changed version has from nobody else."""
    (tmp_path / "tags.json").write_text('{"train-000": ["green"], "train-001": []}')
    tagger = Recipe.of("methods.tag_file:TagFile", file=str(tmp_path / "tags.json"))
    world, teacher = Recipe.of("toy_learners:SplitBoxes", split="train"), Recipe.of("toy_learners:Brightest")
    rules = ProtocolSettings("given", tagger=tagger)
    run = Run("run", "T", "", teacher, "Boxes", world, rules, purpose=Labelling(LabelRule()))
    told = StoredLessons(LessonBook(run, {}))
    assert (told.ask("train-000", lessons.image("train-000")[2:, :5]) == 2).all()
    assert (told.ask("train-001", lessons.image("train-001")[2:, :5]) == 255).all()


def test_an_image_that_cannot_be_had_is_told_without_its_benchmark(lessons: StoredLessons) -> None:
    with pytest.raises(ValueError, match="invalid literal") as told:
        lessons.image("train-none")
    frames: list[Any] = []
    trace = told.value.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert not any(type(held).__name__ == "SplitBoxes" for frame in frames for held in frame.f_locals.values())
    lessons._masks = {"train-000": "/nowhere/0.png"}  # type: ignore[misc]
    with pytest.raises(DataError, match=r"The pseudo mask /nowhere/0\.png of train-000 cannot be read"):
        lessons.mask("train-000")


def test_the_threads_end_with_the_lessons() -> None:
    run = Run("run", "T", "", Recipe.of("a:B"), "Boxes", Recipe.of("a:C"), ProtocolSettings(),
              purpose=Labelling(LabelRule()))  # fmt: skip
    before = set(threading.enumerate())
    lessons = StoredLessons(LessonBook(run, {}))
    started = set(threading.enumerate()) - before
    assert started and {one.name for one in started} == {"lessons"}
    del lessons
    gc.collect()
    for one in started:
        one.join(300)
    assert not any(one.is_alive() for one in started)
