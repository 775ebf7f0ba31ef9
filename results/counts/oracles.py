"""Truths and predicted maps go in; what they would score were regions named, or drawn, by an oracle comes out.

A region is what hangs together (by sides) and has one class. Named by an oracle: every predicted region gets the true
class that most of its scored pixels have; what is lost then is lost by grouping. Drawn by an oracle: every true region
gets the class that most of its pixels were given; what is lost then is lost by naming. The first of equals counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.contracts import BACKGROUND, WIDE_IGNORED, WideTruth
from results.counts.estimators import ClassCounts

Oracle = Callable[[WideTruth, WideTruth], WideTruth]
Pair = tuple[WideTruth, WideTruth]  # a truth as it is scored (65535: not), and what was predicted (65535: no class)


def as_it_is(_truth: WideTruth, predicted: WideTruth) -> WideTruth:
    """No oracle: what was predicted."""
    return predicted


def named_by_oracle(truth: WideTruth, predicted: WideTruth) -> WideTruth:
    """Predicted regions (height, width) under the best true class each; where no class was given, none."""
    regions, count = _regions(predicted)
    scored = truth != WIDE_IGNORED
    best = _most_frequent(regions[scored], truth[scored], count)
    return np.where((regions < 0) | (best[regions] < 0), predicted, best[regions]).astype(np.uint16)


def drawn_by_oracle(truth: WideTruth, predicted: WideTruth) -> WideTruth:
    """True regions (height, width) under the class that most of each was given, no class among them."""
    regions, count = _regions(truth)
    inside = regions >= 0
    best = _most_frequent(regions[inside], predicted[inside], count)
    return np.where(inside, best[regions], predicted).astype(np.uint16)


def counts_under(pairs: Iterable[Pair], oracle: Oracle, classes: int, background: bool) -> ClassCounts:
    """I, L and P by class over images, of what an oracle makes of them."""
    first = BACKGROUND if background else BACKGROUND + 1
    total = np.zeros((3, classes + 1 - first), np.int64)
    for truth, predicted in pairs:
        scored = truth != WIDE_IGNORED
        given = oracle(truth, predicted)[scored].astype(np.int64)
        labels = truth[scored].astype(np.int64)
        counts = ClassCounts.of(labels, given, np.ones(labels.size, np.int64), first, classes)
        total += np.stack([counts.intersection, counts.labelled, counts.predicted])
    return ClassCounts(*total)


def _regions(labels: WideTruth) -> tuple[NDArray[np.int64], int]:
    """The number of every pixel's region, -1 where there is no class, and how many there are."""
    regions, count = np.full(labels.shape, -1, np.int64), 0
    for number in np.unique(labels[labels != WIDE_IGNORED]).tolist():
        found, several = ndimage.label(labels == number)
        regions = np.where(found > 0, found + (count - 1), regions)
        count += several
    return regions, count


def _most_frequent(
    regions: NDArray[np.int64], classes: NDArray[np.unsignedinteger[Any]], count: int
) -> NDArray[np.int64]:
    """Of every region the class that most of its pixels have, the lowest of equals; -1 for one without any."""
    inside = regions >= 0
    side = WIDE_IGNORED + 1
    pairs, pixels = np.unique(regions[inside] * side + classes[inside].astype(np.int64), return_counts=True)
    best, most = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    for pair, number in zip(pairs.tolist(), pixels.tolist(), strict=True):
        region, found = divmod(pair, side)
        if number > most[region]:
            best[region], most[region] = found, number
    return best
