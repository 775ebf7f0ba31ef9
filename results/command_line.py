"""The name of a verb goes in; a parser of its words comes out, called as it is typed, which complains in a line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NoReturn

from harness.contracts.paths import expanded, folder_or_url
from harness.errors import bounded, nearest

RESULTS = "runs"  # where a sweep writes, and every other verb looks, when no folder is named


class CommandLine(argparse.ArgumentParser):
    """As argparse has it, but that what makes no sense is one sentence that says where all is told; exit 2."""

    def error(self, message: str) -> NoReturn:
        asked = next((word for word in message.split() if word.startswith("--") and "unrecognized" in message), "")
        meant = nearest(asked.partition("=")[0], _options(self)) if asked else ""
        self.exit(2, f"{self.prog}: {bounded(message)}{meant} (`{self.prog} --help` says what it takes)\n")


def results_folder(parser: argparse.ArgumentParser, url: bool = False) -> None:
    """The argument `folder`, which need not be given. url: whether a mirror's will do."""
    words = f"a results folder{', or the URL of its mirror' if url else ''} (default: {RESULTS})"
    kind = folder_or_url if url else expanded
    parser.add_argument("folder", type=kind, nargs="?", default=RESULTS, metavar="DIR", help=words)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All options of a parser, and of the kinds below it."""
    for action in parser._actions:  # argparse tells them to nobody else
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for kind in action.choices.values():
                yield from _options(kind)
