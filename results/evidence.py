"""A results folder goes in; what tables, explanations and the report share comes out: scores, sums, intervals, ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import polars as pl

from harness.errors import StoreError
from results import estimators, leaderboard, significance
from results.estimators import ClassCounts
from results.leaderboard import Entry, Leaderboard
from results.recipes import RunRecipe
from results.significance import Bootstrap, Comparison
from results.store import Store
from results.tally import tally

ALPHA = 0.05
RESAMPLES = 10_000
_MOST_RESAMPLES = 100_000
_MOST_PRODUCTS = 60_000_000_000  # resamples x runs x images x classes: a minute on two cores
_MOST_COUNTS = 250_000_000  # runs x images x classes that are held at a time, 4 GB: beyond it no intervals are made


@dataclass(frozen=True, eq=False)
class Column:
    """The runs of one benchmark under one protocol, which alone may be compared with each other.

    bootstrap, comparisons and groups cover the ranked runs only; where they are empty, `why` says why. groups: tie
    groups, the best first.
    """

    benchmark: str
    protocol: str
    entries: tuple[Entry, ...]
    bootstrap: Bootstrap | None = None
    comparisons: tuple[Comparison, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    why: str = ""

    def group_of(self, run_id: str) -> int | None:
        """The tie group of a run, counted from 1; None for a run that is in no comparison."""
        return next((n for n, group in enumerate(self.groups, start=1) if run_id in group), None)

    def interval(self, run_id: str) -> tuple[float, float] | None:
        """The 95 % interval of a run's mIoU, 0..1."""
        if self.bootstrap is None or run_id not in self.bootstrap.run_ids:
            return None
        low, high = self.bootstrap.interval(run_id)
        return None if math.isnan(low) else (low, high)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known of a folder's runs.

    confusions: run_id, true, predicted, pixels. images: run_id, image_id, status, seconds, image_miou.
    """

    store: Store
    board: Leaderboard
    recipes: Mapping[str, RunRecipe]
    confusions: Mapping[str, pl.DataFrame]
    images: pl.DataFrame
    columns: tuple[Column, ...]

    def counts(self, run_id: str) -> ClassCounts:
        """I, L and P by class of one run."""
        recipe = self.recipes[run_id]
        return estimators.counts_of(self.confusions[run_id], len(recipe.classes), recipe.scores_background)

    def entry(self, run_id: str) -> Entry:
        """The run's line in the leaderboard."""
        return next(entry for entry in self.board.entries if entry.run_id == run_id)

    def column_of(self, run_id: str) -> Column:
        """Where a run may be compared."""
        return next(column for column in self.columns if any(e.run_id == run_id for e in column.entries))

    def classes(self, run_id: str) -> tuple[str, ...]:
        """The names of the scored classes, the background first where it is scored."""
        recipe = self.recipes[run_id]
        return ("background", *recipe.classes) if recipe.scores_background else tuple(recipe.classes)


def gather(store: Store, partial: bool = False, everything: bool = False) -> Evidence:
    """Read a folder once and compare what may be compared. `partial` lets runs with holes take part.

    StoreError when there is nothing to show.
    """
    board = leaderboard.build(store, partial, everything)
    stored = store.recipes()
    recipes = {run_id: stored[run_id] for run_id in board.run_ids}
    background = [run_id for run_id, recipe in recipes.items() if recipe.scores_background]
    sums = tally(store.chunks(recipes), background)
    parts = sums.confusions.partition_by("run_id", as_dict=True)
    confusions = {run_id: parts.get((run_id,), sums.confusions.clear()) for run_id in recipes}
    groups = groupby(board.entries, key=lambda e: (e.benchmark, e.protocol))
    columns = [_column(store, recipes, benchmark, protocol, list(one)) for (benchmark, protocol), one in groups]
    return Evidence(store, board, recipes, confusions, sums.images, tuple(columns))


def _column(
    store: Store, recipes: Mapping[str, RunRecipe], benchmark: str, protocol: str, entries: Sequence[Entry]
) -> Column:
    ranked = [entry.run_id for entry in entries if entry.rank is not None]
    images = max((entry.images for entry in entries), default=0)
    without = Column(benchmark, protocol, tuple(entries))
    if not ranked:
        return replace(without, why="no run has every image")
    recipe = recipes[ranked[0]]
    if len(ranked) * images * len(recipe.classes) > _MOST_COUNTS:
        return replace(without, why="the counts of all images are too many to be drawn again and again")
    try:
        chunks = store.chunks(ranked)
        counts = significance.image_counts(chunks, ranked, len(recipe.classes), recipe.scores_background)
    except StoreError as error:  # runs that share no image, which only a partial table ranks
        return replace(without, why=str(error))
    result = significance.bootstrap(counts, _resamples(*counts.intersection.shape))
    comparisons = tuple(significance.compare(result))
    groups = tuple(significance.tie_groups(result, comparisons, ALPHA))
    return Column(benchmark, protocol, tuple(entries), result, comparisons, groups)


def _resamples(runs: int, images: int, classes: int) -> int:
    """So many that the smallest p-value can stay below alpha after Holm's rule over all pairs, if affordable."""
    affordable = min(_MOST_RESAMPLES, max(RESAMPLES, _MOST_PRODUCTS // (runs * images * classes)))
    pairs, number = runs * (runs - 1) // 2, RESAMPLES
    while number < affordable and pairs * significance.p_value(np.ones(number), images) > ALPHA / 2:
        number = min(2 * number, affordable)
    return number


def among(column: Column, run_ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The tie groups of some runs of a column by themselves: Holm's rule over their pairs alone."""
    if column.bootstrap is None:
        return ()
    places = [n for n, run_id in enumerate(column.bootstrap.run_ids) if run_id in run_ids]
    if not places:
        return ()
    full = column.bootstrap
    ids = tuple(full.run_ids[n] for n in places)
    part = Bootstrap(ids, full.score[places], full.replicates[:, places], full.images)
    return tuple(significance.tie_groups(part, significance.compare(part), ALPHA))
