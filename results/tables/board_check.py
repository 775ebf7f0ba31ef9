"""A written leaderboard.csv and the sums of the rows go in; a sentence comes out where the two do not agree."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from results.counts import estimators
from results.counts.tally import Tally
from results.folder.recipes import RunRecipe
from results.folder.rows import some_of
from results.tables.ranking import percent

_ANEW = "`python -m results.leaderboard DIR` makes it anew"


def fault(path: Path, sums: Tally, recipes: Mapping[str, RunRecipe]) -> str:
    """What is wrong with the table's mIoU; empty where nothing is, or where there is no table.

    A line of another number of images is no fault: a sweep that was killed leaves the table of before it.
    """
    try:
        lines = list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.is_file() else []
    except (OSError, ValueError, csv.Error) as error:
        return f"{path} cannot be read ({error}); {_ANEW}"
    good = dict(sums.images.filter(pl.col("status") == "ok")["run_id"].value_counts().iter_rows())
    stands = [line for line in lines if line.get("images") == str(good.get(line.get("run_id"), 0))]
    wrong = [
        line["run_id"] for line in stands
        if line["run_id"] in recipes and line.get("miou") != percent(_miou(sums, recipes[line["run_id"]]))
    ]  # fmt: skip
    return f"{path} is not what the rows give (of {some_of(wrong)}); {_ANEW}" if wrong else ""


def _miou(sums: Tally, recipe: RunRecipe) -> float | None:
    own = sums.confusions.filter(pl.col("run_id") == recipe.run_id)
    return estimators.miou(estimators.counts_of(own, len(recipe.classes), recipe.scores_background))
