"""Class maps (classes, rows, columns) flow in; the same maps at another size or on another scale flow out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import MethodError
from harness.contracts.scales import stretched

SCALES = ("none", "minmax", "max", "sum", "softmax")


def resized(maps: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """The maps at (height, width). Shrinking takes area means, so that no position is left out; enlarging, the
    interpolation (`bilinear`, `bicubic`, `nearest`), corners not aligned."""
    here = (maps.shape[-2], maps.shape[-1])
    if here == size or not len(maps):
        return maps if here == size else maps.new_zeros(0, *size)
    if size[0] <= here[0] and size[1] <= here[1]:
        return F.interpolate(maps[None], size=size, mode="area")[0]
    if interpolation == "nearest":
        return F.interpolate(maps[None], size=size, mode="nearest-exact")[0]
    return F.interpolate(maps[None], size=size, mode=interpolation, align_corners=False)[0]


def scaled(maps: Tensor, how: str) -> Tensor:
    """Every map on a common scale: `minmax` to 0..1 (a constant map becomes zeros), `max` and `sum` divide by the
    map's own, `softmax` runs over the classes, `none` leaves them."""
    if how == "none" or not len(maps):
        return maps
    if how == "softmax":
        return maps.softmax(dim=0)
    if how == "minmax":
        found: Tensor = stretched(maps)
        return found
    if how not in SCALES:
        raise MethodError(f"There is no scale {how!r} for class maps; there are {', '.join(SCALES)}.")
    total = maps.amax(dim=(1, 2), keepdim=True) if how == "max" else maps.sum(dim=(1, 2), keepdim=True)
    return maps / torch.where(total == 0.0, 1.0, total)
