"""Declared tables and a folder's evidence go in; matrices come out, holes named, the best marked where that is sure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import StoreError, nearest
from results.counts import seeds, strangers
from results.folder import protocols
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.tables import averages, significance_words
from results.tables.cells import TableCell, with_groups
from results.tables.evidence import Evidence, among
from results.tables.ranking import Entry
from results.tables.scores import Scored, score
from results.tables.spec import VALUES, Key, TableSpec, setting_in_words

__all__ = [
    "EVERYTHING",
    "VALUES",
    "Matrix",
    "TableCell",
    "TableSpec",
    "build_matrix",
    "declared",
    "setting_in_words",
    "without_estimator",
]
EVERYTHING = "matrix"  # the table that every folder has: all methods and variants on all benchmarks
NO_RUN = "no run"


@dataclass(frozen=True)
class Matrix:
    """A table with its cells, rows first. `marked` says whether anything in it is separated.

    differing: of a table that is as published, the fields in which the protocols of its runs differ; sources: where its
    printed numbers are from. told: what was compared with what, a sentence a column where anything was.
    """

    spec: TableSpec
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[TableCell, ...], ...]
    differing: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def cell(self, row: str, column: str) -> TableCell:
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


def build_matrix(evidence: Evidence, spec: TableSpec) -> Matrix:
    """Fill a table from the runs it is about. StoreError when it speaks of a setting that no run has."""
    facts = {entry.run_id: _facts(entry, evidence.recipes[entry.run_id], spec) for entry in evidence.board.entries}
    _check_names(spec, facts.values())
    chosen = {i: facts[i] for i in evidence.board.run_ids if _fits(spec, facts[i])}
    differing = protocols.differing_fields([evidence.recipes[run_id].rules for run_id in chosen]) if chosen else ()
    # What rows or columns say themselves needs no further words.
    told = () if spec.as_published else tuple(n for n in differing if n not in (*spec.rows, *spec.columns))
    apart = dict(zip(chosen, protocols.told_apart([evidence.recipes[i].rules for i in chosen], told), strict=True))
    placed: dict[tuple[Key, Key], list[str]] = {}
    for run_id, known in chosen.items():
        row, column = _key(spec.rows, known), _key(spec.columns, known)
        if any(column) and (any(row) or any(name in protocols.AXES for name in spec.rows)):
            column = (*column, f"[{apart[run_id]}]") if apart[run_id] else column
            placed.setdefault((row, column), []).append(run_id)
    placed = _in_all_rows(spec, placed)
    rows = _ordered(spec, spec.rows, (row for row, _ in placed))
    columns = _ordered(spec, spec.columns, (column for _, column in placed), bool(told))
    holes = _absent(evidence, spec)
    columns = list(dict.fromkeys([*columns, *holes]))
    cells = {place: _cell(evidence, spec, facts, runs) for place, runs in placed.items()}
    compared = _mark(evidence, spec, cells, columns)
    none = {column: TableCell(missing=holes.get(column, NO_RUN)) for column in columns}
    lines = [[cells.get((row, column), none[column]) for column in columns] for row in rows]
    names = [spec.label(column) for column in columns]
    if spec.average:
        own, names = names, [*names, averages.LABEL]
        lines = [[*line, last] for line, last in zip(lines, averages.cells(evidence, spec, lines, own), strict=True)]
    shown = differing if spec.as_published else ()
    return Matrix(
        spec, tuple(map(spec.label, rows)), tuple(names), tuple(map(tuple, lines)), shown, told=_told(spec, compared)
    )  # fmt: skip


def without_estimator(specs: Iterable[TableSpec]) -> list[str]:
    """A sentence for every table whose value is a stranger's estimator that cannot be had from here."""
    told = []
    for spec in specs:
        try:
            if spec.value not in VALUES:
                strangers.found(spec.value)
        except StoreError as error:
            told.append(f"table {spec.name!r} has holes only: {error}")
    return told


def _absent(evidence: Evidence, spec: TableSpec) -> dict[Key, str]:
    """The columns of benchmarks that were not on the machine, and why, in a table that they belong to."""
    if spec.columns != ("benchmark",):
        return {}
    shown = [setting_in_words(value) for value in spec.where.get("benchmark", ())]
    return {(name,): why for name, why in evidence.board.absent.items() if not shown or name in shown}


def _facts(entry: Entry, recipe: RunRecipe, spec: TableSpec) -> dict[str, str]:
    """All that a table may speak of, in words: a method's settings go before the protocol's and the benchmark's. Fields
    of the protocol that have no effect are none of a run's facts."""
    idle = protocols.without_effect(recipe.protocol)
    rules = {name: value for name, value in recipe.protocol.items() if name not in idle}
    settings: dict[str, object] = {**recipe.benchmark.get("settings", {}), **rules}
    settings.update(recipe.method.get("settings", {}))
    variant = seeds.without_seed(entry.variant) if spec.seeds == "together" else entry.variant
    named = {"method": entry.method, "variant": variant, "benchmark": entry.benchmark}
    return {**{key: setting_in_words(value) for key, value in settings.items()}, **named}


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
        name not in known or known[name] in [setting_in_words(value) for value in values]
        for name, values in spec.where.items()
    )


def _key(names: Sequence[str], known: Mapping[str, str]) -> Key:
    return tuple(known.get(name, "") for name in names)


