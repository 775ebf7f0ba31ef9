"""Overlaps go in and scores come out, divided in float64 on integer sums; no other room divides pixel counts.

Definitions are those of mmseg's IoUMetric: per class c over the scored pixels, I_c = predicted c and labelled c,
P_c = predicted c, L_c = labelled c, U_c = P_c + L_c - I_c; the sums over all images come first. What is undefined is
None. A pixel to which no class was given (predicted 65535) counts in L of its class and in no P; one of which no class
is true (true 65535, which rows hold under `void_counts` alone) counts in P and in no L.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import WIDE_IGNORED, Row, Rows
from results.folder.rows import COUNTS

Counts = NDArray[np.int64]
NO_CLASS = WIDE_IGNORED  # as a predicted class
_WAITING = 2**16  # overlaps whose sums may wait: arrays of them fit into the cache, and their memory is used again
_COLUMNS = 256  # of an image whose classes are spread out


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """I, L and P per class, int64 (..., classes)."""

    intersection: Counts
    labelled: Counts
    predicted: Counts

    @property
    def union(self) -> Counts:
        return self.predicted + self.labelled - self.intersection

    @classmethod
    def of(cls, true: Counts, predicted: Counts, pixels: Counts, first: int, last: int) -> ClassCounts:
        """From parallel arrays of overlaps; classes first..last are scored, pixels with another truth left out."""
        labelled = (true >= first) & (true <= last)
        counted = labelled | (true == NO_CLASS)
        true, predicted, pixels = true[counted] - first, predicted[counted].astype(np.int64) - first, pixels[counted]
        labelled, size = labelled[counted], last - first + 1
        given = (predicted >= 0) & (predicted < size)
        right = given & (predicted == true)
        return cls(
            _sum_by(true[right], pixels[right], size),
            _sum_by(true[labelled], pixels[labelled], size),
            _sum_by(predicted[given], pixels[given], size),
        )


def _sum_by(index: Counts, pixels: Counts, size: int) -> Counts:
    total = np.zeros(size, np.int64)
    np.add.at(total, index, pixels)
    return total


def ratio(part: Counts | NDArray[np.float64], whole: Counts | NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole in float64, NaN where whole is 0."""
    out = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def mean_of(values: NDArray[np.float64]) -> float | None:
    """The mean of those that are defined, which no order of them changes in a bit."""
    defined = values[~np.isnan(values)]
    return math.fsum(defined) / defined.size if defined.size else None


def class_iou(counts: ClassCounts) -> NDArray[np.float64]:
    """I_c / U_c, NaN for a class that is neither labelled nor predicted."""
    return ratio(counts.intersection, counts.union)


def class_dice(counts: ClassCounts) -> NDArray[np.float64]:
    """2 I_c / (P_c + L_c), NaN for a class that is neither labelled nor predicted."""
    return ratio(2 * counts.intersection, counts.predicted + counts.labelled)


def class_accuracy(counts: ClassCounts) -> NDArray[np.float64]:
    """I_c / L_c, NaN for a class that is not labelled."""
    return ratio(counts.intersection, counts.labelled)


def class_f_score(counts: ClassCounts) -> NDArray[np.float64]:
    """mmseg's F1 by class: NaN, not 0, for a class without a true positive."""
    precision = ratio(counts.intersection, counts.predicted)
    recall = ratio(counts.intersection, counts.labelled)
    return ratio(2 * precision * recall, precision + recall)


def miou(counts: ClassCounts) -> float | None:
    """mmseg's mIoU: classes that are neither labelled nor predicted are left out."""
    return mean_of(class_iou(counts))


def miou_gt_present(counts: ClassCounts) -> float | None:
    """The mean over labelled classes only (detectron2)."""
    return mean_of(class_iou(counts)[counts.labelled > 0])


def miou_all_zero(counts: ClassCounts) -> float | None:
    """The mean over all classes, an absent one counting 0 (the ADE20K server)."""
    return mean_of(np.nan_to_num(class_iou(counts))) if counts.labelled.any() else None


def pixel_accuracy(counts: ClassCounts) -> float | None:
    """mmseg's aAcc: the share of the scored pixels that are right."""
    return mean_of(ratio(counts.intersection.sum(keepdims=True), counts.labelled.sum(keepdims=True)))


def mean_accuracy(counts: ClassCounts) -> float | None:
    """mmseg's mAcc: the mean of I_c / L_c over labelled classes."""
    return mean_of(class_accuracy(counts))


