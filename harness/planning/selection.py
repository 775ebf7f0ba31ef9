"""A grid's cells, and which of them are asked for -> their plans, and what is left out since it is not on this machine.

The table stays the whole grid's: what is not asked for is planned and not computed, and what cannot be planned for want
of its data or its model is a hole with a reason. What is asked for and cannot be planned is told all at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.contracts import Recipe
from harness.errors import DataError, GridError, HarnessError, ModelError, nearest
from harness.planning.known import Plannable
from harness.planning.planned import PlannedRun
from harness.recipes import loading

_UNSET = "which is not set"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class LeftOut:
    """A cell of the grid that has no run: of a benchmark that is not on this machine, method is empty."""

    benchmark: str
    method: str
    why: str


@dataclass(frozen=True)
class Selection:
    """benchmarks, methods: the names of those to be computed, all where there is none; with or without their axes.

    available: whether benchmarks whose files are not on this machine are left out.
    """

    benchmarks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    available: bool = False

    def check(self, cells: Iterable[Plannable]) -> None:
        """GridError for a name that is nobody's."""
        cells = list(cells)
        for kind, names, known in (
            ("benchmark", self.benchmarks, [cell.benchmark_name for cell in cells]),
            ("method", self.methods, [f"{cell.method_name} {cell.variant}".strip() for cell in cells]),
        ):
            for name in names:
                if not any(_is_called(one, name) for one in known):
                    listed = ", ".join(dict.fromkeys(known))
                    raise GridError(
                        f"--{kind} {name}: the grid has none of this name{nearest(name, known)} ({kind}s: {listed})"
                    )

    def includes(self, cell: Plannable) -> bool:
        """Whether a cell is to be computed."""
        method = f"{cell.method_name} {cell.variant}".strip()
        return (not self.benchmarks or any(_is_called(cell.benchmark_name, name) for name in self.benchmarks)) and (
            not self.methods or any(_is_called(method, name) for name in self.methods)
        )


def plan_each(
    cells: Sequence[Plannable],
    asked: Selection,
    plan: Callable[[Plannable], PlannedRun],
    method: Callable[[Plannable], object],
) -> tuple[list[tuple[Plannable, PlannedRun]], tuple[LeftOut, ...]]:
    """The cells with their runs, and what is left out. HarnessError with all that is missing, a sentence each.

    method: makes the method of a cell alone, whose model may be missing besides the data.
    """
    asked.check(cells)
    planned: list[tuple[Plannable, PlannedRun]] = []
    left: dict[LeftOut, None] = {}
    lacking: dict[str, HarnessError] = {}
    unset: dict[str, dict[str, None]] = {}  # what is said of a variable, and of which benchmarks
    for cell in cells:
        try:
            planned.append((cell, plan(cell)))
        except (DataError, ModelError) as error:
            gone = _gone(cell.benchmark) if isinstance(error, DataError) else ""
            if gone and (asked.available or not asked.includes(cell)):
                left[LeftOut(cell.benchmark_name, "", gone)] = None
            elif not asked.includes(cell):
                why = " ".join(str(error).splitlines())
                left[LeftOut(cell.benchmark_name, f"{cell.method_name} {cell.variant}".strip(), why)] = None
            elif _UNSET in gone:
                unset.setdefault(gone, {})[cell.benchmark_name] = None
                lacking |= {gone: error} | _lacking_model(cell, method)
            else:
                lacking |= {str(error): error} | _lacking_model(cell, method)
    if lacking:
        ((sentence, first), *others) = lacking.items()
        told = [f"{', '.join(unset[one])}: {one}" if one in unset else one for one in lacking]
        raise first if not others and sentence == str(first) else HarnessError("\n".join(told))
    if not planned:
        names = ", ".join(dict.fromkeys(f"{one.benchmark} ({one.why})" for one in left))
        raise GridError(f"nothing of the grid is on this machine: {names}")
    return planned, tuple(left)


def _lacking_model(cell: Plannable, method: Callable[[Plannable], object]) -> dict[str, HarnessError]:
    """What the method of a cell lacks, by its sentence."""
    try:
        method(cell)
    except ModelError as error:
        return {str(error): error}
    return {}


def _is_called(whole: str, name: str) -> bool:
    return whole == name or whole.startswith(f"{name} ")


def _gone(recipe: Recipe) -> str:
    """In words, that a folder or file of a benchmark is not on this machine; empty where all are."""
    places = ("root", *getattr(loading.load_class(recipe.use), "places", ()))
    for name, value in recipe.settings:
        if name in places and isinstance(value, str | Path) and value and not Path(value).exists():
            named = [one or other for one, other in _VARIABLE.findall(str(value))]
            for variable in [one for one in named if one not in os.environ]:  # others are letters of a folder's name
                return f"its {name} names the variable {variable}, {_UNSET}: `export {variable}=FOLDER`"
            return f"{value} is not on this machine"
    return ""
