"""A results folder goes in; `ledger.csv` in it comes out: published numbers beside ours, and whether they agree.

`python -m results.ledger DIR [--ledger FILE ...]`. Besides the numbers shipped, every CSV file in `DIR/ledger/` counts,
and those named; all have the same columns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine
from harness.errors import HarnessError
from results.command_line import results_folder
from results.door import door
from results.folder.store import Store
from results.tables.evidence import gather
from results.tables.ledger import TOLERANCE, published_numbers, verdicts, write_ledger


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg ledger", description=main.__doc__)
    results_folder(parser)
    parser.add_argument("--ledger", type=expanded, metavar="FILE", action="append", default=[], help="more numbers")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="POINTS", help="still the same number")
    parser.add_argument("--partial", action="store_true", help="compare runs with missing or failed images too")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Set published numbers beside those of a results folder; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    try:
        store = Store.open(options.folder, create=False)
        found = verdicts(
            gather(store, options.partial), published_numbers(store.folder, options.ledger), options.tolerance
        )
        path = write_ledger(found, store.folder)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for verdict in found:
        one = verdict.published
        print(f"{one.method} on {one.dataset}: {one.miou:g} ({one.source}, {one.variant}): {verdict.text}")
    print(f"{len(found)} comparisons: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
