"""When a pixel is taught: by raw scores without a threshold, by scaled ones with one, a crop as its whole image."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import PLUGINS, as_it_was
from numpy.typing import NDArray
from torch.nn.functional import interpolate
from toy_chain import CHAIN

from benchmarks.shapes import Shapes
from harness.contracts import (
    IGNORED,
    WIDE_IGNORED,
    Labelling,
    LabelRule,
    MethodError,
    ProtocolSettings,
    Recipe,
    Run,
    Vocabulary,
)
from harness.grid import reading as grids
from harness.learning.lessons import LessonBook, StoredLessons
from harness.planning import plan as plans
from harness.protocol import planes
from harness.protocol.offering import Offer
from harness.protocol.rules import PLAIN
from harness.protocol.views import tiling
from harness.work.lesson_masks import lesson
from methods.student import Student

WINDOWED = ProtocolSettings(resize="short", size=60, window=48, stride=32)


def lessons(rule: LabelRule, teacher: Recipe, rules: ProtocolSettings, split: str = "train") -> StoredLessons:
    world = Recipe.of("benchmarks.shapes:Shapes", split=split, images=20)
    return StoredLessons(LessonBook(Run("run", "T", "", teacher, "S", world, rules, purpose=Labelling(rule)), {}))


MASKCLIP = Recipe.of("methods.maskclip:MaskCLIP", model="shapes")


def mask_of(scores: Any, rule: LabelRule, numbers: tuple[int, ...] = (3, 5)) -> list[list[int]]:
    offered = Offer(Vocabulary(tuple((str(number),) for number in numbers)), numbers)
    given = torch.tensor(scores, dtype=torch.float32)
    height, width = given.shape[1:]
    cut = tiling((height, width), ProtocolSettings())
    return lesson([given], cut, offered, (height, width), ProtocolSettings(), rule).tolist()


def test_the_plain_rule_is_the_best_raw_score() -> None:
    """Scaled, the second class wins where its small range has its largest value."""
    scores = [[[5.0, 9.0, 3.0]], [[4.9, 5.0, 5.1]]]
    assert mask_of(scores, LabelRule()) == [[3, 3, 5]]
    assert mask_of([[[5.0, 9.0, 3.0]], [[4.9, 4.8, 4.7]]], LabelRule(low=0.01)) == [[5, 3, WIDE_IGNORED]]
    assert mask_of([[[-5.0, -9.0, -3.0]], [[-5.1, -4.0, -4.0]]], LabelRule()) == [[3, 5, 3]]
    assert mask_of([[[-5.0, -9.0, -3.0]], [[-5.1, -4.0, -4.0]]], LabelRule(scale="none")) == [[3, 5, 3]]


def test_a_class_chosen_by_raw_scores_is_sure_by_its_scaled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled: 0.8, 1, 0, 0.6 and 0, 0.25, 1, 0.5. The last pixel's best raw score is not its best scaled one."""
    scores = [[[5.0, 6.0, 1.0, 4.0]], [[1.0, 2.0, 5.0, 3.0]]]
    rule = LabelRule(low=0.7, best="raw", below="background")
    assert mask_of(scores, rule) == [[3, 3, 5, 0]] and mask_of(scores, replace(rule, low=0.6)) == [[3, 3, 5, 3]]
    louder = [[[5.0, 6.0, 1.0, 4.0]], [[1.0, 2.0, 3.0, 2.9]]]  # scaled: 0, 0.5, 1, 0.95
    banded = LabelRule(low=0.5, high=0.7, best="raw", below="background")
    assert mask_of(louder, banded) == [[3, 3, 5, WIDE_IGNORED]]
    assert mask_of(louder, replace(banded, best="scaled")) == [[3, 3, 5, 5]]
    rng = np.random.default_rng(0)
    many, numbers = rng.normal(size=(7, 5, 8)).astype(np.float32), (2, 3, 5, 8, 9, 11, 12)
    low, high = many.min((1, 2), keepdims=True), many.max((1, 2), keepdims=True)
    where = many.argmax(axis=0)
    own = np.take_along_axis((many - low) / (high - low), where[None], axis=0)[0]
    expected = np.where(own < 0.5, 0, np.where(own < 0.8, WIDE_IGNORED, np.array(numbers)[where]))
    for elements in (1, 80, 2**24):  # one class at a time, two, all
        monkeypatch.setattr(planes, "_SLICE_ELEMENTS", elements)
        assert np.array_equal(mask_of(many, LabelRule(0.5, 0.8, "minmax", "background", best="raw"), numbers), expected)


