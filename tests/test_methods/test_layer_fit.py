"""Layer weights: the exact form against a dense solution, what is known beforehand, and any division of the work."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.contracts import MethodError
from methods import layer_fit
from methods.layer_fit import CrossEntropy, Gram, Positions, nonnegative, one_hot, ridge, softmax_ce, total

LAYERS, CLASSES = 5, 3


def images(rng: np.random.Generator, count: int) -> list[tuple[NDArray[np.float64], NDArray[np.int16]]]:
    """(maps, labels) of images with different numbers of classes and positions."""
    found = []
    for _ in range(count):
        classes, positions = int(rng.integers(1, CLASSES + 1)), int(rng.integers(20, 60))
        labels = rng.integers(-1, classes + 1, positions).astype(np.int16)
        found.append((rng.random((LAYERS, classes, positions)), labels))
    return found


def gram_of(maps: NDArray[np.float64], labels: NDArray[np.int16]) -> Gram:
    sure = labels >= 0
    return Gram.of(maps[..., sure], one_hot(labels[sure], maps.shape[1]))


Floats = NDArray[np.float64]


def stacked(held: list[tuple[Floats, NDArray[np.int16]]]) -> tuple[Floats, Floats]:
    """All positions and classes as one dense system."""
    rows, wanted = [], []
    for maps, labels in held:
        for position in np.flatnonzero(labels >= 0):
            for label in range(maps.shape[1]):
                rows.append(maps[:, label, position])
                wanted.append(float(labels[position] == label))
    return np.array(rows), np.array(wanted)


@pytest.mark.parametrize("strength", [0.0, 1e-3, 0.5])
def test_gram_fit_equals_the_dense_solution(rng: np.random.Generator, strength: float) -> None:
    held = images(rng, 12)
    gram = total(gram_of(*one) for one in held)
    matrix, wanted = stacked(held)
    penalty = strength * np.sum(matrix**2) / LAYERS
    rows = np.vstack([matrix, np.sqrt(penalty) * np.eye(LAYERS)])
    dense = np.linalg.lstsq(rows, np.concatenate([wanted, np.full(LAYERS, np.sqrt(penalty) / LAYERS)]), rcond=None)[0]
    weights = ridge(gram, strength)
    assert np.abs(weights - dense).max() < 1e-8
    assert gram.residual(weights) == pytest.approx(np.sum((matrix @ weights - wanted) ** 2), rel=1e-9)
    assert gram.count == len(wanted)


def test_nonnegative_equals_the_dense_nnls(rng: np.random.Generator) -> None:
    from scipy.optimize import nnls

    held = images(rng, 8)
    for maps, labels in held:
        maps[-1] = -one_hot(labels, maps.shape[1])  # a layer that is wrong everywhere
    dense = nnls(*stacked(held))[0]
    weights = nonnegative(total(gram_of(*one) for one in held), 0.0)
    assert weights.min() == 0.0 and np.abs(weights - dense).max() < 1e-6


def test_any_division_of_the_images_gives_the_same(rng: np.random.Generator) -> None:
    parts = [gram_of(*one) for one in images(rng, 20)]
    whole = ridge(total(parts), 1e-3)
    for workers in (2, 3, 7):
        sums = [total(parts[worker::workers]) for worker in range(workers)]
        assert np.abs(ridge(total(sums), 1e-3) - whole).max() < 1e-8
    assert np.array_equal(ridge(total(list(parts)), 1e-3), whole)  # images in the same order: the same bits


def test_a_layer_that_is_the_answer_gets_all_the_weight(rng: np.random.Generator) -> None:
    maps = rng.random((LAYERS, CLASSES, 200))
    labels = rng.integers(0, CLASSES, 200).astype(np.int16)
    maps[2] = one_hot(labels, CLASSES)
    unit = np.eye(LAYERS)[2]
    assert np.abs(ridge(gram_of(maps, labels), 0.0) - unit).max() < 1e-8
    weights, curve = softmax_ce([Positions(maps.astype(np.float16), labels)], CrossEntropy(steps=200))
    assert weights.argmax() == 2 and weights[2] > 0.9 and curve[-1] < curve[0]


def test_layers_that_are_equal_share_the_weight(rng: np.random.Generator) -> None:
    one = rng.random((CLASSES, 100))
    maps, labels = np.stack([one] * LAYERS), rng.integers(-1, CLASSES + 1, 100).astype(np.int16)
    weights = ridge(gram_of(maps, labels), 1e-2)
    assert np.ptp(weights) < 1e-10
    learned, _ = softmax_ce([Positions(maps.astype(np.float16), labels)], CrossEntropy(steps=20))
    assert learned == pytest.approx(np.full(LAYERS, 1 / LAYERS), abs=1e-6)


def test_a_class_of_its_own_weights_finds_the_layer_that_shows_it(rng: np.random.Generator) -> None:
    """Layer 0 shows class 0 and hides class 2, layer 1 the other way round; class 1 is in no image."""
    held = []
    for _ in range(6):
        labels = rng.integers(0, 3, 120).astype(np.int16)  # 2 is the background
        shown = one_hot(labels, 2)
        maps = 0.2 * rng.random((LAYERS, 2, 120))
        maps[0] += np.stack([shown[0], 1 - shown[1]])
        maps[1] += np.stack([1 - shown[0], shown[1]])
        held.append(Positions(maps.astype(np.float16), labels, np.array([0, 2])))
    how = CrossEntropy(steps=60)
    weights, curve = softmax_ce(held, how, classes=3)
    assert weights.shape == (3, LAYERS) and np.allclose(weights.sum(axis=1), 1.0)
    assert weights[0].argmax() == 0 and weights[2].argmax() == 1 and weights[[0, 2], [0, 1]].min() > 0.9
    assert np.array_equal(weights[1], np.full(LAYERS, 1 / LAYERS))
    together = softmax_ce([Positions(one.maps, one.labels) for one in held], how)
    assert curve[0] == pytest.approx(together[1][0], rel=1e-12) and curve[-1] < 0.5 * together[1][-1]


def test_one_class_of_its_own_weights_is_weights_for_all(rng: np.random.Generator) -> None:
    maps, labels = rng.random((LAYERS, 1, 90)).astype(np.float16), rng.integers(-1, 2, 90).astype(np.int16)
    alone, curve = softmax_ce([Positions(maps, labels, np.array([0]))], CrossEntropy(steps=30), classes=1)
    plain, same = softmax_ce([Positions(maps, labels)], CrossEntropy(steps=30))
    assert alone[0] == pytest.approx(plain, abs=1e-12) and curve == pytest.approx(same, rel=1e-12)


def test_cross_entropy_starts_at_the_plain_mean_by_an_independent_formula(rng: np.random.Generator) -> None:
    maps = rng.random((LAYERS, 2, 50)).astype(np.float16)
    labels = np.array([0, 1, 2, -1, 1] * 10, np.int16)  # 2 is the background, -1 unsure
    how = CrossEntropy(sharpness=4.0, level=0.3, rescale="none", steps=1)
    mean = maps.astype(np.float64).mean(axis=0)
    logits = 4.0 * np.vstack([mean, np.full((1, 50), 0.3)])
    sure = np.flatnonzero(labels >= 0)
    each = np.log(np.exp(logits).sum(axis=0))[sure] - logits[labels[sure], sure]
    assert softmax_ce([Positions(maps, labels)], how)[1][0] == pytest.approx(each.mean(), rel=1e-5)


def test_nothing_sure_is_refused() -> None:
    unsure = Positions(np.zeros((LAYERS, 2, 4), np.float16), np.full(4, -1, np.int16))
    with pytest.raises(MethodError, match="no position with a sure pseudo label"):
        softmax_ce([unsure], CrossEntropy())
    with pytest.raises(MethodError, match="no position with a sure pseudo label"):
        total([Gram.of(np.zeros((2, 1, 0)), np.zeros((1, 0)))])


def test_a_map_that_is_constant_but_for_rounding_says_nothing() -> None:
    level = np.full((1, 2, 4), 0.7, np.float32)
    level[0, 0, 0] = level[0, 1, 1] = np.nextafter(np.float32(0.7), np.float32(1))
    for flat in (np.full_like(level, 0.5), level):
        lesson = Positions(flat, np.array([0, 1, 0, 1], np.int16))
        _, curve = softmax_ce([lesson], CrossEntropy(steps=1, background=False, rescale="minmax"))
        assert curve[0] == pytest.approx(np.log(2))


def test_maps_that_are_zero_everywhere_are_refused() -> None:
    zero = gram_of(np.zeros((LAYERS, CLASSES, 40)), np.zeros(40, np.int16))
    with pytest.raises(MethodError, match="class maps are 0 wherever a pseudo label is sure"):
        total([zero, zero])


def test_nonnegative_weights_of_layers_that_are_alike(rng: np.random.Generator) -> None:
    """Many equal layers, of which one alone would do: no inverse exists, and the best sum of weights is still found."""
    one, labels = rng.random((CLASSES, 200)), rng.integers(0, CLASSES, 200).astype(np.int16)
    gram = total([gram_of(np.stack([one] * 160 + [0 * one]), labels)])
    alone = total([gram_of(one[None], labels)])
    weights = nonnegative(gram, 0.0)
    assert weights.min() >= 0 and weights[:160].sum() == pytest.approx(ridge(alone, 0.0)[0], rel=1e-6)


class Recalled(Sequence[Positions]):
    """Images that are made at every look; what is alive of them is counted in bytes."""

    def __init__(self, count: int, classes: int) -> None:
        self.count, self.classes, self.alive, self.most = count, classes, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> Positions:
        if place >= self.count:
            raise IndexError(place)
        rng = np.random.default_rng(place)
        classes = self.classes - place % 2
        maps = rng.random((LAYERS, classes, 64)).astype(np.float16)
        self.alive += maps.nbytes
        self.most = max(self.most, self.alive)
        weakref.finalize(maps, self._gone, maps.nbytes)
        return Positions(maps, rng.integers(-1, classes + 1, 64).astype(np.int16))

    def _gone(self, size: int) -> None:
        self.alive -= size


def test_maps_that_do_not_fit_are_read_anew_and_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Recalled(60, 30)
    how = CrossEntropy(steps=6)
    whole, curve = softmax_ce(images, how)
    size = LAYERS * 30 * 64 * 2
    assert images.most > 55 * size * 29 / 30
    monkeypatch.setattr(layer_fit, "HELD_BYTES", 4 * size)
    monkeypatch.setattr(layer_fit, "TOGETHER_BYTES", 5 * 4 * size)
    images = Recalled(60, 30)
    parts, told = softmax_ce(images, how)
    assert images.most <= (4 + 2) * size and told == pytest.approx(curve, rel=1e-9)
    assert np.abs(parts - whole).max() < 1e-9


@pytest.mark.parametrize(("layers", "classes"), [(16, 59), (16, 150), (128, 150)])
def test_many_names_stay_below_a_gigabyte(layers: int, classes: int) -> None:
    """Held in float16; two parts in float16, one of them in float64, and four times so inside products."""
    shape = (layers, classes, 1024)
    together = max(len(part) for part in layer_fit._portions(range(1464), shape))
    assert layer_fit.HELD_BYTES + together * math.prod(shape) * (2 + 2 + 8 + 32) < 1e9
