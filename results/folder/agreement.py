"""Frames of rows pass through; runs that scored the same pixels of an image and disagree about its truth are told.

What a method answers cannot change how many pixels of every true class an image has. So the rows of all runs on one
benchmark whose protocols score the same pixels check each other: a list that was cut, a count that was changed, or a
truth that was another one when a run met it, stands out without anything being computed again. Rows that say themselves
that they rest on other data are not asked: see results.folder.same_data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts.facts import digest
from harness.errors import StoreError
from results.folder.protocols import scored_pixels
from results.folder.recipes import RunRecipe
from results.folder.rows import KEY, Contradiction, first_of

_SCHEMA = {"run_id": pl.String, "image_id": pl.String, "sample": pl.String, "truth": pl.UInt64}


def agreeing(chunks: Iterable[pl.DataFrame], recipes: Mapping[str, RunRecipe]) -> Iterator[pl.DataFrame]:
    """The chunks as they come; after the last one `Contradiction` if runs disagree about the truth of an image.

    StoreError if a run has more images than its data set, or as many and other ones.
    """
    seen = [pl.DataFrame(schema=_SCHEMA)]
    for chunk in chunks:
        seen.append(_truths(chunk))
        yield chunk
    truths = pl.concat(seen)
    _refuse_other_images(truths, recipes)
    wrong = disagreeing(truths, recipes)
    if wrong.height:
        raise Contradiction(_sentence(wrong, recipes), wrong)


def _refuse_other_images(truths: pl.DataFrame, recipes: Mapping[str, RunRecipe]) -> None:
    """StoreError if a run has images that its data set does not have, as far as the ids of all of them tell."""
    images = pl.col("image_id")
    held = truths.group_by("run_id").agg(images.n_unique(), alike=images.unique().hash().sum())
    known: dict[tuple[object, int], bool] = {}  # runs of the same images are looked at once
    for run_id, count, alike in held.sort("run_id").iter_rows():
        recipe = recipes.get(run_id)
        if recipe is None or recipe.identity is None:  # before, a limit was written there too
            continue
        cure = "take away the part that no sweep of it wrote, or sweep into a new folder"
        if count > recipe.images:
            raise StoreError(f"Run {run_id} has rows of {count} images, and its data set has {recipe.images}; {cure}")
        if count == recipe.images and (names := recipe.benchmark.get("images")):
            if (names, alike) not in known:
                ids = truths.filter(run_id=run_id)["image_id"].unique().sort().to_list()
                known[names, alike] = digest(ids) == names
            if not known[names, alike]:
                raise StoreError(f"Run {run_id} has rows of images that its data set does not have; {cure}")


def disagreeing(truths: pl.DataFrame, recipes: Mapping[str, RunRecipe]) -> pl.DataFrame:
    """Of lines run_id, image_id, sample, truth those not as most of their image say; all where none has most."""
    alike = {run_id: _scored(recipe) for run_id, recipe in recipes.items()}
    place = pl.col("run_id").replace_strict(alike, default=None, return_dtype=pl.String)
    image = ["place", "image_id", "sample"]
    truths = truths.with_columns(place=place).drop_nulls("place")
    some = pl.col("sample").max().over("place", "image_id")  # rows that name no data are held against those that do
    truths = truths.with_columns(pl.col("sample").fill_null(some).fill_null(""))
    differing = truths.filter(pl.col("truth").n_unique().over(image) > 1)
    votes = differing.with_columns(votes=pl.len().over([*image, "truth"]))
    most = votes.filter(pl.col("votes") == pl.col("votes").max().over(image))
    decided = most.filter(pl.col("truth").n_unique().over(image) == 1).select(*image, right="truth").unique()
    suspects = differing.join(decided, on=image, how="left").filter(pl.col("truth").ne_missing(pl.col("right")))
    return suspects.select(KEY).sort(KEY)


def _truths(chunk: pl.DataFrame) -> pl.DataFrame:
    """run_id, image_id and a number that stands for the pixels of every true class, of every good row."""
    good = chunk.filter(pl.col("status") == "ok")
    lengths = good["pixels"].list.len().to_numpy().astype(np.int64)
    true, pixels = (good[name].list.explode(empty_as_null=False).to_numpy() for name in ("true", "pixels"))
    numbers = _numbers(true, pixels, lengths)
    return good.select(*KEY, "sample").with_columns(truth=pl.Series(numbers, dtype=pl.UInt64))


def _numbers(true: NDArray[np.integer], pixels: NDArray[np.integer], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number a row, from its overlaps laid end to end: the sum over true classes of a mixture of class and pixels."""
    row = np.repeat(np.arange(lengths.size), lengths)
    first = np.flatnonzero(np.r_[True, (true[1:] != true[:-1]) | (row[1:] != row[:-1])][: true.size])
    if not first.size:
        return np.zeros(lengths.size, np.uint64)
    sums = np.add.reduceat(pixels.astype(np.uint64), first)
    mixed = _mixed(_mixed(true[first].astype(np.uint64) + np.uint64(1)) ^ sums)
    ends = np.cumsum(np.bincount(row[first], minlength=lengths.size))
    totals = np.r_[np.uint64(0), np.cumsum(mixed, dtype=np.uint64)]  # wraps around, and so do the differences
    of_rows: NDArray[np.uint64] = totals[ends] - totals[np.r_[0, ends[:-1]]]
    return of_rows


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The last step of splitmix64 (Steele, Lea and Flood 2014): one to one, and every bit depends on all."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _scored(recipe: RunRecipe) -> str:
    """The same text for runs that score the same pixels of the same truths."""
    return json.dumps([recipe.benchmark, recipe.classes, scored_pixels(recipe.protocol)], sort_keys=True, default=str)


def _sentence(wrong: pl.DataFrame, recipes: Mapping[str, RunRecipe]) -> str:
    run, images = first_of(wrong)
    first = recipes[wrong["run_id"][0]]
    name = f"{first.method_name} {first.variant}".strip()
    return (
        f"{run}, {name}, counts other pixels of the true classes than the runs that score the same pixels of "
        f"{first.benchmark_name}: {images}; its rows, or the truths that it met, are not those of the others: find out "
        "which are right, move the parts with the wrong ones out of rows/ and run the sweep again"
    )