def test_raw_scores_choose_only_where_others_are_scaled() -> None:
    assert "best" not in LabelRule(low=0.5).facts() and LabelRule(low=0.5, best="raw").facts()["best"] == "raw"
    for settings in ({"best": "raw"}, {"best": "raw", "low": 0.5, "scale": "none"}, {"best": "loud", "low": 0.5}):
        with pytest.raises(MethodError, match="best class is by 'scaled' scores or, where a threshold has them scaled"):
            LabelRule(**settings)
    taught = Student(teacher="T", label_low=0.5, label_best="raw")
    assert taught.rule.best == "raw" and "label_best" not in taught.idle
    assert "label_best" in Student(teacher="T", label_low=0.5).idle


def test_a_share_of_unsure_pixels_needs_no_scale() -> None:
    """Distances 0.1, 4, 0.3: the least sure third is left out."""
    assert mask_of([[[5.0, 9.0, 5.0]], [[4.9, 5.0, 5.3]]], LabelRule(unsure=0.3)) == [[WIDE_IGNORED, 3, 5]]


def test_thresholds_below_zero_are_refused() -> None:
    with pytest.raises(MethodError, match=r"thresholds are above 0, or 0 for none, not -0\.2 and 0\.0"):
        LabelRule(low=-0.2)


def halves(split: str = "train") -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """The left halves of images, and of their truths."""
    world, found = Shapes(split, images=20), []
    for image_id in world.ids():
        sample = world.load(image_id)
        middle = sample.image.shape[1] // 2
        found.append((image_id, np.ascontiguousarray(sample.image[:, :middle]), sample.truth[:, :middle]))
    return found


def raw_scores(told: StoredLessons, image_id: str, image: NDArray[np.uint8]) -> tuple[Any, NDArray[np.int64]]:
    """What the teacher says of an image, asked here, and the numbers of the positions."""
    offered = told._shown.offered(image_id)
    (answer,) = told._answers(image_id, image, tiling(image.shape[:2], ProtocolSettings()), offered)
    return answer.double(), np.array(offered.numbers)


def enlarged(scores: Any, size: tuple[int, int]) -> Any:
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize(("vocabulary", "gain"), [("present", 0.03), ("all", 0.15)])
def test_a_crop_that_shows_half_of_an_image_is_taught_by_raw_scores(vocabulary: str, gain: float) -> None:
    told = lessons(LabelRule(), MASKCLIP, ProtocolSettings(vocabulary))
    right, scaled, pixels = 0, 0, 0
    for image_id, image, truth in halves():
        scores, numbers = raw_scores(told, image_id, image)
        mask = told.ask(image_id, image)
        best = enlarged(scores, truth.shape).topk(min(2, len(numbers)), dim=0)
        clear = (best.values[0] - best.values[-1] > 1e-5).numpy() | (len(numbers) == 1)
        assert np.array_equal(mask[clear], numbers[best.indices[0].numpy()][clear]) and clear.mean() > 0.99
        low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
        by_itself = numbers[enlarged((scores - low) / (high - low), truth.shape).argmax(dim=0).numpy()]
        objects = (truth > 0) & (truth < IGNORED)
        right, pixels = right + int((mask == truth)[objects].sum()), pixels + int(objects.sum())
        scaled += int((by_itself == truth)[objects].sum())
    assert right / pixels > scaled / pixels + gain


