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
from harness.protocol.offering import Offer, offer
from harness.protocol.rules import PLAIN, of_lessons
from harness.protocol.views import tiling
from harness.recipes import loading
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


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"low": -0.2}, r"thresholds are above 0, or 0 for none, not -0\.2 and 0\.0"),
     ({"low": 0.7, "high": 0.3}, r"high, 0\.3, is below low, 0\.7: give a larger high, or 0 for none"),
     ({"low": 1.5}, r"thresholds for scaled scores \('minmax'\) are at most 1, not 1\.5 and 0\.0"),
     ({"high": 1.5}, r"are at most 1, not 0\.0 and 1\.5"),
     ({"below": "background"}, "teaches as background what is below low, and low is 0"),
     ({"below": "background", "high": 0.5}, "teaches as background what is below low, and low is 0")],
)  # fmt: skip
def test_thresholds_that_do_not_what_they_say_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        LabelRule(**settings)
    assert LabelRule(low=1.5, high=2.0, scale="none") and LabelRule(low=1.0) and LabelRule(low=0.5, high=0.5)


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


@pytest.mark.parametrize("rule", [LabelRule(unsure=0.3), LabelRule(low=0.2, unsure=0.3), LabelRule(unsure=0.6, low=0.1,
                         high=0.3, best="raw"), LabelRule(low=0.05, unsure=0.2, scale="none"), LabelRule()],
                         ids=["raw", "scaled", "best raw", "unscaled", "plain"])  # fmt: skip
def test_a_part_is_as_unsure_as_it_is_in_its_whole_image(rule: LabelRule) -> None:
    """The teacher looks at one pixel at a time, so a mask of a part is that part of the mask."""
    world = Recipe.of("patches:Patches", split="train", images=3)
    hues = Recipe.of("patches:Hues")
    run = Run("run", "T", "", hues, "W", world, ProtocolSettings("all"), purpose=Labelling(rule))
    told = StoredLessons(LessonBook(run, {}))
    for image_id in ("train-000", "train-001", "train-002"):
        image = told.image(image_id)
        whole = told.ask(image_id, image)
        for part in np.s_[:, :17], np.s_[:, 17:], np.s_[8:30, 5:40], np.s_[:2, :2]:
            assert np.array_equal(told.ask(image_id, np.ascontiguousarray(image[part])), whole[part])
    scores = loading.build(hues).segment(image, told.vocabulary).astype(np.float64)
    low, high = scores.min((1, 2), keepdims=True), scores.max((1, 2), keepdims=True)
    scaled = (scores - low) / np.where(high > low, high - low, 1) if rule.scales else scores  # a class is not there
    first, second = np.sort(scores if rule.best == "raw" else scaled, axis=0)[:-3:-1]
    where = (scores if rule.best == "raw" else scaled).argmax(axis=0)
    sure = np.take_along_axis(scaled, where[None], axis=0)[0] >= max(rule.low, rule.high)
    distance = (first - second).astype(np.float32)
    least = np.quantile(distance[sure], rule.unsure)
    clear = np.abs(distance - least) > 1e-6
    expected = np.where(sure & ((distance >= least) | (rule.unsure == 0)), where + 1, IGNORED)
    assert np.array_equal(whole[clear], expected[clear]) and clear.mean() > 0.2


@pytest.mark.parametrize("background", ["ignored", "class", "constant", "power", "hinge_power", "prompts",
                                        "prompts_constant"])  # fmt: skip
def test_what_lessons_do_not_know_of_a_protocol_changes_no_mask(background: str, rng: np.random.Generator) -> None:
    """Neither what is offered, nor the mask of scores or of a label map, nor what knows a background."""
    written = ProtocolSettings("all", background, threshold=0.83, power=3.5, scale="softmax", logit_scale=7.0,
                               area_thd=0.4, context=("wall", "floor"), resize="short", size=20)  # fmt: skip
    kept = of_lessons(written)
    names = (("circle",), ("square",), ("star",))
    offers = [offer((1, 3), names, one) for one in (written, kept)]
    assert offers[0] == offers[1] and of_lessons(kept) == kept and kept.threshold == ProtocolSettings().threshold
    places, cut = len(offers[0].numbers), tiling((9, 14), ProtocolSettings())
    scores = torch.tensor(rng.normal(size=(places, 9, 14)).astype(np.float32))
    labels = rng.integers(-1, places, (9, 14))
    for rule, answer in ((LabelRule(), scores), (LabelRule(low=0.3, unsure=0.2), scores), (LabelRule(), labels)):
        masks = [lesson([answer], cut, offers[0], (9, 14), one, rule) for one in (written, kept)]
        assert np.array_equal(*masks)
    books = [StoredLessons(LessonBook(Run("run", "T", "", MASKCLIP, "S", MASKCLIP, one, purpose=Labelling(LabelRule())),
                                      {})) for one in (written, kept)]  # fmt: skip
    assert books[0].background == books[1].background


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
    assert Student(teacher="T", label_unsure=0.2).edition == 2
    assert Student(teacher="T", label_unsure=0.2, pseudo="same_crop").edition == 3


def test_ids_of_lessons_without_a_threshold_are_new_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(CHAIN)
    with as_it_was(tmp_path, PLUGINS):
        sys.path.append(str(PLUGINS))
        grid = grids.read_grid(tmp_path / "grid.yaml")
        fits = {fit.method_name: fit.labels.record for fit in plans.make("x", grid.cells, grid.batch).fits}
    assert fits["Gains"]["plain"] == PLAIN and "stretch" not in fits["Gains"]
    assert "plain" not in fits["Plus"] and "plain" not in fits["PlusPlus"]
