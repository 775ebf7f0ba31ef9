"""The lattice against sums over all pairs in double precision, its exact properties, and the points it is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.contracts import MethodError
from methods.permutohedral import PermutohedralFilter, _corners, _enclosing, _lifted

SIZE = (26, 37)


def all_pairs(features: np.ndarray) -> np.ndarray:
    """The kernel's own matrix, float64."""
    apart = features[:, None].astype(np.float64) - features[None]
    return np.exp(-0.5 * (apart**2).sum(axis=2))


def places(deviation: float) -> np.ndarray:
    return np.indices(SIZE).reshape(2, -1).T / deviation


def smooth_image(lots: np.random.Generator) -> np.ndarray:
    """(pixels, 3) on 0..255: two waves a colour, so that near pixels are alike."""
    y, x = np.indices(SIZE)
    waves = [
        np.sin(y * lots.uniform(0.05, 0.2) + lots.uniform(0, 6)) + np.cos(x * lots.uniform(0.05, 0.2)) for _ in range(3)
    ]
    return (np.stack(waves, axis=-1).reshape(-1, 3) + 2.0) * 63.75


def make_smooth(lots: np.random.Generator) -> np.ndarray:
    return np.concatenate([places(10), smooth_image(lots) / 30], axis=1)


def make_noisy(lots: np.random.Generator) -> np.ndarray:
    return np.concatenate([places(10), lots.random((SIZE[0] * SIZE[1], 3)) * 255 / 60], axis=1)


Make = Callable[[np.random.Generator], np.ndarray]
CASES: dict[str, tuple[Make, float, float]] = {  # features, the largest error, the least correlation
    "places": (lambda lots: places(3.0), 0.03, 0.999),
    "fine places": (lambda lots: places(1.0), 0.03, 0.999),
    "line": (lambda lots: np.sort(lots.random((500, 1)) * 30), 0.2, 0.997),
    "smooth image": (make_smooth, 0.2, 0.99),
    "noise": (make_noisy, 0.25, 0.98),
}


@pytest.mark.parametrize("case", CASES)
def test_normalised_sums_are_near_those_over_all_pairs(case: str, lots: np.random.Generator) -> None:
    """Relative error of the spread of values (their mean taken off, so that a filter that only averages fails).

    Measured over some hundred drawings, half of them and one in a hundred: 0.02 on places, 0.06 and 0.09 on lines
    (single random values are hardest to place), 0.05 and 0.09 on smooth images, and 0.02 more for each ten times fewer;
    0.146 on noise, never above 0.17, where of two neighbours of a corner 0.7 are lacking and what would pass is lost.
    """
    make, most, least = CASES[case]
    features = make(lots)
    values = np.stack([lots.random(len(features)), (np.arange(len(features)) > len(features) / 3) * 1.0], axis=1)
    matrix, lattice = all_pairs(features), PermutohedralFilter(features)
    expected = matrix @ values / matrix.sum(axis=1, keepdims=True)
    found = lattice(values) / lattice(np.ones((len(features), 1)))
    off = np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(axis=0))
    assert off < most
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > least


def test_sums_that_are_not_normalised_differ_by_one_factor(lots: np.random.Generator) -> None:
    """Away from the border, where every corner is there."""
    features = np.indices((40, 60)).reshape(2, -1).T / 4.0
    ratio = PermutohedralFilter(features)(np.ones((2400, 1)))[:, 0] / all_pairs(features).sum(axis=1)
    inner = ratio.reshape(40, 60)[14:-14, 14:-14]
    assert inner.std() / inner.mean() < 1e-3


@pytest.mark.parametrize("case", CASES)
def test_it_is_linear_symmetric_and_keeps_constants(case: str, lots: np.random.Generator) -> None:
    features = CASES[case][0](lots)
    lattice = PermutohedralFilter(features)
    left, right = lots.standard_normal((2, len(features), 3))
    mixed = lattice(2.5 * left - 0.5 * right)
    np.testing.assert_allclose(mixed, 2.5 * lattice(left) - 0.5 * lattice(right), rtol=0, atol=1e-9)
    here, there = left.T @ lattice(right), lattice(left).T @ right
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9 * np.abs(here).max())
    ones = lattice(np.ones((len(features), 1)))
    assert ones.min() > 0.0
    np.testing.assert_allclose(lattice(np.full((len(features), 1), 7.0)) / ones, 7.0, rtol=1e-12)


def test_order_of_points_and_columns_is_no_matter(lots: np.random.Generator) -> None:
    features, values = make_smooth(lots), lots.random((SIZE[0] * SIZE[1], 4))
    turn = lots.permutation(len(features))
    whole = PermutohedralFilter(features)(values)
    np.testing.assert_allclose(PermutohedralFilter(features[turn])(values[turn]), whole[turn], rtol=1e-9)
    np.testing.assert_array_equal(PermutohedralFilter(features)(values[:, 2:3].copy())[:, 0], whole[:, 2])
    single = PermutohedralFilter(features)(values.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, rtol=1e-5)


def test_points_are_the_weighted_means_of_their_corners(lots: np.random.Generator) -> None:
    for dimensions in (1, 2, 5):
        features = np.concatenate([lots.normal(0, 4, (200, dimensions)), np.zeros((1, dimensions))])
        base, rank, weights = _enclosing(features)
        corners = _corners(base, rank)
        whole = np.concatenate([corners, -corners.sum(axis=2, keepdims=True)], axis=2)
        lifted = _lifted(features)
        np.testing.assert_allclose((weights[:, :, None] * whole).sum(axis=1), lifted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
        assert weights.min() > -1e-9
        remainders = whole % (dimensions + 1)  # all coordinates of a corner leave the same one, its number
        assert (remainders == np.arange(dimensions + 1)[None, :, None]).all()
        apart = (dimensions + 1) ** 2 * 2 / 3 * ((features[:9] - features[9:18]) ** 2).sum(axis=1)
        np.testing.assert_allclose(((lifted[:9] - lifted[9:18]) ** 2).sum(axis=1), apart)


def test_too_many_places_are_refused() -> None:
    with pytest.raises(MethodError, match="features of 5 dimensions has too many places at these deviations"):
        PermutohedralFilter(np.array([[0.0] * 5, [1e5] * 5]))
