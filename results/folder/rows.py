"""Rows go in and frames come out, in one canonical form, with a rule for two rows of the same run and image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import IGNORED, WIDE_IGNORED, Row
from harness.errors import StoreError

KEY = ("run_id", "image_id")
COUNTS = ("true", "predicted", "pixels")
SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "image_id": pl.String(),
    "status": pl.String(),
    "seconds": pl.Float64(),
    "error": pl.String(),
    "true": pl.List(pl.UInt16),
    "predicted": pl.List(pl.UInt16),
    "pixels": pl.List(pl.UInt32),
    "sample": pl.String(),
}
LATER = ("sample",)  # columns that parts of former versions lack: null
STATUSES = ("ok", "failed")
# The limits of what a row may hold; SCHEMA's types hold them.
# A truth of 65535, of which no class is true, is in rows under `void_counts`.
LAST_TRUE, LAST_PREDICTED, MOST_PIXELS = WIDE_IGNORED, WIDE_IGNORED, 2**32 - 1
_DIGEST = r"[0-9a-f]{32}"
_SHOWN = 5  # images named in a sentence
_RULES = (
    "it needs status ok or failed, finite seconds, and each pair of classes "
    f"(true 0..{LAST_TRUE}, predicted 0..{LAST_PREDICTED}) at most once, with a positive number of pixels, "
    "and none when failed; the digest of its sample, if it has one, is 32 hex digits"
)


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
        or row.status not in STATUSES
        or not math.isfinite(row.seconds)
        or (row.status == "failed" and pixels.size)
        or not _within(true, 0, LAST_TRUE)
        or not _within(predicted, 0, LAST_PREDICTED)
        or not _within(pixels, 1, MOST_PIXELS)
        or np.unique(_codes(true, predicted)).size != pixels.size
        or not (row.sample is None or re.fullmatch(_DIGEST, row.sample))
    ):
        raise StoreError(f"the row of run {row.run_id}, image {row.image_id} cannot be stored: {_RULES}")
    order = np.argsort(_codes(true, predicted))
    return replace(row, true=true[order], predicted=predicted[order], pixels=pixels[order])


def wide_classes(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame as parts hold it, its classes of 16 bits: former versions wrote 8, in which 255 was no class."""
    narrow = [name for name in ("true", "predicted") if frame.schema.get(name) == pl.List(pl.UInt8)]
    no_class = pl.element().replace(IGNORED, WIDE_IGNORED)
    return frame.with_columns(pl.col(name).cast(SCHEMA[name]).list.eval(no_class) for name in narrow)


def refuse_malformed(frame: pl.DataFrame, where: str, cure: str) -> None:
    """StoreError where a row of a frame with some columns of SCHEMA breaks the rules of `checked`."""
    wrong = _rule_breakers(frame)
    if wrong.any():
        row = frame.filter(wrong).row(0, named=True)
        raise StoreError(
            f"{where} cannot be believed: the row of run {row.get('run_id')}, image {row.get('image_id')} is none that "
            f"the store writes ({_RULES}); {cure}"
        )


def _rule_breakers(frame: pl.DataFrame) -> pl.Series:
    """Whether a row breaks a rule that can be seen in the columns which are there."""
    there = [name for name in (*KEY, "status", "seconds", *COUNTS) if name in frame.columns]
    rules = [pl.col(name).is_null() for name in there]
    if "status" in there:
        rules.append(~pl.col("status").is_in(STATUSES))
    if "seconds" in there:
        rules.append(~pl.col("seconds").is_finite())
    if "sample" in frame.columns:
        rules.append(~pl.col("sample").fill_null("0" * 32).str.contains(f"^{_DIGEST}$"))
    counted = [pl.col(name).list.len() for name in COUNTS if name in there]
    rules += [counted[0] != other for other in counted[1:]]
    if "status" in there:
        rules += [(pl.col("status") == "failed") & (counts > 0) for counts in counted]
    wrong = frame.select(wrong=pl.any_horizontal(rule.fill_null(True) for rule in rules)).to_series()
    if len(counted) == len(COUNTS) and not wrong.any():
        return pl.Series("wrong", np.isin(np.arange(frame.height), _pair_breakers(frame.select(COUNTS))))
    return wrong


def _pair_breakers(lists: pl.DataFrame) -> NDArray[np.int64]:
    """The rows with a null, no pixels, a class that cannot be, or pairs of classes that do not rise."""
    true, predicted, pixels = (one.list.explode(empty_as_null=False) for one in lists)
    if true.null_count() or predicted.null_count() or pixels.null_count():
        holes = lists.select(pl.any_horizontal(pl.all().list.eval(pl.element().is_null()).list.any()))
        return np.flatnonzero(holes.to_series().to_numpy())
    ends = np.cumsum(lists["pixels"].list.len().to_numpy(), dtype=np.int64)
    codes = _codes(true.to_numpy(), predicted.to_numpy(), np.uint32)
    falls = codes[1:] <= codes[:-1]
    falls[ends[(ends > 0) & (ends < codes.size)] - 1] = False  # from a row's last pair to the next row's first
    impossible = (pixels.to_numpy() == 0) | (true.to_numpy() > LAST_TRUE)
    places = np.concatenate([np.flatnonzero(falls) + 1, np.flatnonzero(impossible)])
    found: NDArray[np.int64] = np.searchsorted(ends, places, side="right")
    return found


def _codes(true: NDArray[Any], predicted: NDArray[Any], kind: type[np.integer[Any]] = np.int64) -> NDArray[Any]:
    """One number a pair of classes, in the order in which a row holds them."""
    codes: NDArray[Any] = true.astype(kind) * kind(LAST_PREDICTED + 1) + predicted
    return codes


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Checked rows as a frame of SCHEMA."""
    columns = {
        "run_id": [row.run_id for row in rows],
        "image_id": [row.image_id for row in rows],
        "status": [row.status for row in rows],
        "seconds": [float(row.seconds) for row in rows],
        "error": [row.error for row in rows],
        "true": [row.true.astype(np.uint16) for row in rows],
        "predicted": [row.predicted.astype(np.uint16) for row in rows],
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


def some_of(images: Sequence[str]) -> str:
    """Some images in a sentence, and how many more there are."""
    more = f" and {len(images) - _SHOWN} more" if len(images) > _SHOWN else ""
    return ", ".join(images[:_SHOWN]) + more


def _contradiction(wrong: pl.DataFrame, where: str) -> str:
    run, images = first_of(wrong)
    return (
        f"{where} holds different counts for the same image of {run}: {images}; the run is not "
        "reproducible, or something that changes pixels is missing in its id: find out which rows are right and "
        "move the parts with the others out of rows/"
    )


def _of_other_data(wrong: pl.DataFrame, where: str) -> str:
    run, images = first_of(wrong)
    return (
        f"{where} holds results of {run} for the same images from different data, as files were changed or decoded "
        f"differently: {images}; run the sweep again where the data are, and it sets aside what no longer matches"
    )


def first_of(wrong: pl.DataFrame) -> tuple[str, str]:
    """The first run of several, with how many others there are, and its images."""
    run_id, runs = wrong["run_id"][0], wrong["run_id"].n_unique()
    images = wrong.filter(pl.col("run_id") == run_id)["image_id"].to_list()
    return f"run {run_id}" + (f" (and {runs - 1} other runs)" if runs > 1 else ""), some_of(images)
