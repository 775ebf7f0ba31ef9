"""A results folder goes in; what tables, explanations and the report share comes out: scores, sums, intervals, ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import polars as pl

from results.counts import estimators, significance
from results.counts.boundaries import Counted, of_rows
from results.counts.estimators import ClassCounts
from results.counts.image_effects import ImageEffects
from results.counts.presence import PresenceCounts, presence
from results.counts.significance import Group
from results.counts.standings import Standing, Standings
from results.counts.tally import tally
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.tables import leaderboard
from results.tables.ranking import Entry, Leaderboard, place_of


@dataclass(frozen=True, eq=False)
class Column:
    """The runs of one benchmark under one protocol, which alone may be compared with each other."""

    benchmark: str
    protocol: str
    entries: tuple[Entry, ...]
    standings: Standings

    @property
    def title(self) -> str:
        """The benchmark, marked where it is a part of itself."""
        return next((entry.title for entry in self.entries if entry.part), self.benchmark)

    @property
    def apart(self) -> str:
        """What tells its protocol from the others of the folder, in words."""
        return self.entries[0].apart

    @property
    def effects(self) -> ImageEffects | None:
        """Of the runs that have every image."""
        return self.standings.effects

    def standing(self, run_id: str) -> Standing | None:
        """How a run stands to the best; None for a run that is in no comparison."""
        return self.standings.by_run.get(run_id)

    def group_of(self, run_id: str) -> int | None:
        """The group of a run, counted from 1; None for a run that is in no comparison, or has not all images."""
        standing = self.standing(run_id)
        return standing.group if standing else None

    def interval(self, run_id: str) -> tuple[float, float] | None:
        """The approximate 95 % interval of a run's mIoU on its own images, 0..1."""
        standing = self.standing(run_id)
        return standing.interval if standing else None


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

    def class_ious(self, run_id: str) -> dict[str, float | None]:
        """IoU 0..1 by the name of every scored class; None where it is in no truth and no prediction."""
        found = estimators.class_iou(self.counts(run_id)).tolist()
        return {name: None if iou != iou else iou for name, iou in zip(self.classes(run_id), found, strict=True)}

    @cached_property
    def presence(self) -> Mapping[str, PresenceCounts]:
        """By run, in how many images each class is and is seen; the folder is read once more for it."""
        background = [run_id for run_id, recipe in self.recipes.items() if recipe.scores_background]
        classes = {run_id: len(recipe.classes) for run_id, recipe in self.recipes.items()}
        return presence(self.store.chunks(self.recipes), classes, background)

    @cached_property
    def boundaries(self) -> Mapping[str, Counted]:
        """By run, what its rows say of the boundaries of classes; the folder is read once more for it."""
        background = [run_id for run_id, recipe in self.recipes.items() if recipe.scores_background]
        classes = {run_id: len(recipe.classes) for run_id, recipe in self.recipes.items()}
        return of_rows(self.store.chunks(self.recipes), classes, background)

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
    board = leaderboard.build_board(store, partial, everything)
    stored = store.recipes()
    recipes = {run_id: stored[run_id] for run_id in board.run_ids}
    background = [run_id for run_id, recipe in recipes.items() if recipe.scores_background]
    sums = tally(store.chunks(recipes), background)
    parts = sums.confusions.partition_by("run_id", as_dict=True)
    confusions = {run_id: parts.get((run_id,), sums.confusions.clear()) for run_id in recipes}
    groups = groupby(board.entries, key=place_of)
    columns = [Column(*place, tuple(entries), board.standings[place]) for place, entries in groups]
    return Evidence(store, board, recipes, confusions, sums.images, tuple(columns))


def among(column: Column, run_ids: Sequence[str]) -> tuple[Group, ...]:
    """The groups of some runs of a column by themselves; empty where nothing can be compared."""
    if column.effects is None or not set(run_ids) & set(column.effects.run_ids):
        return ()
    return significance.groups(column.effects.only(run_ids), column.standings.seed)
