"""Truths and label maps of 8 bits flow in and of 16 flow out, and back; in each the largest number means ignored."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from harness.contracts.nouns import IGNORED, WIDE_IGNORED, Truth

WideTruth = NDArray[np.uint16]  # (height, width); 0 background, k = classes[k - 1], 65535 ignored
BOUNDARY_SHARE = 0.02  # of an image's diagonal


def widened(labels: Truth) -> WideTruth:
    """As the house counts: 16 bits, in this machine's byte order; 255 of 8 bits becomes 65535. Of 16 bits no copy."""
    wide = labels.astype(np.uint16, copy=False)
    if labels.dtype == np.uint8:
        wide[labels == IGNORED] = WIDE_IGNORED
    return wide


def narrowed(labels: Truth) -> Truth:
    """In 8 bits, 65535 as 255, where no class is above 254; else as it is. So a file is as small as it can be."""
    if labels.dtype == np.uint8 or (labels + np.uint16(1)).max(initial=0) > IGNORED:  # 65535 + 1 is 0
        return labels
    return labels.astype(np.uint8)  # the last 8 bits, and those of 65535 are 255


def boundary_width(shape: tuple[int, ...]) -> int:
    """How many pixels wide the boundary of a class is in an image (height, width), as Boundary IoU has it.

    So often a square of 3 x 3 erodes the class: 2 % of the diagonal, rounded, and at least once.
    """
    height, width = shape
    return max(1, round(BOUNDARY_SHARE * math.hypot(height, width)))
