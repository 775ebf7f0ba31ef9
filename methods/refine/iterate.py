"""Class maps flow in, and flow out after many steps of an attention that was thinned out first: R4.

T = S / (its column maxima); T = max(0, T + gamma log10(e T)); rows of T divided by their sum; then `steps` times
C = T C, C = C - min C, C = C / sum C per class. Source: iSeg (linsun449/iseg.code, get_att_map), with (gamma, steps) =
(.015, 8) on VOC, (.002, 5) on Context, (.2, 10) on COCO. It changes S entry by entry, hence forms it: costly.
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
class Iterate:
    """resolution: layers of one side (iSeg: layer 14 of Stable Diffusion). gamma: how strongly weak links are cut."""

    resolution: str = "largest"
    gamma: float = 0.015
    steps: int = 8
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.resolution, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        from methods.diffusion.maps import resized

        inner = resized(maps, features.side(self.resolution))
        links = thinned(features.self_attention(self.resolution, self.rows), self.gamma)
        flat = inner.flatten(1).T
        for _ in range(self.steps):
            flat = links @ flat
            flat = flat - flat.amin(dim=0, keepdim=True)
            total = flat.sum(dim=0, keepdim=True)
            flat = flat / total.masked_fill(total == 0.0, 1.0)
        return resized(flat.T.reshape(inner.shape), (maps.shape[1], maps.shape[2]))


def thinned(attention: Tensor, gamma: float) -> Tensor:
    """S with weak links cut, rows sum to 1 (a row that loses every link stays zero)."""
    import math

    links = attention / attention.amax(dim=0, keepdim=True)
    links = (links + gamma * (links.clamp(min=1e-30) * math.e).log10()).clamp_(min=0.0)
    total = links.sum(dim=1, keepdim=True)
    return links / total.masked_fill(total == 0.0, 1.0)
