"""A results folder goes in; a ranked leaderboard, a matrix of methods x benchmarks and a terminal table come out.

`python -m results.leaderboard DIR [--partial] [--all]` writes `leaderboard.csv` and `matrix.csv` into the folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from harness.contracts import expanded
from harness.errors import HarnessError, StoreError
from results import estimators
from results.agreement import agreeing
from results.door import door
from results.durable import write_text
from results.protocols import differences
from results.recipes import RunRecipe
from results.store import Store
from results.tally import tally
from results.terminal import print_leaderboard

COLUMNS = (
    "rank", "method", "variant", "benchmark", "protocol", "images", "failed", "miou", "image_miou", "pixel_accuracy",
    "run_id",
)  # fmt: skip
_SCORES = ("miou", "image_miou", "pixel_accuracy")


@dataclass(frozen=True)
class Entry:
    """One run in the leaderboard; scores 0..1, None where undefined; `missing` images have neither row nor failure."""

    rank: int | None
    method: str
    variant: str
    benchmark: str
    protocol: str
    images: int
    failed: int
    missing: int
    miou: float | None
    image_miou: float | None
    pixel_accuracy: float | None
    run_id: str

    @property
    def complete(self) -> bool:
        return self.failed == 0 and self.missing == 0


@dataclass(frozen=True)
class Leaderboard:
    """Entries in their order; `partial` says whether runs with holes are ranked and fill the matrix.

    run_ids: the runs as the grid lists them. differing: the fields in which their protocols differ; protocols share no
    column, in no table.
    """

    name: str
    entries: tuple[Entry, ...]
    run_ids: tuple[str, ...]
    partial: bool
    differing: tuple[str, ...] = ()


def percent(value: float | None) -> str:
    """A score 0..1 as percent with 4 decimals; empty where undefined."""
    return "" if value is None else f"{100 * value:.4f}"


def build(store: Store, partial: bool = False, everything: bool = False) -> Leaderboard:
    """The leaderboard of the last grid's runs, or of every stored run. StoreError when there is nothing to show."""
    table = store.table()
    recipes = _recipes(store, everything)
    labels = _benchmark_labels(recipes.values())
    background = [run_id for run_id, recipe in recipes.items() if recipe.scores_background]
    sums = tally(agreeing(store.chunks(recipes), recipes), background)
    images = sums.images.partition_by("run_id", as_dict=True)
    confusions = sums.confusions.partition_by("run_id", as_dict=True)
    none_i, none_c = sums.images.clear(), sums.confusions.clear()
    entries = [
        _entry(recipe, labels[run_id], images.get((run_id,), none_i), confusions.get((run_id,), none_c))
        for run_id, recipe in recipes.items()
    ]
    entries = _with_missing(entries, recipes, sums.images)
    order = {label: place for place, label in enumerate(dict.fromkeys(labels.values()))}
    ranked = sorted(_ranked(entries, partial), key=lambda e: _order(e, order))
    rules = [recipe.protocol for recipe in recipes.values()]
    differing = dict.fromkeys(name for other in rules[1:] for name in differences(rules[0], other))
    return Leaderboard(table.name if table else "", tuple(ranked), tuple(recipes), partial, tuple(differing))


def _recipes(store: Store, everything: bool) -> dict[str, RunRecipe]:
    """The recipes to show, the last grid's first and in its order."""
    stored = store.recipes()
    table = store.table()
    wanted = list(table.run_ids) if table else []
    if everything or table is None:
        rest = [recipe for run_id, recipe in stored.items() if run_id not in wanted]
        rest.sort(key=lambda r: (r.benchmark_name, r.method_name, r.variant, r.run_id))
        wanted += [recipe.run_id for recipe in rest]
    if not wanted:
        raise StoreError(f"{store.folder} holds no run yet; run a sweep with --results {store.folder}")
    for run_id in wanted:
        if run_id not in stored:
            raise StoreError(f"{store.folder}/recipes lacks run {run_id} of the last grid; run the sweep again")
    return {run_id: stored[run_id] for run_id in wanted}


def _benchmark_labels(recipes: Iterable[RunRecipe]) -> dict[str, str]:
    """Run id -> the benchmark's name, with the settings that differ where one name stands for several benchmarks."""
    recipes = list(recipes)
    kinds: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for recipe in recipes:
        kinds[recipe.benchmark_name].setdefault(_identity(recipe), _settings(recipe))
    labels = {}
    for recipe in recipes:
        same_name = kinds[recipe.benchmark_name]
        label = recipe.benchmark_name
        if len(same_name) > 1:
            mine = same_name[_identity(recipe)]
            differing = [k for k in mine if any(other.get(k) != mine[k] for other in same_name.values())]
            number = list(same_name).index(_identity(recipe)) + 1
            label += "".join(f" {k}={mine[k]}" for k in differing) or f" #{number}"
        labels[recipe.run_id] = label
    return labels


def _identity(recipe: RunRecipe) -> str:
    return json.dumps([recipe.benchmark, recipe.classes], sort_keys=True)


def _settings(recipe: RunRecipe) -> dict[str, Any]:
    return dict(sorted(dict(recipe.benchmark.get("settings", {})).items()))


