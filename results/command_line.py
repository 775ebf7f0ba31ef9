"""A parser flows in; it asks for a results folder afterwards, in the same words for every verb that reads one."""

from __future__ import annotations

import argparse

from harness.contracts.paths import expanded, folder_or_url

RESULTS = "runs"  # where a sweep writes, and every other verb looks, when no folder is named


def results_folder(parser: argparse.ArgumentParser, url: bool = False) -> None:
    """The argument `folder`, which need not be given. url: whether a mirror's will do."""
    words = f"a results folder{', or the URL of its mirror' if url else ''} (default: {RESULTS})"
    kind = folder_or_url if url else expanded
    parser.add_argument("folder", type=kind, nargs="?", default=RESULTS, metavar="DIR", help=words)
