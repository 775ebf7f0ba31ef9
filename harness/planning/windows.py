"""A protocol flows in; how many windows an image of any size is cut into flows out, the fewest and the most."""

from __future__ import annotations

from harness.contracts import ProtocolSettings
from harness.protocol.views import tiling


def fewest_windows(settings: ProtocolSettings) -> int:
    """That an image can have, whatever its size."""
    return min(len(tiling(size, settings).boxes) for size in _smallest(settings)) if settings.window else 1


def most_windows(settings: ProtocolSettings) -> int | None:
    """That an image can have; None where its size alone bounds them."""
    if not settings.window:
        return 1
    size = _largest(settings)
    return None if size is None else len(tiling(size, settings).boxes)


def _smallest(settings: ProtocolSettings) -> list[tuple[int, int]]:
    """Sizes among which is one with the fewest windows: a square, or a line as long as the rule lets one be."""
    line, square = [(1, settings.longest)] * bool(settings.longest), (1, 1)
    if settings.resize in ("long", "box"):
        line = [(1, _sides(settings)[1])]
    return line if settings.resize == "long" else [square, *line]


def _largest(settings: ProtocolSettings) -> tuple[int, int] | None:
    """A size with the most windows, where the rule bounds both sides."""
    small, large = _sides(settings)
    if settings.resize == "none" or (settings.resize == "short" and not settings.longest):
        return None
    return (min(small, settings.longest), settings.longest) if settings.resize == "short" else (small, large)


def _sides(settings: ProtocolSettings) -> tuple[int, int]:
    """The smaller and the larger number of `size`."""
    sides = (settings.size, settings.size) if isinstance(settings.size, int) else settings.size
    return min(sides), max(sides)
