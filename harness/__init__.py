"""From a wish (grid.yaml) to rows: everything between the user's YAML and the stored pixel counts.

For Python: `segment` asks any method about one picture, `run_grid` runs a grid that is a mapping (docs/api.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.running import run_grid
    from harness.segmenting import segment

__all__ = ["run_grid", "segment"]

_HOMES = {"run_grid": "harness.running", "segment": "harness.segmenting"}


def __getattr__(name: str) -> object:
    """The two doors are opened when they are asked for: a worker needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
