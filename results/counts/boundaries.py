"""Rows, or truths and predicted maps, go in; how well the boundaries of classes meet comes out, as integer counts.

Boundary IoU as published (Cheng et al. 2021, in the form of LPOSS's program): of every class in an image, the pixels
that an erosion takes from it, which works inwards by 2 % of the image's diagonal and comes in from the image's edge
too. Pixels that are not scored belong to no class, in the prediction as in the truth. Sums over images come first.
Workers count them where a grid asks for it (harness.work.boundaries); of kept maps they are counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from harness.contracts import WIDE_IGNORED, WideTruth, boundary_width
from results.counts import estimators
from results.counts.oracles import Pair
from results.folder.bounds import BOUNDARIES


@dataclass(frozen=True, eq=False)
class BoundaryCounts:
    """Pixels at the boundary of each class in the truth and in the prediction, and in either, int64 (classes,)."""

    intersection: NDArray[np.int64]
    union: NDArray[np.int64]

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        return BoundaryCounts(self.intersection + other.intersection, self.union + other.union)

    @property
    def iou(self) -> float | None:
        """Boundary IoU: the mean over the classes that have a boundary; None where none has."""
        return estimators.mean_of(estimators.ratio(self.intersection, self.union))


@dataclass(frozen=True)
class Counted:
    """Of one run: the boundaries of all its good images that were counted by workers, and which images these are."""

    counts: BoundaryCounts
    images: frozenset[str]


def of_rows(
    chunks: Iterable[pl.DataFrame], classes: Mapping[str, int], background: Iterable[str] = ()
) -> dict[str, Counted]:
    """Of every run in `classes` (run id -> number of its classes). background: the runs for which class 0 is scored."""
    scored = frozenset(background)
    first = {run_id: 0 if run_id in scored else 1 for run_id in classes}
    sums = {run_id: np.zeros((2, number + 1 - first[run_id]), np.int64) for run_id, number in classes.items()}
    images: dict[str, list[str]] = {run_id: [] for run_id in classes}
    for chunk in chunks:
        counted = chunk.filter((pl.col("status") == "ok") & pl.col(BOUNDARIES[0]).is_not_null())
        for rows in counted.filter(pl.col("run_id").is_in(list(classes))).partition_by("run_id"):
            run_id = str(rows["run_id"][0])
            images[run_id] += rows["image_id"].to_list()
            lists = [rows[name].list.explode(empty_as_null=False).to_numpy().astype(np.int64) for name in BOUNDARIES]
            inside = (lists[0] >= first[run_id]) & (lists[0] <= classes[run_id])
            for place in (0, 1):
                np.add.at(sums[run_id][place], lists[0][inside] - first[run_id], lists[place + 1][inside])
    return {run_id: Counted(BoundaryCounts(*sums[run_id]), frozenset(images[run_id])) for run_id in classes}


def of_maps(pairs: Iterable[Pair], classes: int, background: bool) -> BoundaryCounts:
    """The same of truths, as they are scored, and predicted maps, summed over images."""
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
    both, labelled, shown = total
    return BoundaryCounts(both, labelled + shown - both)


def boundary(labels: WideTruth) -> NDArray[np.bool_]:
    """The pixels (height, width) that lie at the boundary of their own class; none without a class.

    Classes share no pixel, so an erosion leaves a pixel exactly where all of the square around it have its class.
    """
    side = 2 * boundary_width(labels.shape) + 1
    lowest, highest = (
        extreme(labels, size=side, mode="constant", cval=WIDE_IGNORED)
        for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    at_boundary: NDArray[np.bool_] = (labels != WIDE_IGNORED) & (lowest != highest)
    return at_boundary


def _by_class(labels: WideTruth, first: int, last: int) -> NDArray[np.int64]:
    """Pixels of every class from first to last."""
    inside = labels[(labels >= first) & (labels <= last)].astype(np.int64)
    return np.bincount(inside - first, minlength=last + 1 - first).astype(np.int64)
