"""Truths and predicted maps go in; how well the boundaries of classes meet comes out, as integer counts (Boundary IoU).

As published (Cheng et al. 2021, in the form of LPOSS's program): of every class in an image, the pixels that an erosion
takes from it, which works inwards by 2 % of the image's diagonal and comes in from the image's edge too. Pixels that
are not scored belong to no class, in the prediction as in the truth. Sums over images come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.contracts import WIDE_IGNORED, WideTruth
from results.counts.estimators import ClassCounts
from results.counts.oracles import Pair

SHARE = 0.02  # of the diagonal


def width_of(shape: tuple[int, ...]) -> int:
    """How many pixels wide a boundary is in an image (height, width): so often a square of 3 x 3 erodes it."""
    height, width = shape
    return max(1, round(SHARE * math.hypot(height, width)))


def boundary(labels: WideTruth) -> NDArray[np.bool_]:
    """The pixels (height, width) that lie at the boundary of their own class; none without a class.

    Classes share no pixel, so an erosion leaves a pixel exactly where all of the square around it have its class.
    """
    side = 2 * width_of(labels.shape) + 1
    lowest, highest = (
        extreme(labels, size=side, mode="constant", cval=WIDE_IGNORED)
        for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    at_boundary: NDArray[np.bool_] = (labels != WIDE_IGNORED) & (lowest != highest)
    return at_boundary


def boundary_counts(pairs: Iterable[Pair], classes: int, background: bool) -> ClassCounts:
    """I, L and P of boundaries by class, over images."""
    first = 0 if background else 1
    total = np.zeros((3, classes + 1 - first), np.int64)
    for truth, given in pairs:
        predicted = np.where(truth == WIDE_IGNORED, truth, given)
        true, seen = boundary(truth), boundary(predicted)
        total += np.stack([
            _by_class(truth[true & seen & (truth == predicted)], first, classes),
            _by_class(truth[true], first, classes),
            _by_class(predicted[seen], first, classes),
        ])  # fmt: skip
    intersection, labelled, shown = total
    return ClassCounts(intersection, labelled, shown)


def _by_class(labels: WideTruth, first: int, last: int) -> NDArray[np.int64]:
    """Pixels of every class from first to last."""
    inside = labels[(labels >= first) & (labels <= last)].astype(np.int64)
    return np.bincount(inside - first, minlength=last + 1 - first).astype(np.int64)
