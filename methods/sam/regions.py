"""An image flows in; the masks that a SAM finds by itself flow out as one map of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts import Image
from methods.sam.passes import RegionsPass

if TYPE_CHECKING:
    from methods.sam.prompts import Prompted

TOGETHER = 64  # prompts that go through the decoder at once
OVERLAP = 0.7  # intersection over union of boxes above which the mask that SAM thinks less of is left out


@torch.no_grad()
def found_regions(network: Prompted, image: Image, asked: RegionsPass) -> NDArray[np.int32]:
    """(height, width) of the image: 0 where there is no mask, else its number from 1, small masks under large ones.

    One prompt a point, one mask a prompt, of the whole image: no crops, no mending of holes and islands.
    """
    shown = network.shown(image)
    height, width = shown.size
    places = (torch.arange(asked.points) + 0.5) / asked.points
    points = torch.stack([places.repeat(asked.points) * width, places.repeat_interleave(asked.points) * height], -1)
    masks, worth = [], []
    for some in torch.split(points, TOGETHER):
        sure, logits = network.decoded(shown, some)
        large = network.enlarged(logits, shown, image.shape[:2])
        steady = (large > 1).sum((1, 2)) / (large > -1).sum((1, 2)).clamp(min=1)
        held = (sure > asked.least_iou) & (steady >= asked.least_stability) & (large > 0).any(dim=2).any(dim=1)
        masks.append((large[held] > 0).cpu())
        worth.append(sure[held].cpu())
    return painted(torch.cat(masks), torch.cat(worth))


def painted(masks: Tensor, worth: Tensor) -> NDArray[np.int32]:
    """Masks (count, height, width) as one map, those that are left out for a better one not; the largest last."""
    kept = _apart(masks, worth)
    found = np.zeros(masks.shape[1:], np.int32)
    for number, mask in enumerate(sorted((masks[place].numpy() for place in kept), key=np.count_nonzero), start=1):
        found[mask] = number
    return found


def _apart(masks: Tensor, worth: Tensor) -> list[int]:
    """Which masks are kept, the best first: those whose box overlaps no better one's too much."""
    boxes = [_box(mask) for mask in masks]
    kept: list[int] = []
    for place in worth.argsort(descending=True, stable=True).tolist():
        if all(_overlap(boxes[place], boxes[other]) <= OVERLAP for other in kept):
            kept.append(place)
    return kept


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a mask, the last two behind it."""
    rows, columns = (mask.any(dim=axis).nonzero() for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    both = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)
