"""A predicted map against a truth -> overlaps: how many pixels of which true class were given which class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import WIDE_IGNORED, WideTruth

MISTAKEN = 256  # the number of the class whose label, counted from 0, is 255
_TABLE = 2**16  # places: what 16 bits tell apart


class Overlaps(NamedTuple):
    """Sparse confusion matrix of one image: parallel int64 arrays sorted by (true, predicted), every count above 0."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    pixels: NDArray[np.int64]


def overlaps_with_void(truth: WideTruth, predicted: WideTruth) -> Overlaps:
    """As evaluators do that know 255 alone as ignored, of labels in 16 bits (forks of mmseg on ADE-847 and PC-459).

    What is predicted where nothing is scored is counted, with 65535 as the truth; the 256th class, their label 255, is
    not scored at all.
    """
    kept = truth != MISTAKEN
    truth, predicted = truth[kept], predicted[kept]
    known = overlaps(truth, predicted)
    given, pixels = np.unique(predicted[truth == WIDE_IGNORED].astype(np.int64), return_counts=True)
    void = np.full(given.size, WIDE_IGNORED, np.int64)
    return Overlaps(*(np.concatenate(pair) for pair in zip(known, (void, given, pixels), strict=True)))


def overlaps(truth: WideTruth, predicted: WideTruth) -> Overlaps:
    """Count pixel pairs where the truth is not 65535. Both arrays are (height, width) in the numbering of truths.

    Where a pair fits into 16 bits, pairs are counted in a table; else they are sorted, as numbers of 32 bits. So
    neither time nor memory grows with the square of the classes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}: counts need equal sizes")
    scored = truth != WIDE_IGNORED
    highest, side = (int((labels + np.uint16(1)).max(initial=0)) for labels in (truth, predicted))  # 65535 + 1 is 0
    if max(highest, 1) * (side + 1) < _TABLE:
        pairs = truth * np.uint16(side + 1)  # 16 bits: what wraps around is ignored
        pairs += np.minimum(predicted, np.uint16(side))  # the last place is for no class
        table = np.bincount(pairs[scored])
        found = np.flatnonzero(table)
        true, given = np.divmod(found, side + 1)
        return Overlaps(true, np.where(given == side, WIDE_IGNORED, given), table[found])
    found, pixels = np.unique(truth[scored].astype(np.uint32) << np.uint32(16) | predicted[scored], return_counts=True)
    true, given = np.divmod(found.astype(np.int64), _TABLE)
    return Overlaps(true, given, pixels)
