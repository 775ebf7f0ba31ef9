"""Parquet files go in and scores come out, by lines that share nothing with the harness but the files' columns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import polars as pl

Sums = dict[tuple[int, int], int]  # (true, predicted) -> pixels


def sums(folder: Path, run_id: str) -> Sums:
    """The overlaps of a run, summed over its good rows."""
    total: Sums = {}
    for path in sorted((folder / "rows").glob("*.parquet")):
        for row in pl.read_parquet(path).iter_rows(named=True):
            if row["run_id"] == run_id and row["status"] == "ok":
                for true, predicted, pixels in zip(row["true"], row["predicted"], row["pixels"], strict=True):
                    total[true, predicted] = total.get((true, predicted), 0) + pixels
    return total


def class_iou(total: Sums, number: int) -> Fraction | None:
    """Intersection over union of a class, exactly; None where it is nowhere."""
    inside = total.get((number, number), 0)
    union = sum(pixels for (true, predicted), pixels in total.items() if number in (true, predicted))
    return Fraction(inside, union) if union else None


def miou(total: Sums, classes: int) -> Fraction:
    """The mean over the classes that are there."""
    ious = [iou for number in range(1, classes + 1) if (iou := class_iou(total, number)) is not None]
    return sum(ious, Fraction(0)) / len(ious)


def accuracy(total: Sums) -> Fraction:
    """The share of the pixels that are right."""
    right = sum(pixels for (true, predicted), pixels in total.items() if true == predicted)
    return Fraction(right, sum(total.values()))
