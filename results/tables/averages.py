"""The cells of a table whose columns are data sets go in; a cell a row, its average over them, comes out.

Data sets are independent of each other: the images of each are drawn by themselves, and their variances add up.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from results.counts import significance
from results.counts.image_effects import ImageEffects
from results.tables.cells import TableCell, with_groups
from results.tables.evidence import Column, Evidence
from results.tables.spec import TableSpec

LABEL = "average"
Line = Sequence[TableCell]


def cells(evidence: Evidence, spec: TableSpec, lines: Sequence[Line], names: Sequence[str]) -> list[TableCell]:
    """The average of every row that has a number of every data set. names: of the data sets.

    Rows whose runs have all images have an interval of mIoU; and marks by comparison over the images of all data sets,
    unless the rows are of several protocols.
    """
    found = [_average(line, names) for line in lines]
    if spec.as_published or spec.value != "miou" or not lines or len(lines[0]) < 2:
        return found
    alike: dict[tuple[int, ...], dict[str, Line]] = {}
    for number, line in enumerate(lines):
        if all(_is_whole(evidence, cell) for cell in line):
            places = tuple([id(evidence.column_of(cell.run_id or "")) for cell in line])
            alike.setdefault(places, {})[str(number)] = line
    for whole in alike.values():
        effects, seed = _effects(evidence, whole)
        own = {n: replace(found[int(n)], interval=significance.interval(effects, n)) for n in whole}
        marked = with_groups(significance.groups(effects, seed), own) if len(alike) == 1 else {}
        for n, cell in {**own, **marked}.items():
            found[int(n)] = cell
    return found


def _average(line: Line, names: Sequence[str]) -> TableCell:
    values = [cell.value for cell in line if cell.value is not None]
    if not values or len(values) < len(line):
        return TableCell(missing=f"{len(values)} of {len(line)} data sets")
    remarks = dict.fromkeys(cell.missing for cell in line if cell.missing)
    notes = joined_notes({name: cell.note for name, cell in zip(names, line, strict=True)})
    of = tuple([run_id for cell in line for run_id in (cell.of or (cell.run_id,)) if run_id])
    return TableCell(value=statistics.fmean(values), missing="; ".join(remarks), note=notes, of=of)


def joined_notes(notes: Mapping[str, str]) -> str:
    """What must be known of several numbers, by the name of each: said once, and of whom where it is not of all."""
    of: dict[str, list[str]] = {}
    for name, note in notes.items():
        for one in filter(None, note.split("; ")):
            of.setdefault(one, []).append(name)
    return "; ".join(one if len(own) == len(notes) else f"{', '.join(own)}: {one}" for one, own in of.items())


def _is_whole(evidence: Evidence, cell: TableCell) -> bool:
    if cell.run_id is None or cell.value is None:
        return False
    effects = evidence.column_of(cell.run_id).effects
    return effects is not None and cell.run_id in effects.run_ids


def _effects(evidence: Evidence, lines: dict[str, Line]) -> tuple[ImageEffects, int]:
    """What the images of all data sets do to the averages of some rows, and a seed for the draws."""
    parts, seed = [], 0
    for run_ids in zip(*([cell.run_id or "" for cell in line] for line in lines.values()), strict=True):
        column = evidence.column_of(run_ids[0])
        parts.append(_of_column(column, run_ids))
        seed ^= column.standings.seed
    number = len(parts)
    return ImageEffects(
        tuple(lines),
        np.mean([part.score for part in parts], axis=0),
        np.mean([part.bias for part in parts], axis=0),
        np.concatenate([part.values for part in parts]) / number,
        tuple(units for part in parts for units in part.blocks),
        sum(part.images for part in parts),
    ), seed


def _of_column(column: Column, run_ids: Sequence[str]) -> ImageEffects:
    """The effects of one data set's images, a run a row of the table, in their order."""
    effects = column.effects
    assert effects is not None
    places = [effects.run_ids.index(run_id) for run_id in run_ids]
    values, score, bias = effects.values[:, places], effects.score[places], effects.bias[places]
    return replace(effects, run_ids=tuple(run_ids), score=score, bias=bias, values=values)