def _entry(recipe: RunRecipe, benchmark: str, images: pl.DataFrame, confusion: pl.DataFrame) -> Entry:
    """One run's scores and counts; what is missing and the rank are known only among its neighbours."""
    highest = int(confusion["true"].max() or 0) if confusion.height else 0  # type: ignore[arg-type]
    if highest > len(recipe.classes):
        raise StoreError(
            f"run {recipe.run_id} has pixels of class {highest}, but its recipe lists {len(recipe.classes)} classes; "
            "run the sweep again to write the recipe anew"
        )
    counts = estimators.counts_of(confusion, len(recipe.classes), recipe.scores_background)
    failed = int((images["status"] == "failed").sum())
    return Entry(
        rank=None,
        method=recipe.method_name,
        variant=recipe.variant,
        benchmark=benchmark,
        protocol=recipe.protocol_text,
        images=images.height - failed,
        failed=failed,
        missing=0,
        miou=estimators.miou(counts),
        image_miou=estimators.image_miou(images["image_miou"]),
        pixel_accuracy=estimators.pixel_accuracy(counts),
        run_id=recipe.run_id,
    )


def _with_missing(entries: list[Entry], recipes: Mapping[str, RunRecipe], images: pl.DataFrame) -> list[Entry]:
    """Entries with the number of images they lack: of those promised, and of those any run of the benchmark has."""
    label = {entry.run_id: entry.benchmark for entry in entries}
    seen = images.select(pl.col("run_id").replace_strict(label, return_dtype=pl.String), "image_id").unique()
    expected: Counter[str] = Counter(seen["run_id"].to_list())
    for entry in entries:
        expected[entry.benchmark] = max(expected[entry.benchmark], recipes[entry.run_id].images)
    return [replace(e, missing=expected[e.benchmark] - e.images - e.failed) for e in entries]


def _ranked(entries: Sequence[Entry], partial: bool) -> list[Entry]:
    """Ranks within a benchmark and protocol, by mIoU as it is printed; equal ones share the better rank."""
    rivals: dict[tuple[str, str], list[float]] = defaultdict(list)
    able = {e.run_id for e in entries if e.miou is not None and (partial or e.complete)}
    for entry in entries:
        if entry.run_id in able:
            rivals[entry.benchmark, entry.protocol].append(float(percent(entry.miou)))
    return [
        replace(e, rank=1 + sum(r > float(percent(e.miou)) for r in rivals[e.benchmark, e.protocol]))
        if e.run_id in able
        else e
        for e in entries
    ]


def _order(entry: Entry, benchmarks: Mapping[str, int]) -> tuple[Any, ...]:
    place = (entry.rank is None, entry.rank or 0)
    return (benchmarks[entry.benchmark], entry.protocol, *place, entry.method, entry.variant, entry.run_id)


def leaderboard_csv(board: Leaderboard) -> str:
    """The text of leaderboard.csv."""
    lines = [[percent(getattr(e, c)) if c in _SCORES else getattr(e, c) for c in COLUMNS] for e in board.entries]
    return _csv([COLUMNS, *lines])


def matrix_csv(board: Leaderboard) -> str:
    """The text of matrix.csv: a line a method and variant, a column a benchmark (and protocol), mIoU; holes empty.

    Lines and columns come in the order of the grid.
    """
    protocols = {entry.protocol for entry in board.entries}
    cells: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    columns: dict[str, None] = {}
    doubled = Counter((e.method, e.variant, e.benchmark, e.protocol) for e in board.entries)
    place = {run_id: n for n, run_id in enumerate(board.run_ids)}
    for e in sorted(board.entries, key=lambda e: place[e.run_id]):
        column = e.benchmark if len(protocols) == 1 else f"{e.benchmark} [{e.protocol}]"
        columns[column] = None
        # Two runs of one name (another version of the method, say) stand apart, each under its id.
        apart = e.run_id if doubled[e.method, e.variant, e.benchmark, e.protocol] > 1 else ""
        cells[e.method, e.variant, apart][column] = percent(e.miou) if board.partial or e.complete else ""
    lines = [
        [method, f"{variant} [{apart}]".strip() if apart else variant, *(row.get(column, "") for column in columns)]
        for (method, variant, apart), row in cells.items()
    ]
    return _csv([["method", "variant", *columns], *lines])


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if cell is None else cell for cell in line] for line in lines])
    return text.getvalue()


def write(board: Leaderboard, folder: Path) -> tuple[Path, Path]:
    """Write both CSV files into the folder and say where they are."""
    paths = folder / "leaderboard.csv", folder / "matrix.csv"
    for path, text in zip(paths, (leaderboard_csv(board), matrix_csv(board)), strict=True):
        write_text(path, text)
    return paths


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the CSV files of a results folder; 0 done, 2 with one sentence when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m results.leaderboard", description=main.__doc__)
    parser.add_argument("folder", type=expanded, metavar="DIR", help="the results folder of a sweep")
    parser.add_argument("--partial", action="store_true", help="rank runs with missing or failed images too")
    parser.add_argument("--all", action="store_true", help="show every stored run, not only those of the last grid")
    options = parser.parse_args(arguments)
    try:
        store = Store.open(options.folder, create=False)
        board = build(store, options.partial, options.all)
        paths = write(board, store.folder)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print_leaderboard(board)
    print(f"\n{paths[0]}\n{paths[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
