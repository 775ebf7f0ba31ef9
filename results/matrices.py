"""Declared tables and a folder's evidence go in; matrices of cells come out, holes named, the best marked where sure.

A declared table: `name`, `caption`, `rows` and `columns` (each `method`, `variant`, `benchmark` or a setting, or a list
of these), `value` (a score), `where` (`{method: [...], setting: value}`; a setting that a run does not have leaves it
in), `labels` (`{value: text}`) and `published` (a table of the ledger). Values listed in `where` or `labels` for the
rows or columns give their order, and those without a run stand as holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import StoreError, nearest
from results import estimators
from results.evidence import Column, Evidence, among
from results.leaderboard import Entry
from results.recipes import RunRecipe
from results.store import Store

EVERYTHING = "matrix"  # the table that every folder has: all methods and variants on all benchmarks
VALUES = ("image_miou", *estimators.SCORES)
NO_RUN = "no run"
Key = tuple[str, ...]


@dataclass(frozen=True)
class TableSpec:
    """A table as the grid declares it."""

    name: str
    rows: tuple[str, ...] = ("method", "variant")
    columns: tuple[str, ...] = ("benchmark",)
    value: str = "miou"
    caption: str = ""
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    published: str | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableSpec:
        """From the grid's own form. StoreError when a value is unknown."""
        value = str(content.get("value") or "miou")
        if value not in VALUES:
            known = f"{nearest(value, VALUES)} (values: {', '.join(VALUES)})"
            raise StoreError(
                f"table {content.get('name')!r} asks for the value {value!r}, which nobody computes{known}"
            )
        where = {str(key): _several(chosen) for key, chosen in (content.get("where") or {}).items()}
        labels = {spell(key): str(text) for key, text in (content.get("labels") or {}).items()}
        rows, columns = (
            tuple(map(str, _several(content.get(key) or default)))
            for key, default in (("rows", "method"), ("columns", "benchmark"))
        )
        caption, published = str(content.get("caption") or ""), content.get("published")
        return cls(str(content["name"]), rows, columns, value, caption, where, labels, published)

    def label(self, key: Key) -> str:
        """The words of a row or column."""
        whole = " ".join(part for part in key if part)
        return self.labels.get(whole) or " ".join(self.labels.get(part, part) for part in key if part)


@dataclass(frozen=True)
class Cell:
    """One number: value 0..1 (None for a hole), what is missing in words, `best` or `second` where that is sure."""

    run_id: str | None = None
    value: float | None = None
    missing: str = ""
    mark: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Matrix:
    """A table with its cells, rows first. `marked` says whether anything in it is separated."""

    spec: TableSpec
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def cell(self, row: str, column: str) -> Cell:
        """The cell at two labels. StoreError names what exists."""
        for label, known, what in ((row, self.rows, "row"), (column, self.columns, "column")):
            if label not in known:
                raise StoreError(
                    f"table {self.spec.name!r} has no {what} {label!r}{nearest(label, known)} "
                    f"({what}s: {', '.join(repr(one) for one in known)})"
                )
        return self.cells[self.rows.index(row)][self.columns.index(column)]

    @property
    def holes(self) -> list[tuple[str, str, str]]:
        """Row, column and what is missing, for every hole."""
        return [
            (row, column, cell.missing)
            for row, line in zip(self.rows, self.cells, strict=True)
            for column, cell in zip(self.columns, line, strict=True)
            if cell.missing
        ]

    @property
    def marked(self) -> bool:
        return any(cell.mark for line in self.cells for cell in line)


def declared(store: Store) -> list[TableSpec]:
    """The tables of the last grid, and the one of everything."""
    table = store.table()
    specs = [TableSpec.from_dict(one) for one in (table.tables if table else ())]
    return [*specs, *([] if any(spec.name == EVERYTHING for spec in specs) else [TableSpec(EVERYTHING)])]


def build(evidence: Evidence, spec: TableSpec) -> Matrix:
    """Fill a table from the runs it is about. StoreError when it speaks of a setting that no run has."""
    facts = {entry.run_id: _facts(entry, evidence.recipes[entry.run_id]) for entry in evidence.board.entries}
    _check_names(spec, facts.values())
    chosen = {i: facts[i] for i in evidence.board.run_ids if _fits(spec, facts[i])}
    several = len({evidence.entry(run_id).protocol for run_id in chosen}) > 1
    placed: dict[tuple[Key, Key], list[str]] = {}
    for run_id, known in chosen.items():
        row, column = _key(spec.rows, known), _key(spec.columns, known)
        if any(row) and any(column):
            column = (*column, f"[{evidence.entry(run_id).protocol}]") if several else column
            placed.setdefault((row, column), []).append(run_id)
    rows = _ordered(spec, spec.rows, (row for row, _ in placed))
    columns = _ordered(spec, spec.columns, (column for _, column in placed), several)
    cells = {place: _cell(evidence, spec, facts, runs) for place, runs in placed.items()}
    _mark(evidence, spec, cells, columns)
    grid = tuple(tuple(cells.get((row, column), Cell(missing=NO_RUN)) for column in columns) for row in rows)
    return Matrix(spec, tuple(map(spec.label, rows)), tuple(map(spec.label, columns)), grid)


