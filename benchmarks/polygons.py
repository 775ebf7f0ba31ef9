"""Corners of polygons flow in; the pixels inside flow out, by one of the two rules that data sets were drawn with.

COCO's rule: the outline is traced on a grid five times as fine, and where it passes the middle of a pixel's column, the
pixels below change from outside to inside or back. Pillow's: corners cut to whole pixels, the border belongs to it. A
square from 10 to 20 has 100 pixels by the first, 121 by the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

RULES = ("coco", "pillow")
_FINE = 5  # times as fine as the pixels
Mask = NDArray[np.bool_]  # (height, width)


def fill(polygons: list[Any], height: int, width: int, rule: str) -> Mask:
    """The union (height, width) of polygons [x, y, x, y, ...]. ValueError for what is no polygon."""
    inside = np.zeros((height, width), np.bool_)
    for flat in polygons:
        sound = isinstance(flat, list) and all(type(number) in (int, float) for number in flat)
        numbers = np.asarray(flat if sound else "")
        if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
            raise ValueError("a polygon is a list of numbers x, y, x, y, ...")
        if numbers.size < 6 or numbers.size % 2:
            raise ValueError(f"a polygon has {numbers.size} numbers; it needs x and y of three corners or more")
        corners = numbers.astype(np.float64).reshape(-1, 2)
        if not np.isfinite(corners).all() or np.abs(corners).max() > 1e6:
            raise ValueError("a polygon has corners that are in no image")
        inside |= by_coco(corners, height, width) if rule == "coco" else by_pillow(corners, height, width)
    return inside


def by_coco(corners: NDArray[np.float64], height: int, width: int) -> Mask:
    """The pixels (height, width) of one polygon (corners, 2), x before y, by COCO's rule."""
    across, down = _outline(np.trunc(_FINE * corners + 0.5).astype(np.int64))
    moved = across[1:] != across[:-1]
    left, top = (np.minimum(line[1:], line[:-1])[moved] for line in (across, down))
    column, offset = np.divmod(left - _FINE // 2, _FINE)
    row = np.ceil(np.clip((top + 0.5) / _FINE - 0.5, 0, height)).astype(np.int64)
    crossed = (offset == 0) & (column >= 0) & (column < width)
    changes = np.bincount(column[crossed] * height + row[crossed], minlength=height * width + 1)[: height * width]
    inside: Mask = (np.cumsum(changes) % 2 == 1).reshape(width, height).T
    return inside


def _outline(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """x and y of every point on the closed outline, a step apart along the longer side of each edge.

    An edge is traced from the end with the smaller coordinate on that side and given in its own direction, so that
    the edge that two polygons share is the same for both.
    """
    ends = np.roll(corners, -1, axis=0)
    steps = np.abs(ends - corners)
    length, flat = steps.max(axis=1), steps[:, 0] >= steps[:, 1]
    longer = np.where(flat, 0, 1)
    edge = np.arange(len(corners))
    turned = corners[edge, longer] > ends[edge, longer]
    start, stop = np.where(turned[:, None], ends, corners), np.where(turned[:, None], corners, ends)
    slope = (stop - start)[edge, 1 - longer] / np.maximum(length, 1)
    which = np.repeat(edge, length + 1)
    step = np.arange(len(which)) - np.repeat(np.cumsum(length + 1) - (length + 1), length + 1)
    step = np.where(turned[which], length[which] - step, step)
    along = start[which, longer[which]] + step
    beside = np.trunc(start[which, 1 - longer[which]] + slope[which] * step + 0.5).astype(np.int64)
    return np.where(flat[which], along, beside), np.where(flat[which], beside, along)


def by_pillow(corners: NDArray[np.float64], height: int, width: int) -> Mask:
    """The pixels (height, width) of one polygon (corners, 2), x before y, as Pillow fills it, border included."""
    canvas = Pillow.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in corners], outline=1, fill=1)
    return np.asarray(canvas)
