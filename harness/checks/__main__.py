"""The door of the gates: `python -m harness.checks KIND ...` -> 0 when all is well, 1 with a list when not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from harness.checks import benchmark_gate, method_gate
from harness.contracts.command_line import CommandLine
from harness.errors import HarnessError
from harness.foreign import interrupts
from harness.foreign.company import leave
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
    parser = CommandLine(prog="stableseg check", description=main.__doc__)
    kinds = parser.add_subparsers(required=True, metavar="|".join(check.NAME for check in CHECKS))
    for check in CHECKS:
        kind = kinds.add_parser(check.NAME, help=check.HELP, description=check.HELP)
        check.add_arguments(kind)
        kind.set_defaults(run=check.run, sheet=sheet_of_samples)
    return parser


@door
def main(arguments: Sequence[str] | None = None) -> int:
    """Try whether a method or a data set keeps its promises; 0 sound, 1 with a list of what is off, 2 it cannot be."""
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
