"""Class maps flow in, and flow out after squared attention that looks only into the boxes around their peaks: R3.

M_c = (S S ⊙ B_c) C_c, where B_c keeps column j when position j lies in the bounding box of a connected region of
C_c > threshold (C_c scaled to 0..1). Source: FTTM (Text2Mask), after the class-aware affinity of CLIP-ES. Leaving
columns out is the same as setting C_c to zero there, so S is applied and never formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Parts
from methods.diffusion.layers import own_part

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures
    from methods.diffusion.together import Together


@dataclass(frozen=True)
class Box:
    """resolution: layers of one side (FTTM takes one layer of 1/2). threshold: of the box (.2 or .5 there)."""

    batched: ClassVar[bool] = True

    resolution: str = "second"
    threshold: float = 0.5
    power: int = 2
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.resolution, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures | Together) -> Tensor:
        from methods.diffusion.maps import resized, scaled

        inner = scaled(resized(maps, features.side(self.resolution)), "minmax")
        inner = inner * boxes(inner > self.threshold)
        spread = features.propagate(inner, self.resolution, self.power, self.rows)
        return resized(scaled(spread, "minmax"), (maps.shape[-2], maps.shape[-1]))


def boxes(inside: Tensor) -> Tensor:
    """Of every plane the union of the bounding boxes of its connected regions (8 neighbours): bool, the same shape."""
    import numpy as np
    import torch
    from scipy.ndimage import find_objects, label

    found = np.zeros(tuple(inside.shape), dtype=bool)
    sides = inside.shape[-2:]
    for plane, mask in zip(found.reshape(-1, *sides), inside.cpu().numpy().reshape(-1, *sides), strict=True):
        regions, _ = label(mask, structure=np.ones((3, 3), dtype=int))
        for box in find_objects(regions):
            plane[box] = True
    return torch.from_numpy(found).to(inside.device)
