"""The door of the gates: `python -m harness.checks KIND ...` -> 0 when all is well, 1 with a list when not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from harness.checks import benchmark_gate, method_gate
from harness.errors import HarnessError
from harness.foreign import interrupts
from harness.foreign.calls import leave
from harness.recipes import loading
from results.door import door
from results.pictures.samples import sheet_of_samples
from results.tables.terminal import console_for_output


class Check(Protocol):
    """One gate, a module of its own: the word that calls it, a line of help, its arguments and its run."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, console: Console) -> int: ...


CHECKS: tuple[Check, ...] = (benchmark_gate, method_gate)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(prog="python -m harness.checks", description=__doc__)
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for check in CHECKS:
        kind = kinds.add_parser(check.NAME, help=check.HELP, description=check.HELP)
        check.add_arguments(kind)
        kind.set_defaults(run=check.run, sheet=sheet_of_samples)
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 sound, 1 something is off, 2 the command makes no sense."""
    options = parser().parse_args(arguments)
    try:
        loading.refuse_foreign_packages()
        with interrupts.listening():
            code: int = options.run(options, console_for_output())
        return code
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    leave(main())
