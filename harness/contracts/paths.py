"""A path, or a URL, as a person writes it flows in; the path that is meant flows out."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import GridError, bounded

LONGEST_PART = 255  # bytes between two strokes


def expanded(written: str | Path) -> Path:
    """The path with `~` and `$VAR` filled in; a variable that is not set, or a user that is not known, stays as it is.

    Asked once for what a person wrote (a grid, a command line), never again: a folder may really be called `$HOME`.
    GridError for what no file system takes.
    """
    first, stroke, rest = os.fspath(written).partition("/")
    first = os.path.expanduser(first) if first.startswith("~") else os.path.expandvars(first)
    path = Path(first + stroke + os.path.expandvars(rest))
    if "\0" in str(path) or any(len(os.fsencode(part)) > LONGEST_PART for part in path.parts):
        shown = bounded(repr(str(path)), 200)
        raise GridError(f"no file can be called {shown}: a name has at most {LONGEST_PART} bytes")
    return path


def folder_or_url(written: str) -> Path | str:
    """Where results lie: a folder as above, or a URL as it is."""
    return written if "://" in written else expanded(written)
