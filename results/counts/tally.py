"""Rows go in, frame by frame; integer sums by run and a line an image come out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from harness.contracts import WIDE_IGNORED
from results.counts.estimators import image_mious, overlap_arrays
from results.folder.rows import COUNTS

_PAIR = ("run_id", "true", "predicted")
_PILE = 64  # parts whose sums may wait before they are summed


@dataclass(frozen=True)
class Tally:
    """Integer sums over rows, and each image's own score.

    confusions: run_id, true, predicted, pixels, summed over images. images: run_id, image_id, status, seconds,
    sample, artefact, card, image_miou (null where undefined), one line a row.
    """

    confusions: pl.DataFrame
    images: pl.DataFrame


def tally(chunks: Iterable[pl.DataFrame], background: Collection[str] = ()) -> Tally:
    """Sum rows up, chunk by chunk; `background` names the runs for which class 0 is scored."""
    confusions, images = [_EMPTY_CONFUSION], [_EMPTY_IMAGES]
    for chunk in chunks:
        overlaps = overlap_lines(chunk, background)
        confusions.append(overlaps.group_by(_PAIR).agg(pl.col("pixels").sum()))
        if len(confusions) > _PILE:
            confusions = [pl.concat(confusions).group_by(_PAIR).agg(pl.col("pixels").sum())]
        scores = image_mious(*overlap_arrays(overlaps), overlaps["image"].to_numpy().astype(np.int64), chunk.height)
        undefined_as_null = pl.Series("image_miou", scores).fill_nan(None)
        images.append(chunk.select(_OF_IMAGES).with_columns(undefined_as_null))
    summed = pl.concat(confusions).group_by(_PAIR).agg(pl.col("pixels").sum())
    return Tally(summed.sort(_PAIR), pl.concat(images).sort("run_id", "image_id"))


_EMPTY_CONFUSION = pl.DataFrame(
    schema={"run_id": pl.String, "true": pl.UInt16, "predicted": pl.UInt16, "pixels": pl.Int64}
)
_OF_IMAGES = ("run_id", "image_id", "status", "seconds", "sample", "artefact", "card")
_EMPTY_IMAGES = pl.DataFrame(
    schema={**dict.fromkeys(_OF_IMAGES, pl.String()), "seconds": pl.Float64(), "image_miou": pl.Float64()}
)


def overlap_lines(chunk: pl.DataFrame, background: Collection[str]) -> pl.DataFrame:
    """One line an overlap: run_id, image (the row's position), true, predicted, pixels; unscored truth left out."""
    with_background = pl.col("run_id").is_in(list(background))
    no_class = pl.lit(WIDE_IGNORED, pl.UInt16)
    predicted = pl.when((pl.col("predicted") > 0) | with_background).then("predicted").otherwise(no_class)
    rows = chunk.with_row_index("image").filter((pl.col("status") == "ok") & (pl.col("pixels").list.len() > 0))
    lines = rows.select("run_id", "image", *COUNTS).explode(COUNTS)
    lines = lines.filter((pl.col("true") > 0) | with_background)
    return lines.with_columns(predicted.alias("predicted"), pl.col("pixels").cast(pl.Int64))
