"""Positions in a feature space flow in; a filter flows out that sums values with Gaussian weights of their distance.

Numpy and scipy's sparse products alone: one thread, no BLAS, so the bits never depend on a number of threads.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from harness.contracts import MethodError

Floats = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]


class PermutohedralFilter:
    """sum over q of exp(-|f_p - f_q|^2 / 2) v_q for all p, about, and up to one factor (Adams, Baek and Davis 2010).

    The d features are laid into the d-dimensional lattice of all permutations of (0, 1 .. d), scaled such that what
    splatting, blurring and slicing spread together has the variance 1. Values are splatted on the d + 1 corners around
    their point (barycentric weights), blurred along the d + 1 axes, and sliced by the same weights. Corners that touch
    no point do not exist, as in the authors' code.

    K = (S B S' + S B' S') / 2, S the slicing and B the blurs in order: with missing corners the blurs do not commute,
    and either order alone would not be symmetric. So <x, K y> = <K x, y> holds, as the kernel's own matrix does.
    """

    def __init__(self, features: Floats) -> None:
        """features: (points, d), in units of the kernel's deviation. MethodError when they reach too far."""
        base, rank, weights = _enclosing(features)
        codes, steps = _codes(_corners(base, rank))
        self.corners, places = np.unique(codes, return_inverse=True)
        self.steps = steps
        points, around = weights.shape
        ends = np.arange(points + 1) * around
        shape = (points, len(self.corners))
        self.slice = sparse.csr_matrix((weights.astype(np.float32).ravel(), places.ravel(), ends), shape=shape)
        self.splat = self.slice.T.tocsr()

    def __call__(self, values: Floats) -> Floats:
        """Values (points, columns) -> the weighted sums, in the same shape and in the values' own precision."""
        there = back = self.splat @ values
        for forth in range(len(self.blurs)):
            there, back = self.blurs[forth] @ there, self.blurs[-1 - forth] @ back
        found: Floats = self.slice @ ((there + back) * values.dtype.type(0.5))
        return found

    @cached_property
    def blurs(self) -> list[Any]:
        """One symmetric matrix an axis: half of a corner, a quarter of either neighbour where it exists."""
        size = len(self.corners)
        return [self._blur(step, size) for step in self.steps]

    def _blur(self, step: int, size: int) -> Any:
        place = np.minimum(np.searchsorted(self.corners, self.corners + step), size - 1)
        (here,) = np.nonzero(self.corners[place] == self.corners + step)
        quarters = np.full(len(here), 0.25, np.float32)
        ahead = sparse.csr_matrix((quarters, (here, place[here])), shape=(size, size))
        return (ahead + ahead.T + sparse.identity(size, np.float32, "csr") * np.float32(0.5)).tocsr()


def _enclosing(features: Floats) -> tuple[Whole, Whole, Floats]:
    """The simplex around every point: its corner of remainder 0 and the rank of every coordinate, both
    (points, d + 1), and the barycentric weights of its corners, those of remainder 0 .. d."""
    around = features.shape[1] + 1
    lifted = _lifted(features.astype(np.float64))
    base = np.rint(lifted / around).astype(np.int64)
    excess = base.sum(axis=1, keepdims=True)
    base *= around
    order = np.argsort(base - lifted, axis=1, kind="stable")  # largest difference first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(around), order.shape), axis=1)
    rank += excess  # rounding left the plane: the coordinates that were rounded furthest go one step back
    step = (rank < 0).astype(np.int64) - (rank >= around)
    rank += step * around
    base += step * around
    falling = np.empty_like(lifted)
    np.put_along_axis(falling, rank, (lifted - base) / around, axis=1)
    first = 1.0 + falling[:, -1:] - falling[:, :1]
    return base, rank, np.concatenate([first, (falling[:, :-1] - falling[:, 1:])[:, ::-1]], axis=1)


def _lifted(features: Floats) -> Floats:
    """(points, d) -> (points, d + 1), turned into the plane of coordinates that sum to 0, in the lattice's units.

    A deviation of 1 becomes (d + 1) sqrt(2 / 3): the blurs' variance is (d + 1)^2 / 2, splatting and slicing add
    (d + 1)^2 / 12 each.
    """
    dimensions = features.shape[1]
    lifted = np.zeros((len(features), dimensions + 1))
    for axis in range(dimensions):
        scaled = features[:, axis] * ((dimensions + 1) * np.sqrt(2.0 / 3.0 / ((axis + 1) * (axis + 2))))
        lifted[:, : axis + 1] += scaled[:, None]
        lifted[:, axis + 1] -= (axis + 1) * scaled
    return lifted


def _corners(base: Whole, rank: Whole) -> Whole:
    """(points, d + 1 corners, d coordinates); the last coordinate follows from the others."""
    around = base.shape[1]
    remainder = np.arange(around)[:, None]
    shift = np.where(np.arange(around) < around - remainder, remainder, remainder - around)  # (corner, rank)
    return base[:, None, :-1] + shift[np.arange(around)[:, None], rank[:, None, :-1]]


def _codes(corners: Whole) -> tuple[Whole, list[int]]:
    """One whole number a corner, and what a step along every axis adds to it. Room for a step is left at both ends."""
    dimensions = corners.shape[2]
    low = corners.min(axis=(0, 1)) - dimensions - 1
    extents = corners.max(axis=(0, 1)) + dimensions + 2 - low
    places = [int(np.prod(extents[axis + 1 :], dtype=object)) for axis in range(dimensions)]
    if places[0] * int(extents[0]) >= 2**63:
        raise MethodError(
            f"An image with features of {dimensions} dimensions has too many places at these deviations; "
            "make the deviations larger, or the image smaller."
        )
    codes = sum((corners[..., axis] - low[axis]) * places[axis] for axis in range(dimensions))
    axes = [[dimensions if axis == one else -1 for one in range(dimensions)] for axis in range(dimensions + 1)]
    return codes, [sum(step * place for step, place in zip(axis, places, strict=True)) for axis in axes]
