"""A table's cell (or a run's id) goes in; the receipt comes out: what the number is made of and how to get it again.

`python -m results.explain TABLE ROW COLUMN --results DIR`, or with a run's id alone. `--grid FILE` writes the grid of
that one run, which `python -m harness.sweep FILE` computes again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from harness.contracts import expanded
from harness.errors import HarnessError, StoreError, nearest
from results import artefacts, matrices, significance_words
from results.again import grid_text
from results.door import door
from results.durable import write_text
from results.evidence import Evidence, gather
from results.leaderboard import Entry
from results.matrices import Cell, Matrix
from results.proof import read_json
from results.recipes import RunRecipe, recipe_path
from results.store import Store

Section = tuple[str, list[str]]


def receipt(evidence: Evidence, run_id: str, value: str = "miou") -> list[Section]:
    """All that stands behind a run's number, as titled lines."""
    recipe, entry = evidence.recipes[run_id], evidence.entry(run_id)
    column = evidence.column_of(run_id)
    number = matrices.score(evidence, run_id, value)
    interval = column.interval(run_id) if value == "miou" else None
    words = [f"{value} = {_percent(number)}" + (f", about 95 % interval {_range(interval)}" if interval else "")]
    words += significance_words.run(entry, column.standings)
    return [
        ("Number", words),
        ("Run", [f"{run_id}: {entry.method} {entry.variant}".rstrip() + f" on {entry.benchmark}"]),
        (
            "Images",
            [
                f"{entry.images} scored, {entry.failed} failed, {entry.missing} missing, of {entry.whole}",
                *([f"a part: {entry.part}"] if entry.part else []),
            ],
        ),
        ("Data", [_data(entry)]),
        ("Classes", _classes(evidence, run_id)),
        ("Protocol", _pairs(recipe.protocol)),
        ("Method", _facts(recipe.method)),
        ("Weights", [line for backbone in recipe.backbones for line in _facts(backbone)] or ["no backbone"]),
        ("Benchmark", _facts(recipe.benchmark)),
        *([("Harness", _pairs(raw["harness"]))] if (raw := _raw(evidence.store, recipe)).get("harness") else []),
        *_sweeps(recipe),
        *_further(evidence.store, recipe),
    ]


def commands(evidence: Evidence, run_id: str) -> list[str]:
    """What to type to get the number again, in a folder of its own."""
    folder, entry = shlex.quote(str(evidence.store.folder)), evidence.entry(run_id)
    limit = f" --limit {entry.images + entry.failed}" if entry.missing else ""
    return [
        f"python -m results.explain {run_id} --results {folder} --grid again.yaml",
        f"python -m harness.sweep again.yaml --results again{limit}",
    ]


def find(evidence: Evidence, table: str, row: str, column: str) -> tuple[Matrix, Cell]:
    """The cell of a declared table. StoreError names what exists."""
    specs = {spec.name: spec for spec in matrices.declared(evidence.store)}
    if table not in specs:
        raise StoreError(f"no table is called {table!r}{nearest(table, specs)} (tables: {', '.join(specs)})")
    matrix = matrices.build(evidence, specs[table])
    return matrix, matrix.cell(row, column)


def _data(entry: Entry) -> str:
    verified = entry.images - entry.unverified
    disputed = f", {entry.disputed} were not the same for another run" if entry.disputed else ""
    return f"{verified} images with the digest of what was decoded, {entry.unverified} unverified{disputed}"


def _classes(evidence: Evidence, run_id: str) -> list[str]:
    """What mIoU is the mean of: every class with its summed intersection and union, in pixels."""
    counts = evidence.counts(run_id)
    sums = zip(evidence.classes(run_id), counts.intersection.tolist(), counts.union.tolist(), strict=True)
    return [
        f"{name}: {inside} / {union} = {_percent(inside / union)}"
        if union
        else f"{name}: in no truth and no prediction"
        for name, inside, union in sums
    ]


