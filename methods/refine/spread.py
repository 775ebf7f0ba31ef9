"""Class maps flow in, and flow out as the likeness of every position to the surest ones, from coarse to fine: R8.

Seeds of a class: positions above Otsu's threshold of C squared. M(p) = sum over seeds q of cos(S_p, S_q), scaled to
0..1; repeated at every side. Source: SeeDiff (src/seediff_main_origin.py; 16, 32, 64). The sum over seeds is two
products with the rows of S, which are formed for their lengths: costly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Parts
from methods.diffusion.layers import own_part

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures


@dataclass(frozen=True)
class Spread:
    """resolutions: sides joined by `+`, in the order in which they are gone through."""

    resolutions: str = "1/4+1/2+1/1"
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.resolutions, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        from methods.diffusion.maps import resized, scaled

        inner = maps
        for side in self.resolutions.split("+"):
            inner = scaled(resized(inner, features.side(side)), "minmax")
            attention = features.self_attention(side, self.rows)
            unit = attention / attention.norm(dim=1, keepdim=True)
            seeds = above_otsu(inner.flatten(1).square()).to(unit.dtype)
            inner = scaled((seeds @ unit @ unit.T).reshape(inner.shape), "minmax")
        return resized(inner, (maps.shape[1], maps.shape[2]))


def above_otsu(values: Tensor, bins: int = 256) -> Tensor:
    """Per row of (classes, positions) in 0..1 what lies above the threshold that splits the histogram with the largest
    variance between the two parts (Otsu 1979): bool, the same shape. A constant row has no seeds."""
    import torch

    level = (values * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    counts.scatter_add_(1, level, torch.ones_like(values, dtype=torch.float64))
    middles = torch.arange(bins, dtype=torch.float64, device=values.device) + 0.5
    low = counts.cumsum(dim=1)
    high = low[:, -1:] - low
    mass = (counts * middles).cumsum(dim=1)
    gap = mass / low.clamp(min=1.0) - (mass[:, -1:] - mass) / high.clamp(min=1.0)
    between = low * high * gap.square()
    return level > between.argmax(dim=1, keepdim=True)
