"""The protocol and the counting, against formulas written out."""

import numpy as np
import pytest
import torch

from harness.contracts import MOST_CLASSES, WIDE_IGNORED, MethodError, ProtocolSettings, widened
from harness.protocol import offering
from harness.protocol.decision import predict
from harness.protocol.offering import Offer, numbers_of, scored_truth
from harness.work.scoring import overlaps

NAMES = [("cat",), ("dog", "hound"), ("tree",)]
PRESENT = ProtocolSettings()
ALL = ProtocolSettings(vocabulary="all")
CONSTANT = ProtocolSettings(background="constant", threshold=0.5)


def offer(truth: np.ndarray, names: list[tuple[str, ...]], settings: ProtocolSettings) -> Offer:
    return offering.offer(numbers_of(truth, len(names), settings), tuple(names), settings)


def truth_of(*rows: list[int]) -> np.ndarray:
    return widened(np.array(rows, np.uint8))


def test_present_classes_are_offered_in_order_and_ignored_pixels_are_not_present() -> None:
    offered = offer(truth_of([3, 0, 255], [1, 1, 255]), NAMES, PRESENT)
    assert offered.vocabulary.words == ("cat", "tree") and offered.numbers == (1, 3)
    assert offered.vocabulary.others == (("dog", "hound"),)
    assert offer(truth_of([0, 255]), NAMES, ALL).vocabulary.names == tuple(NAMES)
    assert len(offer(truth_of([0, 255]), NAMES, PRESENT).vocabulary) == 0


def test_scores_are_enlarged_before_the_decision_and_positions_become_class_numbers(rng: np.random.Generator) -> None:
    offered = offer(truth_of([3, 0, 1, 2]), NAMES, ALL)
    scores = rng.normal(size=(3, 5, 7))
    expected = torch.nn.functional.interpolate(torch.tensor(scores)[None], (33, 20), mode="bilinear")[0].argmax(0) + 1
    got = predict(scores.astype(np.float32), offered, (33, 20), ALL)
    assert (got == expected.numpy()).mean() > 0.99 and got.shape == (33, 20) and got.dtype == np.uint16


def test_slices_of_classes_decide_like_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(3, 6, 9)
    offered = offer(truth_of([1, 2, 3]), NAMES, ALL)
    whole = predict(scores, offered, (13, 8), CONSTANT)
    monkeypatch.setattr("harness.protocol.planes._SLICE_ELEMENTS", 1)
    assert (predict(scores, offered, (13, 8), CONSTANT) == whole).all()


def test_constant_background_is_a_threshold_on_scores_scaled_per_class() -> None:
    offered = offer(truth_of([1, 2]), NAMES, CONSTANT)
    scores = np.array([[[0.0, 10.0, 4.0]], [[7.0, 7.0, 7.0]]], np.float32)  # the second class is constant: all 0
    assert predict(scores, offered, (1, 3), CONSTANT).tolist() == [[0, 1, 0]]


def test_label_maps_pass_unchanged_and_no_class_is_the_background_where_it_is_scored() -> None:
    offered = offer(truth_of([1, 3]), NAMES, PRESENT)
    labels = np.array([[0, 1, -1]])
    assert predict(labels, offered, (1, 3), PRESENT).tolist() == [[1, 3, WIDE_IGNORED]]
    assert predict(labels, offered, (1, 3), CONSTANT).tolist() == [[1, 3, 0]]


def test_an_image_without_classes_is_all_background() -> None:
    offered = offer(truth_of([0, 255]), NAMES, CONSTANT)
    assert (predict(None, offered, (1, 2), CONSTANT) == 0).all()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "NoneType"),
        (np.zeros((2, 3)), "type float64"),
        (np.zeros((3, 2), int), "label map of (3, 2); the image is (2, 3)"),
        (np.full((2, 3), 2), "labels from 2 to 2; it was offered 2 classes"),
        (np.full((2, 3), -2), "labels from -2"),
        (np.zeros((3, 4, 4), np.float32), "shape (3, 4, 4); it was offered 2 classes"),
        (np.zeros((2, 0, 4), np.float32), "shape (2, 0, 4)"),
        (np.zeros((2, 4, 4), int), "expected floating point"),
        (np.full((2, 4, 4), np.nan, np.float32), "not finite"),
    ],
)
def test_a_broken_answer_gives_its_sentence(answer: object, words: str) -> None:
    offered = offer(truth_of([1, 3]), NAMES, PRESENT)
    with pytest.raises(MethodError) as caught:
        predict(answer, offered, (2, 3), PRESENT)
    assert words in str(caught.value)


def test_ignored_background_is_not_scored() -> None:
    truth = truth_of([0, 1, 255])
    assert scored_truth(truth, PRESENT).tolist() == [[WIDE_IGNORED, 1, WIDE_IGNORED]]
    assert scored_truth(truth, CONSTANT).tolist() == truth.tolist()


@pytest.mark.parametrize("classes", [20, 150, 254, 255, 256, 1000, MOST_CLASSES])
def test_overlaps_equal_a_count_pixel_by_pixel(rng: np.random.Generator, classes: int) -> None:
    truth = rng.integers(0, classes + 1, (31, 47)).astype(np.uint16)
    truth[rng.random(truth.shape) < 0.2] = WIDE_IGNORED
    predicted = rng.integers(0, classes + 1, truth.shape).astype(np.uint16)
    truth[1], predicted[1] = classes, classes
    predicted[0] = WIDE_IGNORED
    expected: dict[tuple[int, int], int] = {}
    for t, p in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if t != WIDE_IGNORED:
            expected[t, p] = expected.get((t, p), 0) + 1
    counts = overlaps(truth, predicted)
    found = list(zip(counts.true.tolist(), counts.predicted.tolist(), strict=True))
    assert dict(zip(found, counts.pixels.tolist(), strict=True)) == expected
    assert found == sorted(expected)


@pytest.mark.parametrize("predicted", [0, 1, MOST_CLASSES, WIDE_IGNORED])
@pytest.mark.parametrize("truth", [0, 1, MOST_CLASSES, WIDE_IGNORED])
def test_overlaps_of_one_class_everywhere(truth: int, predicted: int) -> None:
    counts = overlaps(np.full((2, 3), truth, np.uint16), np.full((2, 3), predicted, np.uint16))
    scored = [[truth], [predicted], [6]] if truth != WIDE_IGNORED else [[], [], []]
    assert [one.tolist() for one in counts] == scored
    assert all(one.dtype == np.int64 for one in counts)


def test_changing_predictions_on_ignored_pixels_changes_nothing() -> None:
    truth = truth_of([1, 255, 2])
    one, other = overlaps(truth, truth_of([1, 1, 2])), overlaps(truth, truth_of([1, 9, 2]))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="equal sizes"):
        overlaps(truth_of([1, 2]), truth_of([1]))
