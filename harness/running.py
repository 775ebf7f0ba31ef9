"""A grid as a mapping, or a file, flows in; it is run as by the command, and its results flow out as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import results as known
from harness import sweep
from harness.contracts import expanded
from harness.errors import SettingsError
from harness.foreign import interrupts
from harness.grid.form import MOST_WORKERS
from harness.recipes import loading
from results.tables.frames import Results
from results.tables.terminal import console_for_output


def run_grid(
    grid: Mapping[str, Any] | str | Path,
    results: str | Path = "runs",
    *,
    local: bool = False,
    address: str | None = None,
    workers: int | None = None,
    limit: int | None = None,
    benchmark: Sequence[str] = (),
    method: Sequence[str] = (),
    available: bool = False,
    partial: bool = False,
    report: bool = True,
    quiet: bool = False,
) -> Results:
    """Run what is missing of a grid, and give all its results. What is stored already is not run again.

    grid: what a grid file says, as a mapping (paths start at the folder that one works in), or the file. results: the
    results folder. The rest is as on the command line; quiet: print nothing but what failed. HarnessError, in one
    sentence, for a grid that makes no sense; images that fail are rows that say why, as ever.
    """
    options = sweep.parser().parse_args([""])
    options.grid = grid if isinstance(grid, Mapping) else expanded(str(grid))
    options.results = expanded(str(results))
    options.local, options.address, options.available = local, address, available
    options.workers, options.limit = _whole("workers", workers, MOST_WORKERS), _whole("limit", limit)
    options.benchmark, options.method = list(benchmark), list(method)
    options.partial, options.no_report = partial, not report
    with interrupts.listening():
        loading.refuse_foreign_packages()
        sweep.sweep(options, console_for_output(quiet))
    return known.load(options.results, partial)


def _whole(name: str, number: int | None, most: int | None = None) -> int | None:
    fits = number is None or (isinstance(number, int) and number >= 1 and (most is None or number <= most))
    if not fits:
        bound = f" to {most}" if most else " or more"
        raise SettingsError(f"{name} is {number!r}; give a whole number, 1{bound}")
    return number