@pytest.mark.parametrize("rules", [ProtocolSettings(), WINDOWED], ids=["whole", "windows"])
def test_a_threshold_on_a_crop_means_what_it_means_on_the_whole_image(rules: ProtocolSettings) -> None:
    """Asked about the whole image, the mask is that of the label step; about a half, its scale is the whole image's."""
    rule = LabelRule(low=0.4, high=0.6, below="background")
    told = lessons(rule, MASKCLIP, rules)
    image_id, image, _ = halves()[1]
    whole = told.image(image_id)
    scores, numbers = raw_scores(told, image_id, image)
    cut = tiling(whole.shape[:2], rules)
    offered = told._shown.offered(image_id)
    answers = told._answers(image_id, whole, cut, offered)
    total, count = torch.zeros(len(numbers), *cut.size, dtype=torch.float64), torch.zeros(cut.size)
    for box, answer in zip(cut.boxes, answers, strict=True):
        place = (..., slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
        total[place] += enlarged(answer.double(), (box.height, box.width))
        count[place] += 1
    seen = total / count if len(answers) > 1 else answers[0].double()
    low, high = seen.amin((1, 2), keepdim=True), seen.amax((1, 2), keepdim=True)
    scaled = enlarged((scores - low) / (high - low), image.shape[:2])
    best = scaled.amax(dim=0).numpy()
    expected = np.where(best < 0.4, 0, np.where(best < 0.6, IGNORED, numbers[scaled.argmax(dim=0).numpy()]))
    assert (told.ask(image_id, image) == expected).mean() > 0.999
    if rules is not WINDOWED:
        stored = lesson(answers, cut, offered, whole.shape[:2], rules, rule)
        stored = np.where(stored == WIDE_IGNORED, IGNORED, stored)
        assert np.array_equal(told.ask(image_id, whole), stored)


def test_a_teacher_that_refines_teaches_refined_masks() -> None:
    """By PAMR around MaskCLIP: its spreading is held to a loop over pixels elsewhere."""
    from methods.pamr import affinities, spread

    rules = ProtocolSettings(vocabulary="all")
    refines = Recipe.of("methods.pamr:PAMR", method="methods.maskclip:MaskCLIP(model=shapes)")
    plain, refined = lessons(LabelRule(), MASKCLIP, rules), lessons(LabelRule(), refines, rules)
    image_id, image, _ = halves()[0]
    scores, numbers = raw_scores(plain, image_id, image)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    large = enlarged(scores, (image.shape[0], image.shape[1]))
    by_hand = numbers[
        spread(torch.as_tensor(large).float(), affinities(pixels, (8, 16)), (8, 16), 10).argmax(0).numpy()
    ]
    assert (refined.ask(image_id, image) == by_hand).mean() > 0.999
    assert (plain.ask(image_id, image) != by_hand).mean() > 0.01


def test_an_image_without_an_offer_teaches_nothing_when_it_is_asked_about() -> None:
    told = lessons(LabelRule(), MASKCLIP, ProtocolSettings())
    image = np.zeros((40, 56, 3), np.uint8)
    told._shown.offered = lambda _: Offer(Vocabulary(()), ())  # type: ignore[method-assign]
    assert (told.ask("train-000000", image) == IGNORED).all()


def test_the_edition_rises_where_numbers_changed_alone() -> None:
    taught = Student(teacher="T", label_low=0.5, label_below="background")
    assert taught.edition == replace(taught, pseudo="same_crop", label_scale="none").edition == 1
    assert replace(taught, pseudo="same_crop").edition == Student(teacher="T").edition == 2


def test_ids_of_lessons_without_a_threshold_are_new_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(CHAIN)
    with as_it_was(tmp_path, PLUGINS):
        sys.path.append(str(PLUGINS))
        grid = grids.read_grid(tmp_path / "grid.yaml")
        fits = {fit.method_name: fit.labels.record for fit in plans.make("x", grid.cells, grid.batch).fits}
    assert fits["Gains"]["plain"] == PLAIN and "stretch" not in fits["Gains"]
    assert "plain" not in fits["Plus"] and "plain" not in fits["PlusPlus"]
