"""Class maps flow in, and flow out after self-attention of all sides, brought to one side, was applied: R7.

S = sum over layers of (r / sum of r) up(S_l): keys are enlarged bilinearly, queries are tiled, rows are divided by
their sum; M = S C (DiffSeg) or S S C (GoCA, power 2). Enlarging the keys of S_l is the same as bringing C down with the
transposed interpolation, and tiling its queries as repeating the result, so no S is ever formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Parts
from harness.contracts.sending import sent
from methods.diffusion.layers import own_part

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

    from methods.diffusion.features import DiffusionFeatures
    from methods.diffusion.together import Together


@dataclass(frozen=True)
class MultiScale:
    """layers: which take part, of any side. power: 1 as in DiffSeg, 2 as in GoCA. Maps are refined at latent size."""

    batched: ClassVar[bool] = True

    layers: str = "all"
    power: int = 1
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.layers, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures | Together) -> Tensor:
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
        return resized(inner, (maps.shape[-2], maps.shape[-1]))

    def _one(self, maps: Tensor, index: int, side: tuple[int, int], features: DiffusionFeatures | Together) -> Tensor:
        """up(S_l) C for one layer: maps and, as a further plane, what the rows sum to."""
        import torch

        planes = torch.cat([torch.ones_like(maps[..., :1, :, :]), maps], dim=-3)
        tall, wide = (
            _there(small, large, maps.device).expand(planes[..., 0, 0].numel(), -1, -1)
            for small, large in zip(side, features.latent, strict=True)
        )
        inner = torch.bmm(torch.bmm(tall.mT, planes.flatten(0, -3)), wide).reshape(*planes.shape[:-2], *side)
        spread = features.propagate(inner, str(index), 1, self.rows)
        flat = spread.reshape(-1, 1, *spread.shape[-2:])
        tiled = torch.nn.functional.interpolate(flat, size=features.latent, mode="nearest").reshape(planes.shape)
        return tiled[..., 1:, :, :] / tiled[..., :1, :, :]


@lru_cache(maxsize=64)
def _there(small: int, large: int, device: Device) -> Tensor:
    """`enlarging` on a device, sent there once."""
    return sent(enlarging(small, large), device)


def enlarging(small: int, large: int) -> Tensor:
    """The matrix (large, small) of bilinear interpolation along one axis, corners not aligned."""
    import torch

    lines = torch.eye(small, dtype=torch.float32, device="cpu")[:, None]
    return torch.nn.functional.interpolate(lines, size=large, mode="linear", align_corners=False)[:, 0].T
