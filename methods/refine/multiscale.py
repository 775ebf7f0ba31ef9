"""Class maps flow in, and flow out after self-attention of all sides, brought to one side, was applied: R7.

S = sum over layers of (r / sum of r) up(S_l): keys are enlarged bilinearly, queries are tiled, rows are divided by
their sum; M = S C (DiffSeg) or S S C (GoCA, power 2). Enlarging the keys of S_l is the same as bringing C down with the
transposed interpolation, and tiling its queries as repeating the result, so no S is ever formed.
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
class MultiScale:
    """layers: which take part, of any side. power: 1 as in DiffSeg, 2 as in GoCA. Maps are refined at latent size."""

    layers: str = "all"
    power: int = 1
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.layers, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        import torch

        from methods.diffusion.layers import select
        from methods.diffusion.maps import resized

        inner = resized(maps, features.latent)
        chosen = [features.layers[index] for index in select(self.layers, features.layers)]
        whole = sum(layer.resolution[0] for layer in chosen)
        for _ in range(self.power):
            spread = torch.zeros_like(inner)
            for layer in chosen:
                spread += layer.resolution[0] / whole * self._one(inner, layer.index, layer.resolution, features)
            inner = spread
        return resized(inner, (maps.shape[1], maps.shape[2]))

    def _one(self, maps: Tensor, index: int, side: tuple[int, int], features: DiffusionFeatures) -> Tensor:
        """up(S_l) C for one layer: maps and, as a further plane, what the rows sum to."""
        import torch

        planes = torch.cat([maps, torch.ones_like(maps[:1])])
        down = [enlarging(small, large).to(maps) for small, large in zip(side, features.latent, strict=True)]
        inner = down[0].T @ planes @ down[1]
        spread = features.propagate(inner, str(index), 1, self.rows)
        tiled = torch.nn.functional.interpolate(spread[None], size=features.latent, mode="nearest")[0]
        return tiled[:-1] / tiled[-1:]


def enlarging(small: int, large: int) -> Tensor:
    """The matrix (large, small) of bilinear interpolation along one axis, corners not aligned."""
    import torch

    lines = torch.eye(small, dtype=torch.float32, device="cpu")[:, None]
    return torch.nn.functional.interpolate(lines, size=large, mode="linear", align_corners=False)[:, 0].T