def spell(value: Any) -> str:
    """A setting's value in words."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(spell(item) for item in value)}]"
    return str(value)


def score(evidence: Evidence, run_id: str, value: str) -> float | None:
    """A run's score 0..1 by its name in VALUES."""
    entry = evidence.entry(run_id)
    return entry.image_miou if value == "image_miou" else estimators.SCORES[value](evidence.counts(run_id))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _facts(entry: Entry, recipe: RunRecipe) -> dict[str, str]:
    """All that a table may speak of, in words: a method's settings go before the protocol's and the benchmark's."""
    settings: dict[str, Any] = {**recipe.benchmark.get("settings", {}), **recipe.protocol}
    settings.update(recipe.method.get("settings", {}))
    named = {"method": entry.method, "variant": entry.variant, "benchmark": entry.benchmark}
    return {**{key: spell(value) for key, value in settings.items()}, **named}


def _check_names(spec: TableSpec, facts: Iterable[Mapping[str, str]]) -> None:
    known = {key for one in facts for key in one}
    for name in (*spec.rows, *spec.columns, *spec.where):
        if name not in known:
            raise StoreError(
                f"table {spec.name!r} speaks of {name!r}, which no run has{nearest(name, known)}; "
                "name method, variant, benchmark or a setting"
            )


def _fits(spec: TableSpec, known: Mapping[str, str]) -> bool:
    return all(
        name not in known or known[name] in [spell(value) for value in values] for name, values in spec.where.items()
    )


def _key(names: Sequence[str], known: Mapping[str, str]) -> Key:
    return tuple(known.get(name, "") for name in names)


def _ordered(spec: TableSpec, names: Sequence[str], found: Iterable[Key], several: bool = False) -> list[Key]:
    """Keys in the order that `where` or `labels` give for a single name, with those that no run has; else as found."""
    keys = list(dict.fromkeys(found))
    wanted: list[Key] = []
    if len(names) == 1 and not several:
        listed = spec.where.get(names[0]) or [text for text in spec.labels if (text,) in keys]
        wanted = [(spell(value),) for value in listed]
    return list(dict.fromkeys([*wanted, *keys]))


def _cell(evidence: Evidence, spec: TableSpec, facts: Mapping[str, Mapping[str, str]], runs: Sequence[str]) -> Cell:
    if len(runs) > 1:
        return Cell(missing=_ambiguous([facts[run_id] for run_id in runs]))
    run_id = runs[0]
    entry = evidence.entry(run_id)
    missing = "" if entry.complete else _lacking(entry)
    shown = entry.complete or evidence.board.partial
    value = score(evidence, run_id, spec.value) if shown else None
    interval = evidence.column_of(run_id).interval(run_id) if shown and spec.value == "miou" else None
    return Cell(run_id, value, missing or ("" if value is not None else "undefined"), interval=interval)


def _lacking(entry: Entry) -> str:
    whole = entry.images + entry.failed + entry.missing
    failed = f", {entry.failed} failed" if entry.failed else ""
    return f"{entry.images} of {whole} images{failed}"


def _ambiguous(facts: Sequence[Mapping[str, str]]) -> str:
    names = dict.fromkeys(name for one in facts for name in one if name != "variant")
    differing = [name for name in names if len({one.get(name) for one in facts}) > 1]
    return f"{len(facts)} runs fit; tell them apart in `where` by {', '.join(differing) or 'version of the plug-in'}"


def _mark(evidence: Evidence, spec: TableSpec, cells: dict[tuple[Key, Key], Cell], columns: Sequence[Key]) -> None:
    """In each column: the best tie group and the second, where they are separated. Only mIoU has intervals."""
    if spec.value != "miou":
        return
    for column in columns:
        places = {cell.run_id: place for place, cell in cells.items() if place[1] == column and cell.value is not None}
        for home in {id(c): c for c in (evidence.column_of(i) for i in places if i)}.values():
            for run_id, mark in _marks(home, [i for i in places if i]).items():
                cell = cells[places[run_id]]
                cells[places[run_id]] = Cell(cell.run_id, cell.value, cell.missing, mark, cell.interval)


def _marks(column: Column, run_ids: Sequence[str]) -> dict[str, str]:
    groups = among(column, run_ids)
    if len(groups) < 2:
        return {}
    return {run_id: mark for group, mark in zip(groups, ("best", "second"), strict=False) for run_id in group}
