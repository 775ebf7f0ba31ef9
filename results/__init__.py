"""From stored rows to knowledge: folder, counts, tables, pictures, report; each file beside them is a command.

For Python: `load` gives a results folder as polars frames (docs/api.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.tables.frames import Results

__all__ = ["load"]


def load(folder: str | Path = "runs", partial: bool = False, everything: bool = False) -> Results:
    """What a results folder knows, as frames. StoreError where there is nothing to show.

    partial: rank runs with missing or failed images too. everything: all stored runs, not those of the last grid alone.
    """
    from results.tables import frames  # a command loads what it needs by itself

    return frames.read(folder, partial, everything)