def frequency_weighted_iou(counts: ClassCounts) -> float | None:
    """The IoUs weighted by each class's share of the labelled pixels."""
    total = int(counts.labelled.sum())
    return math.fsum(counts.labelled * np.nan_to_num(class_iou(counts))) / total if total else None


def mean_dice(counts: ClassCounts) -> float | None:
    """mmseg's mDice."""
    return mean_of(class_dice(counts))


def mean_f_score(counts: ClassCounts) -> float | None:
    """mmseg's mFscore, which leaves out classes without a true positive and so can exceed mDice."""
    return mean_of(class_f_score(counts))


def worst_class_iou(counts: ClassCounts) -> float | None:
    """The lowest IoU of a labelled class."""
    labelled = class_iou(counts)[counts.labelled > 0]
    return float(labelled.min()) if labelled.size else None


def worst_decile_miou(counts: ClassCounts) -> float | None:
    """The mean over the tenth of the labelled classes that come off worst."""
    return worst_decile(class_iou(counts)[counts.labelled > 0])


def worst_decile(values: NDArray[np.float64]) -> float | None:
    """The mean of the lowest tenth of some numbers, at least of one."""
    return mean_of(np.sort(values)[: -(-values.size // 10)])


SCORES: dict[str, Callable[[ClassCounts], float | None]] = {
    "miou": miou,
    "miou_gt_present": miou_gt_present,
    "miou_all_zero": miou_all_zero,
    "pixel_accuracy": pixel_accuracy,
    "mean_accuracy": mean_accuracy,
    "frequency_weighted_iou": frequency_weighted_iou,
    "mean_dice": mean_dice,
    "mean_f_score": mean_f_score,
    "worst_class_iou": worst_class_iou,
    "worst_decile_miou": worst_decile_miou,
}


def image_mious(true: Counts, predicted: Counts, pixels: Counts, image: Counts, images: int) -> NDArray[np.float64]:
    """mmseg's mIoU of each image by itself, (images,), NaN for one without a scored pixel.

    Parallel arrays of overlaps whose truth is scored; `image` is the position of each overlap's image. A predicted
    class below the lowest or above the highest that is scored must be given as 65535.
    """
    beyond = (true >= _COLUMNS) | ((predicted >= _COLUMNS) & (predicted != NO_CLASS))
    if not beyond.any():
        return _spread_mious(true, predicted, pixels, image, images)
    wide = np.isin(image, image[beyond])  # which way an image goes is its own matter: sums of floats differ in a bit
    return np.where(
        np.bincount(image[wide], minlength=images) > 0,
        _listed_mious(true[wide], predicted[wide], pixels[wide], image[wide], images),
        _spread_mious(true[~wide], predicted[~wide], pixels[~wide], image[~wide], images),
    )


def _spread_mious(true: Counts, predicted: Counts, pixels: Counts, image: Counts, images: int) -> NDArray[np.float64]:
    """`image_mious` of classes below _COLUMNS, every class a column."""
    given, right = predicted != NO_CLASS, predicted == true
    shape = (images, _COLUMNS)
    size = images * _COLUMNS
    # bincount sums in float64, which holds every integer below 2^53: more pixels than any image has.
    labelled = np.bincount(image * _COLUMNS + true, pixels, size)
    inside = np.bincount((image * _COLUMNS + true)[right], pixels[right], size)
    union = labelled + np.bincount((image * _COLUMNS + predicted)[given], pixels[given], size) - inside
    iou = ratio(inside, union).reshape(shape)
    return ratio(np.nansum(iou, axis=1), (~np.isnan(iou)).sum(axis=1))


def _listed_mious(true: Counts, predicted: Counts, pixels: Counts, image: Counts, images: int) -> NDArray[np.float64]:
    """`image_mious` of any classes: only those that an image has are looked at."""
    labelled, given, side = true != NO_CLASS, predicted != NO_CLASS, NO_CLASS + 1
    right = (predicted == true)[labelled]
    both = np.concatenate([(image * side + true)[labelled], (image * side + predicted)[given]])
    found, place = np.unique(both, return_inverse=True)
    own, guessed = place[: right.size], place[right.size :]
    inside = np.bincount(own[right], pixels[labelled][right], found.size)
    union = np.bincount(own, pixels[labelled], found.size) + np.bincount(guessed, pixels[given], found.size) - inside
    return ratio(np.bincount(found // side, inside / union, images), np.bincount(found // side, minlength=images))


def overlap_arrays(overlaps: pl.DataFrame) -> tuple[Counts, Counts, Counts]:
    """The columns true, predicted and pixels of a frame with one line an overlap."""
    true, predicted, pixels = (overlaps[name].to_numpy().astype(np.int64) for name in COUNTS)
    return true, predicted, pixels


def counts_of(confusion: pl.DataFrame, classes: int, background: bool) -> ClassCounts:
    """The counts of one run's confusion (true, predicted, pixels); the first is background's when that is scored."""
    return ClassCounts.of(*overlap_arrays(confusion), 0 if background else 1, classes)


def image_miou(values: Iterable[float | None]) -> float | None:
    """The mean of the images' own mIoUs; undefined ones are left out. The order of the images changes no bit."""
    return mean_of(np.array([v for v in values if v is not None], np.float64))


def with_shares(confusion: pl.DataFrame) -> pl.DataFrame:
    """A confusion with the column `share`, 0..1, of the true class's pixels."""
    return confusion.with_columns(share=pl.col("pixels") / pl.col("pixels").sum().over("true"))


def confused_with(confusion: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Which word is taken for which: true, predicted ("no class" for 65535), pixels, share of the true class's pixels.

    Confusion as in `counts_of`; wrong pairs only, the largest share of each class first, classes in order.
    """
    names = {0: "background", **dict(enumerate(classes, start=1)), NO_CLASS: "no class"}
    wrong = with_shares(confusion).filter(pl.col("true") != pl.col("predicted"))
    ordered = wrong.sort("true", "pixels", "predicted", descending=[False, True, False])
    named = [pl.col(c).replace_strict(names, return_dtype=pl.String) for c in ("true", "predicted")]
    return ordered.select(*named, "pixels", "share")


class RunningScores:
    """The mIoU of every run so far, for progress: sums of rows as they come, each (run, image) given once.

    Rows wait until somebody asks, or many wait: sums are made of many at once.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Counts] = {}
        self._waiting: list[Rows] = []
        self._overlaps = 0
        self._turn = threading.Lock()  # a display asks in a thread of its own

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in; failed ones change nothing."""
        columns = Rows.of(rows)
        with self._turn:
            self._waiting.append(columns.bare())
            self._overlaps += columns.true.size
            if self._overlaps > _WAITING:
                self._sum_up()

    def miou(self, run_id: str) -> float | None:
        """mmseg's mIoU of the run so far, 0..1; None before its first scored pixel."""
        with self._turn:
            self._sum_up()
            return miou(ClassCounts(*self._sums[run_id])) if run_id in self._sums else None

    def _sum_up(self) -> None:
        waiting, self._waiting, self._overlaps = self._waiting, [], 0
        if not waiting:
            return
        groups = dict.fromkeys(rows.runs for rows in waiting)  # few: batches of one shard are of the same runs
        numbers = {run: number for number, run in enumerate(dict.fromkeys(run for runs in groups for run in runs))}
        place = {runs: np.array([numbers[run] for run in runs], np.int64) for runs in groups}
        run = np.concatenate([place[rows.runs][rows.run] for rows in waiting])
        run = np.repeat(run, np.concatenate([rows.lengths for rows in waiting]))
        one = np.uint16(1)  # 65535 + 1 is 0 in 16 bits: what no class has comes first
        true, predicted = (np.concatenate([getattr(rows, name) for rows in waiting]) + one for name in COUNTS[:2])
        pixels = np.concatenate([rows.pixels for rows in waiting]).astype(np.float64)
        side = 1 + max(int(true.max(initial=0)), int(predicted.max(initial=0)))
        right = true == predicted
        # float64 holds every integer below 2^53: more pixels than wait at a time.
        sums = [
            np.bincount(run[chosen] * side + classes[chosen], pixels[chosen], len(numbers) * side)
            for chosen, classes in ((right, true), (slice(None), true), (slice(None), predicted))
        ]
        counts = np.stack(sums).astype(np.int64).reshape(3, len(numbers), side)[:, :, 1:]
        for run_id, number in numbers.items():
            before = self._sums.get(run_id, np.zeros((3, 0), np.int64))
            after = np.zeros((3, max(side - 1, before.shape[1])), np.int64)
            after[:, : before.shape[1]] += before
            after[:, : side - 1] += counts[:, number]
            self._sums[run_id] = after
