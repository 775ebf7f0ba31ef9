"""Bilinear enlarging and windows written out pixel by pixel in float64, to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def enlarged(planes: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float64]:
    """(classes, h, w) to (classes, *size): the centre of a pixel falls between four others (no aligned corners)."""
    made = np.zeros((len(planes), *size))
    for y in range(size[0]):
        for x in range(size[1]):
            spots = []
            for place, new, old in ((y, size[0], planes.shape[1]), (x, size[1], planes.shape[2])):
                at = max((place + 0.5) * old / new - 0.5, 0.0)
                low = min(int(at), old - 1)
                spots.append((low, min(low + 1, old - 1), at - low))
            (t, b, v), (left, right, u) = spots
            upper = planes[:, t, left] * (1 - u) + planes[:, t, right] * u
            lower = planes[:, b, left] * (1 - u) + planes[:, b, right] * u
            made[:, y, x] = upper * (1 - v) + lower * v
    return made


def starts(length: int, window: int, stride: int) -> list[int]:
    """mmseg's slide_inference along one axis, line by line."""
    grids = max(length - window + stride - 1, 0) // stride + 1
    found = []
    for index in range(grids):
        end = min(index * stride + window, length)
        found.append(max(end - window, 0))
    return found


def averaged(
    pieces: list[NDArray[np.floating]], boxes: list[tuple[int, int, int, int]], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Mean over the windows (top, left, height, width) that cover a pixel."""
    total, count = np.zeros((len(pieces[0]), *size)), np.zeros(size)
    for piece, (top, left, height, width) in zip(pieces, boxes, strict=True):
        whole = enlarged(piece, (height, width))
        for y in range(height):
            for x in range(width):
                total[:, top + y, left + x] += whole[:, y, x]
                count[top + y, left + x] += 1
    assert count.min() >= 1
    return total / count
