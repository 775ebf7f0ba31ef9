"""A results folder goes in; `leaderboard.csv` and `matrix.csv` in it come out, and a table for the terminal.

`python -m results.leaderboard DIR [--partial] [--all] [--pairs]`; with --pairs `pairs.csv` too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.contracts.command_line import CommandLine
from harness.errors import HarnessError
from results.command_line import results_folder
from results.door import door
from results.folder.store import Store
from results.mirror.bringing import at_hand
from results.tables.leaderboard import build_board, write_board
from results.tables.terminal import print_leaderboard


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg leaderboard", description=main.__doc__)
    results_folder(parser, url=True)
    parser.add_argument("--partial", action="store_true", help="rank runs with missing or failed images too")
    parser.add_argument("--all", action="store_true", help="show every stored run, not only those of the last grid")
    parser.add_argument("--pairs", action="store_true", help="compare all pairs of runs, not only each with the best")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the CSV files of a results folder; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    try:
        store = Store.open(at_hand(options.folder), create=False)
        board = build_board(store, options.partial, options.all)
        paths = write_board(board, store.folder, options.pairs)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print_leaderboard(board)
    print("", *paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
