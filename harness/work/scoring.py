"""A predicted map against a truth -> overlaps: how many pixels of which true class were given which class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import IGNORED, Truth

_SIDE = 256  # truths and predictions are 8-bit numbers, so a pair is one number below 65536


class Overlaps(NamedTuple):
    """Sparse confusion matrix of one image: parallel int64 arrays sorted by (true, predicted), every count above 0."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    pixels: NDArray[np.int64]


def overlaps(truth: Truth, predicted: NDArray[np.uint8]) -> Overlaps:
    """Count pixel pairs where the truth is not 255. Both arrays are (height, width) in the numbering of truths.

    The pair index is formed in int64: in 8 bits it would wrap around (150 * 149 does not fit).
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}: counts need equal sizes")
    scored = truth != IGNORED
    pairs = truth[scored].astype(np.int64) * _SIDE + predicted[scored]
    counts = np.bincount(pairs, minlength=0)
    found = np.flatnonzero(counts)
    return Overlaps(found // _SIDE, found % _SIDE, counts[found].astype(np.int64))
