"""A table's cell (or a run's id) goes in; the receipt comes out: what the number is made of and how to get it again.

`python -m results.explain TABLE ROW COLUMN --results DIR`, or with a run's id alone. `--grid FILE` writes the grid of
that one run, which `python -m harness.sweep FILE` computes again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contracts.command_line import typed
from harness.errors import StoreError, nearest
from results.counts import estimators
from results.folder import artefacts
from results.folder.proof import read_json
from results.folder.recipes import RunRecipe, recipe_path
from results.folder.store import Store
from results.tables import again, cards, matrices, significance_words
from results.tables.evidence import Evidence
from results.tables.leaderboard import Entry
from results.tables.matrices import Matrix, TableCell
from results.tables.scores import score

Section = tuple[str, list[str]]


def receipt(evidence: Evidence, run_id: str, value: str = "miou") -> list[Section]:
    """All that stands behind a run's number, as titled lines."""
    recipe, entry = evidence.recipes[run_id], evidence.entry(run_id)
    column = evidence.column_of(run_id)
    found = score(evidence, run_id, value)
    interval = column.interval(run_id) if value == "miou" else None
    beside = f", about 95 % interval {_range(interval)}" if interval else ""
    words = [f"{value} = {found.why or _percent(found.value)}{beside}", *([found.note] if found.note else [])]
    words += significance_words.run_in_words(entry, column.standings)
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
        ("Computed on", _cards(evidence, run_id)),
        ("Data", [_data(entry)]),
        ("Classes", _classes(evidence, run_id)),
        ("Protocol", _pairs(recipe.protocol)),
        *([("Chosen", _pairs(recipe.chosen))] if recipe.chosen else []),
        ("Method", _facts(recipe.method)),
        ("Weights", [line for backbone in recipe.backbones for line in _facts(backbone)] or ["no backbone"]),
        ("Benchmark", _facts(recipe.benchmark)),
        *([("Harness", _pairs(raw["harness"]))] if (raw := _raw(evidence.store, recipe)).get("harness") else []),
        *_sweeps(recipe),
        *_further(evidence.store, recipe),
    ]


def commands(evidence: Evidence, run_id: str, where: Path | str) -> list[str]:
    """What to type to get the number again, in a folder of its own. where: the folder, or the URL, as it was given."""
    place, entry = shlex.quote(str(where)), evidence.entry(run_id)
    limit = f" --limit {entry.images + entry.failed}" if entry.missing else ""
    found = again.beside_plug_ins(evidence.store, evidence.recipes[run_id])
    grid = shlex.quote("again.yaml" if found is None else str(Path(found, "again.yaml")))
    return [
        f"{typed('explain')} {run_id} --results {place} --grid {grid}",
        f"{typed('sweep')} {grid} --results again{limit}",
        *(["(not all plug-ins of this run are found here: again.yaml belongs beside them)"] if found is None else []),
    ]


def find_cell(evidence: Evidence, table: str, row: str, column: str) -> tuple[Matrix, TableCell]:
    """The cell of a declared table. StoreError names what exists."""
    specs = {spec.name: spec for spec in matrices.declared(evidence.store)}
    if table not in specs:
        raise StoreError(f"no table is called {table!r}{nearest(table, specs)} (tables: {', '.join(specs)})")
    matrix = matrices.build_matrix(evidence, specs[table])
    return matrix, matrix.cell(row, column)


def _data(entry: Entry) -> str:
    verified = entry.images - entry.unverified
    disputed = f", {entry.disputed} were not the same for another run" if entry.disputed else ""
    return f"{verified} images with the digest of what was decoded, {entry.unverified} unverified{disputed}"


def _cards(evidence: Evidence, run_id: str) -> list[str]:
    """Which kinds of card, or CPU, computed its images."""
    found = cards.by_kind(evidence.images.filter(run_id=run_id))
    several = ["they may round differently"] if sum(kind != cards.UNKNOWN for kind, *_ in found) > 1 else []
    return [*(f"{kind}: {rows} images" for kind, rows, _ in found), *several] or ["nothing yet"]


def _classes(evidence: Evidence, run_id: str) -> list[str]:
    """What mIoU is the mean of: every class with its summed intersection and union, in pixels."""
    counts = evidence.counts(run_id)
    columns = counts.intersection.tolist(), counts.union.tolist(), estimators.class_iou(counts).tolist()
    return [
        f"{name}: {inside} / {union} = {_percent(iou)}" if union else f"{name}: in no truth and no prediction"
        for name, inside, union, iou in zip(evidence.classes(run_id), *columns, strict=True)
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


def explain(evidence: Evidence, words: Sequence[str]) -> tuple[str | None, list[Section]]:
    """The run behind TABLE ROW COLUMN (None for a hole) or RUN, and its receipt."""
    if len(words) == 1:
        if words[0] not in evidence.recipes:
            known = nearest(words[0], evidence.recipes)
            raise StoreError(f"{evidence.store.folder} holds no run {words[0]!r}{known}; leaderboard.csv lists the ids")
        return words[0], receipt(evidence, words[0])
    matrix, cell = find_cell(evidence, *words)
    title: Section = ("Cell", [f"table {words[0]}, row {words[1]}, column {words[2]}"])
    hole: list[Section] = [("Missing", [cell.missing])] if cell.missing else []
    whole = receipt(evidence, cell.run_id, matrix.spec.value) if cell.run_id else _mean(evidence, matrix, cell)
    return cell.run_id, [title, *hole, *whole]


def _mean(evidence: Evidence, matrix: Matrix, cell: TableCell) -> list[Section]:
    """A number of several runs: over seeds, or over data sets, with the runs that it is the mean of."""
    if cell.value is None:
        return []
    beside = f", about 95 % interval {_range(cell.interval)}" if cell.interval else ""
    number = [f"{matrix.spec.value} = {_percent(cell.value)}{beside}", *([cell.note] if cell.note else [])]
    runs = []
    for run_id in cell.of:
        entry, found = evidence.entry(run_id), score(evidence, run_id, matrix.spec.value)
        name = f"{entry.method} {entry.variant}".rstrip()
        runs.append(f"{run_id}: {name} on {entry.benchmark}, {found.why or _percent(found.value)}")
    return [("Number", number), ("Mean of", runs or ["no runs"])]
