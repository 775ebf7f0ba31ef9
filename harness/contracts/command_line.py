"""The name of a verb goes in; a parser of its words comes out, called as it is typed, which complains in a line."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from harness.errors import bounded, nearest


class CommandLine(argparse.ArgumentParser):
    """As argparse has it, but that what makes no sense is one sentence that says where all is told; exit 2."""

    def error(self, message: str) -> NoReturn:
        asked = next((word for word in message.split() if word.startswith("--") and "unrecognized" in message), "")
        meant = nearest(asked.partition("=")[0], _options(self)) if asked else ""
        self.exit(2, f"{self.prog}: {bounded(message)}{meant} (`{self.prog} --help` says what it takes)\n")


def typed(verb: str) -> str:
    """How a verb is called, as a line that can be copied: by the command, or by the Python, that runs now."""
    command, python = sys.argv[0], sys.executable
    if Path(command).name == "stableseg":
        return f"{_found(command)} {verb}"
    return f"{_found(python)} -m harness {verb}"


def _found(program: str) -> str:
    """Its bare name where a shell finds this very one by it, else where it lies."""
    for name in dict.fromkeys((Path(program).name, "python")):
        found = shutil.which(name)
        if found is not None and Path(found).absolute() == Path(program).absolute():
            return name
    return shlex.quote(program)


def at_least_one(text: str) -> int:
    """A number of things as it is typed."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All options of a parser, and of the kinds below it."""
    for action in parser._actions:  # argparse tells them to nobody else
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for kind in action.choices.values():
                yield from _options(kind)