def _in_all_rows(spec: TableSpec, placed: Mapping[tuple[Key, Key], list[str]]) -> dict[tuple[Key, Key], list[str]]:
    """Runs in whose protocol a field of the rows has no effect, in every row that other runs have of that field: they
    are the same run there. Where none has, in a row of their own, if anything else names it."""
    fields = [number for number, name in enumerate(spec.rows) if name in protocols.AXES]
    whole = dict.fromkeys(row for row, _ in placed if all(row[number] for number in fields))
    found: dict[tuple[Key, Key], list[str]] = {}
    for (row, column), runs in placed.items():
        fitting = [
            other for other in whole if all(mine in ("", theirs) for mine, theirs in zip(row, other, strict=True))
        ]
        for one in fitting or ([row] if any(row) else []):
            found.setdefault((one, column), []).extend(runs)
    return found


def _ordered(spec: TableSpec, names: Sequence[str], found: Iterable[Key], several: bool = False) -> list[Key]:
    """Keys in the order that `where` or `labels` give for a single name, with those that no run has; else as found."""
    keys = list(dict.fromkeys(found))
    wanted: list[Key] = []
    if len(names) == 1 and not several:
        listed = spec.where.get(names[0]) or [text for text in spec.labels if (text,) in keys]
        wanted = [(setting_in_words(value),) for value in listed]
    return list(dict.fromkeys([*wanted, *keys]))


def _cell(
    evidence: Evidence, spec: TableSpec, facts: Mapping[str, Mapping[str, str]], runs: Sequence[str]
) -> TableCell:
    if len(runs) > 1:
        if len({seeds.key(evidence.recipes[run_id]) for run_id in runs}) == 1:
            return _over_seeds(spec, [_cell(evidence, spec, facts, [run_id]) for run_id in runs])
        return TableCell(missing=_ambiguous([facts[run_id] for run_id in runs]))
    run_id = runs[0]
    entry = evidence.entry(run_id)
    missing = "" if entry.complete else _lacking(entry)
    shown = entry.complete or evidence.board.partial
    found = score(evidence, run_id, spec.value) if shown else Scored(None, "undefined")
    interval = evidence.column_of(run_id).interval(run_id) if shown and spec.value == "miou" else None
    beside = entry.standing if shown and spec.value == "miou" and not entry.complete else None
    best = f"the best has {100 * beside.best_there:.1f} on those of both" if beside and not beside.whole else ""
    note = "; ".join(words for words in (best, found.note, entry.part, entry.supervision) if words)
    return TableCell(run_id, found.value, missing or found.why, interval=interval, note=note)


def _over_seeds(spec: TableSpec, cells: Sequence[TableCell]) -> TableCell:
    """Runs that differ in their seed alone as one number, without an interval over images."""
    values = [cell.value for cell in cells if cell.value is not None]
    holes = [cell.missing for cell in cells if cell.missing]
    if len(values) < len(cells):
        return TableCell(missing=f"{len(values)} of {len(cells)} seeds: {'; '.join(dict.fromkeys(holes))}")
    spread = f"mean of {len(values)} seeds, standard deviation {100 * statistics.stdev(values):.2f}"
    beside = averages.joined_notes({f"seed {number}": cell.note for number, cell in enumerate(cells, start=1)})
    note = "; ".join(words for words in (spread, beside) if words)
    of = tuple([cell.run_id for cell in cells if cell.run_id])
    return TableCell(value=statistics.fmean(values), missing="; ".join(dict.fromkeys(holes)), note=note, of=of)


def _lacking(entry: Entry) -> str:
    failed = f", {entry.failed} failed" if entry.failed else ""
    disputed = f", {entry.disputed} of other data" if entry.disputed else ""
    return f"{entry.images} of {entry.whole} images{failed}{disputed}"


def _ambiguous(facts: Sequence[Mapping[str, str]]) -> str:
    names = dict.fromkeys(name for one in facts for name in one if name != "variant")
    differing = [name for name in names if len({one.get(name) for one in facts}) > 1]
    return f"{len(facts)} runs fit; tell them apart in `where` by {', '.join(differing) or 'version of the plug-in'}"


def _told(spec: TableSpec, compared: Mapping[Key, str]) -> tuple[str, ...]:
    """What the table's marks rest on, or why it has none."""
    if spec.as_published:
        return ()
    if spec.value != "miou":
        return ("Only mIoU is compared over images: of these numbers none is said to be separated from another.",)
    told = [f"{spec.label(column)}: {words}" for column, words in compared.items()]
    mean = f"{averages.LABEL}: rows without a hole are compared over the images of all data sets."
    return (*told, *([mean] if spec.average and told else []))


def _mark(
    evidence: Evidence, spec: TableSpec, cells: dict[tuple[Key, Key], TableCell], columns: Sequence[Key]
) -> dict[Key, str]:
    """In each column: the best and what is not separated from it, then the same among the rest. Only mIoU is marked.
    By column, what was compared.

    A column of several protocols, whose rows say which, has no best; nor has a table that is as published.
    """
    told: dict[Key, str] = {}
    if spec.value != "miou" or spec.as_published:
        return told
    for column in columns:
        places: dict[str, list[tuple[Key, Key]]] = {}
        for place, cell in cells.items():
            if place[1] == column and cell.run_id and cell.value is not None:
                places.setdefault(cell.run_id, []).append(place)
        if len({evidence.entry(run_id).protocol for run_id in places}) > 1:
            continue
        for home in {id(c): c for c in map(evidence.column_of, places)}.values():
            own = {run_id: cells[where[0]] for run_id, where in places.items()}
            groups = among(home, list(own))
            if groups and home.effects and (words := significance_words.what_was_compared(groups, home.effects)):
                told[column] = words
            for run_id, cell in with_groups(groups, own).items():
                cells.update(dict.fromkeys(places[run_id], cell))
    return told
