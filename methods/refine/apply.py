"""Class maps flow in, and flow out after self-attention was applied to them once or several times: R1 and R2.

M = S^power C. R1 (`sar`, DiffSegmenter): the layers of the largest side, once. R2 (`samap`, Dataset Diffusion): those
of the next smaller side, four times. Both names are reconstructions, not confirmed by the poster's authors.
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
class Apply:
    """resolution: layers of one side (see layers). power: how often. rows: S of all prompts (`mean`) or `first`."""

    batched: ClassVar[bool] = True

    resolution: str = "largest"
    power: int = 1
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.resolution, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures | Together) -> Tensor:
        from methods.diffusion.maps import resized

        inner = resized(maps, features.side(self.resolution))
        spread = features.propagate(inner, self.resolution, self.power, self.rows)
        return resized(spread, (maps.shape[-2], maps.shape[-1]))
