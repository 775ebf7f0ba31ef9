"""Every rule of the protocol against a loop over pixels in float64, on scores that are enlarged unevenly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from by_hand import enlarged

from harness.contracts import WIDE_IGNORED, LabelRule, MethodError, ProtocolSettings, Vocabulary
from harness.protocol import offering
from harness.protocol.decision import predict
from harness.protocol.offering import numbers_of
from harness.protocol.rules import scale_of, stretches

NAMES = (("cat",), ("dog", "hound"), ("tree",))
SIZE = (11, 17)


def expected(scores: np.ndarray, numbers: tuple[int, ...], rules: ProtocolSettings) -> tuple[np.ndarray, np.ndarray]:
    """The predicted map, and how far every pixel is from being decided otherwise."""
    scores = scores.astype(np.float64)
    scored = rules.background in ("constant", "power", "hinge_power", "prompts_constant")
    if scored and rules.scale == "minmax":
        for plane in scores:
            low, high = plane.min(), plane.max()
            plane[:] = (plane - low) / (high - low)
    large = enlarged(scores, SIZE)
    found, gap = np.zeros(SIZE, int), np.zeros(SIZE)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            values = large[:, y, x].tolist()
            if scored and rules.scale == "softmax":
                powers = [math.exp(rules.logit_scale * value) for value in values]
                values = [power / sum(powers) for power in powers]
            ranked = sorted(values, reverse=True)
            m = ranked[0]
            found[y, x], gap[y, x] = numbers[values.index(m)], m - ranked[1]
            b = {
                "constant": rules.threshold, "prompts_constant": rules.threshold,
                "power": max(0.0, 1 - m) ** rules.power, "hinge_power": (2 * rules.threshold - m) ** 2,
            }.get(rules.background)  # fmt: skip
            if b is not None:
                found[y, x] = 0 if b > m else found[y, x]
                gap[y, x] = min(gap[y, x], abs(b - m))
    return found, gap


@pytest.mark.parametrize("scale", ["minmax", "softmax", "none"])
@pytest.mark.parametrize(
    "rule", ["ignored", "class", "constant", "power", "hinge_power", "prompts", "prompts_constant"]
)
def test_a_rule_equals_its_formula_pixel_by_pixel(
    rule: str, scale: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = ProtocolSettings(
        "all", rule, threshold=0.45, power=1.5, scale=scale, logit_scale=3.0, context=("sky", "road"),
        background_names=("background", "nothing"),
    )  # fmt: skip
    offered = offering.offer((1, 2, 3), NAMES, rules)
    scores = rng.random((len(offered.vocabulary), 4, 5)).astype(np.float32)
    wanted, gap = expected(scores, offered.numbers, rules)
    sure = gap > 1e-5
    assert sure.mean() > 0.9
    for elements in (2**24, 1, 2 * SIZE[0] * SIZE[1]):
        monkeypatch.setattr("harness.protocol.planes._SLICE_ELEMENTS", elements)
        assert (predict(scores, offered, SIZE, rules) == wanted)[sure].all()


@pytest.mark.parametrize(
    ("rules", "edge"),  # the m at which the background's score is m, solved by hand
    [
        (ProtocolSettings("all", "constant", threshold=0.3, scale="none"), 0.3),
        (ProtocolSettings("all", "power", scale="none"), 0.381966),
        (ProtocolSettings("all", "power", power=1.0, scale="none"), 0.5),
        (ProtocolSettings("all", "hinge_power", scale="none"), 0.381966),
        (ProtocolSettings("all", "hinge_power", threshold=0.35, scale="none"), 0.2253),
    ],
)
def test_where_a_rule_turns(rules: ProtocolSettings, edge: float) -> None:
    offered = offering.offer((1, 2, 3), NAMES, rules)
    scores = np.zeros((3, 1, 3), np.float32)
    scores[1, 0] = edge - 1e-4, edge + 1e-4, 1.2
    assert predict(scores, offered, (1, 3), rules).tolist() == [[0, 2, 2]]


def test_a_map_that_is_constant_but_for_rounding_is_no_evidence() -> None:
    rules = ProtocolSettings(background="constant", threshold=0.5)
    scores = torch.full((2, 3, 4), 0.7)
    scores[0, 1] = torch.nextafter(scores[0, 1], torch.ones(4))
    scores[1, 2, :2] = 0.9
    assert predict(scores, offering.offer((1, 2), NAMES[:2], rules), (3, 4), rules).tolist() == [
        [0] * 4,
        [0] * 4,
        [2, 2, 0, 0],
    ]
    assert scale_of(rules) == "minmax" and stretches(rules, None)
    assert not stretches(ProtocolSettings(background="ignored"), None)
    assert stretches(ProtocolSettings(), LabelRule(low=0.5)) and not stretches(rules, LabelRule(low=0.5, scale="none"))
    assert not stretches(rules, LabelRule()) and not stretches(rules, LabelRule(unsure=0.1))


def test_softmax_of_large_scores_does_not_overflow() -> None:
    rules = ProtocolSettings("all", "constant", threshold=0.5, scale="softmax", logit_scale=100.0)
    offered = offering.offer((1, 2, 3), NAMES, rules)
    scores = np.array([[[90.0, 90.0]], [[90.0, 10.0]], [[90.0, -90.0]]], np.float32)
    assert predict(scores, offered, (1, 2), rules).tolist() == [[0, 1]]


def test_the_background_as_a_class_is_one_position_with_synonyms_and_always_offered() -> None:
    rules = ProtocolSettings(background="class", background_names=("background", "sky"))
    offered = offering.offer((2,), NAMES, rules)
    assert offered.vocabulary == Vocabulary(
        (("dog", "hound"), ("background", "sky")), (("cat",), ("tree",)), background=1
    )
    assert offered.numbers == (2, 0) and offered.tells_apart
    empty = offering.offer((), NAMES, rules)
    assert empty.numbers == (0,) and not empty.tells_apart
    assert predict(None, empty, SIZE, rules).tolist() == np.zeros(SIZE).tolist()


def test_words_of_context_are_positions_of_their_own_that_count_as_background() -> None:
    rules = ProtocolSettings(background="prompts", context=("sky", "road"))
    offered = offering.offer((1, 3), NAMES, rules)
    assert offered.vocabulary.words == ("cat", "tree", "sky", "road") and offered.vocabulary.background is None
    assert offered.numbers == (1, 3, 0, 0) and offered.vocabulary.context == (2, 3)
    scores = np.eye(4, dtype=np.float32)[:, None, :]
    assert predict(scores, offered, (1, 4), rules).tolist() == [[1, 3, 0, 0]]
    assert predict(np.array([[3, 1, -1]]), offered, (1, 3), rules).tolist() == [[0, 3, 0]]


def test_nothing_offered_is_no_class_where_the_background_is_not_scored() -> None:
    rules = ProtocolSettings("predicted")
    assert (predict(None, offering.offer((), NAMES, rules), SIZE, rules) == WIDE_IGNORED).all()


class Says:
    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, []

    def tags(self, image: np.ndarray, vocabulary: Vocabulary) -> object:
        self.asked.append(vocabulary)
        return self.answer


def test_a_tagger_is_asked_for_all_classes_and_its_positions_become_numbers_in_order() -> None:
    rules = ProtocolSettings("predicted", "class", templates=("a {}",))
    says = Says([np.int64(2), 0, 2])
    assert offering.tagged(says, np.zeros((2, 3, 3), np.uint8), NAMES, rules) == (1, 3)
    assert says.asked == [Vocabulary(NAMES, templates=("a {}",))]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([3], "position 3; it was offered 3 classes"),
        ([-1], "position -1"),
        (["cat"], "whole numbers"),
        (7, "7"),
        ([0.5], "whole numbers"),
    ],
)
def test_a_tagger_that_gives_no_positions_gets_a_sentence(answer: object, words: str) -> None:
    with pytest.raises(MethodError) as caught:
        offering.tagged(Says(answer), np.zeros((2, 3, 3), np.uint8), NAMES, ProtocolSettings("predicted"))
    assert words in str(caught.value)


def test_presence_equals_what_numpy_finds(rng: np.random.Generator) -> None:
    truth = rng.choice([0, 2, 7, 150, 255], (9, 14)).astype(np.uint8)
    assert numbers_of(truth, 150, ProtocolSettings()) == tuple(int(k) for k in np.unique(truth) if 0 < k < 255)