def _facts(facts: Mapping[str, Any]) -> list[str]:
    rest = {key: value for key, value in facts.items() if key not in ("use", "settings")}
    return [str(facts.get("use", "")), *_pairs(facts.get("settings", {})), *_pairs(rest)]


def _pairs(content: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in content.items()]


def _sweeps(recipe: RunRecipe) -> list[Section]:
    """Versions and commit of everything that added rows."""
    made_by = recipe.made_by or ({},)
    versions = [_pairs(one.get("versions") or {}) or ["not recorded"] for one in made_by]
    commits = [one.get("commit") or "not recorded" for one in made_by]
    return [*(("Versions", lines) for lines in versions), ("Commit", list(dict.fromkeys(commits)))]


def _raw(store: Store, recipe: RunRecipe) -> dict[str, Any]:
    return read_json(recipe_path(store.folder / "recipes", recipe.run_id))


def _further(store: Store, recipe: RunRecipe) -> list[Section]:
    """The card of what was learned, and what else the recipe says."""
    known, raw = {*RunRecipe.__dataclass_fields__, "harness"}, _raw(store, recipe)
    further = [(key.capitalize(), _lines(value)) for key, value in raw.items() if key not in known and value]
    if not recipe.artefact:
        return further
    artefact_id = str(recipe.artefact.get("id", ""))
    whole = artefacts.has_artefact(store.folder, artefact_id)
    card = _lines(artefacts.card(store.folder, artefact_id)) if whole else ["not in this folder"]
    return [("Artefact", _pairs(recipe.artefact)), ("Card", card), *further]


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return _pairs(value)
    items = value if isinstance(value, list | tuple) else [value]
    return [json.dumps(item, ensure_ascii=False) for item in items]


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.4f} %"


def _range(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def _of_another_grid(options: argparse.Namespace) -> bool:
    """Whether a run is asked for that the last grid does not list: then everything stored is looked at."""
    table = Store.open(options.results, create=False).table()
    return len(options.words) == 1 and table is not None and options.words[0] not in table.run_ids


def explain(evidence: Evidence, words: Sequence[str]) -> tuple[str | None, list[Section]]:
    """The run behind TABLE ROW COLUMN (None for a hole) or RUN, and its receipt."""
    if len(words) == 1:
        if words[0] not in evidence.recipes:
            known = nearest(words[0], evidence.recipes)
            raise StoreError(f"{evidence.store.folder} holds no run {words[0]!r}{known}; leaderboard.csv lists the ids")
        return words[0], receipt(evidence, words[0])
    matrix, cell = find(evidence, *words)
    title: Section = ("Cell", [f"table {words[0]}, row {words[1]}, column {words[2]}"])
    hole: list[Section] = [("Missing", [cell.missing])] if cell.missing else []
    return cell.run_id, [title, *hole, *(receipt(evidence, cell.run_id, matrix.spec.value) if cell.run_id else [])]


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the receipt of a number; 0 done, 2 with one sentence when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m results.explain", description=main.__doc__)
    parser.add_argument("words", nargs="+", metavar="TABLE ROW COLUMN | RUN", help="a table's cell, or a run's id")
    parser.add_argument("--results", type=expanded, default="runs", metavar="DIR", help="the folder (default: runs)")
    parser.add_argument("--partial", action="store_true", help="runs with missing or failed images have numbers too")
    parser.add_argument("--grid", type=expanded, metavar="FILE", help="write the grid that computes this run again")
    options = parser.parse_args(arguments)
    if len(options.words) not in (1, 3):
        parser.error("name a TABLE, a ROW and a COLUMN, or one RUN")
    try:
        evidence = gather(Store.open(options.results, create=False), options.partial, _of_another_grid(options))
        run_id, sections = explain(evidence, options.words)
        if options.grid and run_id:
            write_text(options.grid, grid_text(evidence.store, evidence.recipes[run_id]))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for title, lines in [*sections, *([("Again", commands(evidence, run_id))] if run_id else [])]:
        print(f"{title:<10} {lines[0] if lines else ''}")
        print(*(f"{'':<10} {line}" for line in lines[1:]), sep="\n", end="\n" if lines[1:] else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
