"""A folder's kept label maps go in; the poster's pictures come out, as PNG and SVG: comparison and timestep strip.

`python -m results.figures DIR [--out DIR] [--benchmark B] [--runs ID ...] [--images ID ...]`. The comparison has a row
an image and a column a run; the strip has a row an image and a column a timestep.
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
from results.pictures.figures import comparison, room_of, timestep_strip, write_figure
from results.tables.evidence import gather


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = CommandLine(prog="stableseg figures", description=main.__doc__)
    results_folder(parser)
    parser.add_argument("--out", type=expanded, metavar="DIR", help="for the pictures (default: DIR/figures)")
    parser.add_argument("--benchmark", metavar="NAME", help="the benchmark (default: the first with kept label maps)")
    parser.add_argument("--runs", metavar="ID", nargs="+", default=[], help="the columns (default: the first in rank)")
    parser.add_argument("--images", metavar="ID", nargs="+", default=[], help="the rows (default: the first kept)")
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw comparison and timestep strip of a results folder; 0 done, 2 with one sentence when that cannot be."""
    options = parser().parse_args(arguments)
    try:
        store = Store.open(options.folder, create=False)
        # Ranks decide only the order of columns, so runs with holes may take part.
        evidence = gather(store, partial=True)
        room = room_of(evidence, options.benchmark)
        figures = {
            "comparison": comparison(evidence, room, options.runs, options.images),
            "timestep": timestep_strip(evidence, room, options.images),
        }
        out = options.out or store.folder / "figures"
        written = [path for name, figure in figures.items() if figure for path in write_figure(figure, name, out)]
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
