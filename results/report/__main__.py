"""`python -m results.report DIR`: a results folder goes in; the path of its report's first page comes out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.contracts import expanded
from harness.contracts.command_line import CommandLine
from harness.errors import HarnessError
from results import report
from results.command_line import results_folder
from results.door import door
from results.folder.store import Store
from results.mirror.bringing import at_hand


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg report", description=main.__doc__)
    results_folder(parser, url=True)
    parser.add_argument("--partial", action="store_true", help="rank runs with missing or failed images too")
    parser.add_argument("--all", action="store_true", help="show every stored run, not only those of the last grid")
    parser.add_argument("--ledger", type=expanded, metavar="FILE", action="append", default=[], help="more numbers")
    parser.add_argument("--pairs", action="store_true", help="show differences of all pairs, not only from the best")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a results folder; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    try:
        store = Store.open(at_hand(options.folder), create=False)
        path = report.write_report(store, options.partial, options.all, options.ledger, options.pairs)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
