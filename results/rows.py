"""Rows go in and frames come out, in one canonical form, with a rule for two rows of the same run and image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import Row
from harness.errors import StoreError

KEY = ("run_id", "image_id")
COUNTS = ("true", "predicted", "pixels")
SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "image_id": pl.String(),
    "status": pl.String(),
    "seconds": pl.Float64(),
    "error": pl.String(),
    "true": pl.List(pl.UInt8),
    "predicted": pl.List(pl.UInt8),
    "pixels": pl.List(pl.UInt32),
    "sample": pl.String(),
}
LATER = ("sample",)  # columns that parts of former versions lack: null
_DIGEST = re.compile(r"[0-9a-f]{32}")
_SHOWN = 5  # images named in a sentence


class Contradiction(StoreError):
    """Rows of the same run and image hold different counts: the run is not reproducible, or its id says too little.

    frame: run_id, image_id of the contradictions; of a merge also folders and files of what was learned or kept.
    """

    def __init__(self, message: str, frame: pl.DataFrame) -> None:
        super().__init__(message)
        self.frame = frame


class OtherData(Contradiction):
    """Rows of the same run and image were computed from images or truths that differ."""


def checked(row: Row) -> Row:
    """The row as it is stored: overlaps ordered by true and predicted class. StoreError on malformed counts."""
    true, predicted, pixels = (np.asarray(a, np.int64) for a in (row.true, row.predicted, row.pixels))
    if (
        not (true.shape == predicted.shape == pixels.shape and true.ndim == 1)
        or row.status not in ("ok", "failed")
        or (row.status == "failed" and pixels.size)
        or not _within(true, 0, 254)
        or not _within(predicted, 0, 255)
        or not _within(pixels, 1, 2**32 - 1)
        or np.unique(true * 256 + predicted).size != pixels.size
        or not (row.sample is None or _DIGEST.fullmatch(row.sample))
    ):
        raise StoreError(
            f"the row of run {row.run_id}, image {row.image_id} cannot be stored: it needs status ok or failed, and "
            "each pair of classes (true 0..254, predicted 0..255) at most once, with a positive number of pixels, "
            "and none when failed; the digest of its sample, if it has one, is 32 hex digits"
        )
    order = np.argsort(true * 256 + predicted)
    return replace(row, true=true[order], predicted=predicted[order], pixels=pixels[order])


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Checked rows as a frame of SCHEMA."""
    columns = {
        "run_id": [row.run_id for row in rows],
        "image_id": [row.image_id for row in rows],
        "status": [row.status for row in rows],
        "seconds": [float(row.seconds) for row in rows],
        "error": [row.error for row in rows],
        "true": [row.true.astype(np.uint8) for row in rows],
        "predicted": [row.predicted.astype(np.uint8) for row in rows],
        "pixels": [row.pixels.astype(np.uint32) for row in rows],
        "sample": [row.sample for row in rows],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def defeated(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Of a frame with several rows a (run, image): those that another one makes superfluous.

    An ok row beats a failed one; of equals one that says of which data it is, then the cheapest stands.
    `Contradiction` when ok rows differ in a count, or say that the image or its truth was not the same.
    """
    unverified = pl.col("sample").is_null()
    ordered = frame.sort(
        *KEY, pl.col("status") != "ok", unverified, "seconds", "error", nulls_last=True, maintain_order=True
    )
    place = ordered.select(place=pl.int_range(pl.len()).over(KEY)).to_series()
    best, rest = ordered.filter(place == 0), ordered.filter(place > 0)
    pairs = rest.filter(pl.col("status") == "ok").join(best.select(*KEY, *COUNTS, "sample"), on=KEY, suffix="_best")
    changed = pairs.filter(pl.col("sample") != pl.col("sample_best")).select(KEY).unique().sort(KEY)
    if changed.height:
        raise OtherData(_of_other_data(changed, where), changed)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_best")) for name in COUNTS)
    wrong = pairs.filter(differs).select(KEY).unique().sort(KEY)
    if wrong.height:
        raise Contradiction(_contradiction(wrong, where), wrong)
    return rest


def _within(values: NDArray[np.int64], low: int, high: int) -> bool:
    return not values.size or bool(values.min() >= low and values.max() <= high)


def named(images: Sequence[str]) -> str:
    """Some images in a sentence, and how many more there are."""
    more = f" and {len(images) - _SHOWN} more" if len(images) > _SHOWN else ""
    return ", ".join(images[:_SHOWN]) + more


def _contradiction(wrong: pl.DataFrame, where: str) -> str:
    run, images = _first_of(wrong)
    return (
        f"{where} holds different counts for the same image of {run}: {images}; the run is not "
        "reproducible, or something that changes pixels is missing in its id: find out which rows are right and "
        "move the parts with the others out of rows/"
    )


def _of_other_data(wrong: pl.DataFrame, where: str) -> str:
    run, images = _first_of(wrong)
    return (
        f"{where} holds results of {run} for the same images from different data, as files were changed or decoded "
        f"differently: {images}; run the sweep again where the data are, and it sets aside what no longer matches"
    )


def _first_of(wrong: pl.DataFrame) -> tuple[str, str]:
    """The first run of several, with how many others there are, and its images."""
    run_id, runs = wrong["run_id"][0], wrong["run_id"].n_unique()
    images = wrong.filter(pl.col("run_id") == run_id)["image_id"].to_list()
    return f"run {run_id}" + (f" (and {runs - 1} other runs)" if runs > 1 else ""), named(images)
