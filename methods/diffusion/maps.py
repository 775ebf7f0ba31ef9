"""Class maps (.., classes, rows, columns) flow in; the same maps at another size or on another scale flow out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import MethodError
from harness.contracts.scales import stretched

SCALES = ("none", "minmax", "max", "sum", "softmax")
BY_PLANE = ("none", "minmax", "max")  # scales under which no number of a map depends on another map


def resized(maps: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """The maps at (height, width). Shrinking takes area means, so that no position is left out; enlarging, the
    interpolation (`bilinear`, `bicubic`, `nearest`), corners not aligned."""
    here = (maps.shape[-2], maps.shape[-1])
    if here == size or not maps.numel():
        return maps if here == size else maps.new_zeros(*maps.shape[:-2], *size)
    planes = maps.reshape(-1, 1, *here)  # as channels of one image their number would decide how a CPU rounds
    if size[0] <= here[0] and size[1] <= here[1]:
        found = F.interpolate(planes, size=size, mode="area")
    elif interpolation == "nearest":
        found = F.interpolate(planes, size=size, mode="nearest-exact")
    else:
        found = F.interpolate(planes, size=size, mode=interpolation, align_corners=False)
    return found.reshape(*maps.shape[:-2], *size)


def scaled(maps: Tensor, how: str) -> Tensor:
    """Every map on a common scale: `minmax` to 0..1 (a constant map becomes zeros), `max` and `sum` divide by the
    map's own, `softmax` runs over the classes, `none` leaves them."""
    if how == "none" or not maps.numel():
        return maps
    if how == "softmax":
        return maps.softmax(dim=-3)
    if how == "minmax":
        found: Tensor = stretched(maps, over=(-2, -1))
        return found
    if how not in SCALES:
        raise MethodError(f"There is no scale {how!r} for class maps; there are {', '.join(SCALES)}.")
    total = maps.amax(dim=(-2, -1), keepdim=True) if how == "max" else maps.sum(dim=(-2, -1), keepdim=True)
    return maps / torch.where(total == 0.0, 1.0, total)


def mean_in_order(parts: Iterable[Tensor]) -> Tensor:
    """The mean of tensors of one shape, added up in their order: no number depends on what lies beside it."""
    total, *others = parts
    for part in others:
        total = total + part
    return total / (1 + len(others))
