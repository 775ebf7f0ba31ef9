"""Class maps flow in; the same maps between 0 and 1 flow out: the one min-max of protocol, methods and training."""

from __future__ import annotations

import math
from typing import Any

FLAT = 1e-6  # a map whose range is at most this share of its largest value is constant but for rounding


def extremes(maps: Any, over: int | tuple[int, ...] = (1, 2)) -> tuple[Any, Any]:
    """The least and the largest value of every map of a tensor. over: the dimensions of the positions, kept as 1."""
    return maps.amin(dim=over, keepdim=True), maps.amax(dim=over, keepdim=True)


def stretched(maps: Any, over: int | tuple[int, ...] = (1, 2), between: tuple[Any, Any] | None = None) -> Any:
    """Every map of a tensor scaled to 0..1 over its positions; gradients pass through.

    A map that is constant, or is but for rounding, becomes zeros: it prefers no position, and stretching the rounding
    would make labels of it that another machine would not give. over: the dimensions of the positions. between: the
    extremes that become 0 and 1, where they are not these maps' own but those of the whole that they are a part of.
    """
    low, high = between or extremes(maps, over)
    span = high - low
    flat = span <= FLAT * high.maximum(-low)  # the larger of the two without signs, since one is above the other
    return (maps - low) / span.masked_fill(flat, math.inf)
