"""A table's cell (or a run's id) goes in; the receipt of its number comes out, in the terminal.

`python -m results.explain TABLE ROW COLUMN --results DIR`, or with a run's id alone. `--grid FILE` writes the grid of
that one run, which `python -m harness.sweep FILE` computes again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine
from harness.contracts.paths import folder_or_url
from harness.errors import HarnessError
from results.command_line import RESULTS
from results.door import door
from results.folder.durable import write_text
from results.folder.store import Store
from results.mirror.bringing import at_hand
from results.tables.again import grid_text
from results.tables.evidence import gather
from results.tables.explain import commands, explain


def _of_another_grid(store: Store, words: Sequence[str]) -> bool:
    """Whether a run is asked for that the last grid does not list: then everything stored is looked at."""
    table = store.table()
    return len(words) == 1 and table is not None and words[0] not in table.run_ids


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg explain", description=main.__doc__)
    parser.add_argument("words", nargs="+", metavar="TABLE ROW COLUMN | RUN", help="a table's cell, or a run's id")
    parser.add_argument(
        "--results", type=folder_or_url, default=RESULTS, metavar="DIR", help=f"or a URL (default: {RESULTS})"
    )
    parser.add_argument("--partial", action="store_true", help="runs with missing or failed images have numbers too")
    parser.add_argument("--grid", type=expanded, metavar="FILE", help="write the grid that computes this run again")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the receipt of a number; 0 done, 2 with one sentence when that cannot be."""
    known = parser()
    options = known.parse_args(arguments)
    if len(options.words) not in (1, 3):
        known.error("name a TABLE, a ROW and a COLUMN, or one RUN")
    try:
        store = Store.open(at_hand(options.results), create=False)
        evidence = gather(store, options.partial, _of_another_grid(store, options.words))
        run_id, sections = explain(evidence, options.words)
        if options.grid and run_id:
            write_text(options.grid, grid_text(evidence.store, evidence.recipes[run_id]))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for title, lines in [*sections, *([("Again", commands(evidence, run_id, options.results))] if run_id else [])]:
        print(f"{title:<10} {lines[0] if lines else ''}")
        print(*(f"{'':<10} {line}" for line in lines[1:]), sep="\n", end="\n" if lines[1:] else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
