"""Rows of a few runs and images go in; their intersections and unions by image and class come out, as dense arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import WIDE_IGNORED
from harness.errors import StoreError


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Integer counts of some runs on the same images: intersection and union, (runs, images, classes).

    left_out: images that are not ok in every run and so are in no comparison.
    """

    run_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    left_out: int = 0


def image_counts(chunks: Iterable[pl.DataFrame], run_ids: Sequence[str], classes: int, background: bool) -> ImageCounts:
    """Counts of the given runs (of one benchmark and protocol) from `Store.chunks`, over the images that all have.

    Classes 1..classes are scored, and 0 before them if `background`. StoreError when no image is ok in every run.
    """
    frames = [chunk.filter((pl.col("status") == "ok") & pl.col("run_id").is_in(list(run_ids))) for chunk in chunks]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"run_id": pl.String, "image_id": pl.String})
    tallied = rows.group_by("image_id").agg(pl.col("run_id").n_unique())
    common = sorted(tallied.filter(pl.col("run_id") == len(set(run_ids)))["image_id"])
    if not common:
        raise StoreError(f"no image is scored in all of the {len(run_ids)} runs; finish the sweep, then compare")
    place = {name: pl.Enum(list(ids)) for name, ids in (("run_id", run_ids), ("image_id", common))}
    rows = rows.filter(pl.col("image_id").is_in(common))
    lines = rows.select("run_id", "image_id", "true", "predicted", "pixels").explode("true", "predicted", "pixels")
    index = [lines[name].cast(kind).to_physical().to_numpy().astype(np.int64) for name, kind in place.items()]
    overlap = [lines[name].fill_null(0).to_numpy().astype(np.int64) for name in ("true", "predicted", "pixels")]
    shape = (len(run_ids), len(common), classes + int(background))
    sums = _counts(index, overlap, shape, first=0 if background else 1)
    return ImageCounts(tuple(run_ids), tuple(common), *sums, left_out=tallied.height - len(common))


def _counts(
    index: Sequence[NDArray[np.int64]], overlap: Sequence[NDArray[np.int64]], shape: tuple[int, int, int], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union, of `shape`, from overlaps with the positions of their runs and images."""
    (run, image), (true, predicted, pixels) = index, overlap
    void = true == WIDE_IGNORED  # nothing is true, and what is predicted counts
    true, predicted = true - first, predicted - first
    scored = (true >= 0) & (true < shape[2])
    given = (scored | void) & (predicted >= 0) & (predicted < shape[2])
    right = given & (true == predicted)
    inside, union = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(inside, (run[right], image[right], true[right]), pixels[right])
    np.add.at(union, (run[scored], image[scored], true[scored]), pixels[scored])
    np.add.at(union, (run[given], image[given], predicted[given]), pixels[given])
    return inside, union - inside
