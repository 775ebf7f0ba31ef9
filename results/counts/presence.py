"""Rows go in; how well each run knows which classes an image holds comes out, as counts of images by class.

Present in an image is a class with a labelled pixel, seen in it one that is given to a scored pixel, however few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from results.counts.estimators import NO_CLASS
from results.counts.tally import overlap_lines


@dataclass(frozen=True, eq=False)
class PresenceCounts:
    """Of one run, by class, int64 (classes,): the images in which it is, in which it is seen, and those of both.

    images: how many have a scored pixel.
    """

    present: NDArray[np.int64]
    seen: NDArray[np.int64]
    both: NDArray[np.int64]
    images: int


def presence(
    chunks: Iterable[pl.DataFrame], classes: dict[str, int], background: Collection[str] = ()
) -> dict[str, PresenceCounts]:
    """Of every run in `classes` (run id -> number of its classes). background: the runs for which class 0 is scored."""
    first = {run_id: 0 if run_id in background else 1 for run_id in classes}
    sums = {run_id: np.zeros((3, number + 1 - first[run_id]), np.int64) for run_id, number in classes.items()}
    images = dict.fromkeys(classes, 0)
    for chunk in chunks:
        lines = overlap_lines(chunk, background)
        keys = ["run_id", "image"]
        present = lines.filter(pl.col("true") != NO_CLASS).select(*keys, number="true").unique()
        seen = lines.filter(pl.col("predicted") != NO_CLASS).select(*keys, number="predicted").unique()
        both = present.join(seen, on=[*keys, "number"], how="semi")
        for place, frame in enumerate((present, seen, both)):
            for run_id, number, count in frame.group_by("run_id", "number").len().iter_rows():
                if first.get(run_id, NO_CLASS) <= number <= classes[run_id]:
                    sums[run_id][place, number - first[run_id]] += count
        for run_id, count in present.select(keys).unique().group_by("run_id").len().iter_rows():
            if run_id in images:
                images[run_id] += count
    return {
        run_id: PresenceCounts(present, seen, both, images[run_id]) for run_id, (present, seen, both) in sums.items()
    }


def matthews(counts: PresenceCounts) -> NDArray[np.float64]:
    """The Matthews correlation by class, -1..1, float64 (classes,).

    NaN for a class that is in every image, or in none: there is nothing to know. 0 for one that is always seen, or
    never, and is in some images: who says the same of every image knows nothing.
    """
    total, present, seen = (np.asarray(one, np.float64) for one in (counts.images, counts.present, counts.seen))
    varies = (present > 0) & (present < total)
    spread = np.sqrt(present * (total - present)) * np.sqrt(seen * (total - seen))
    correlation = np.divide(counts.both * total - present * seen, spread, out=np.zeros(present.shape), where=spread > 0)
    return np.where(varies, correlation, np.nan)
