"""Class maps flow in, and flow out after two different attentions were applied in turn: R5.

M = A2 A1 C; each A is the mean of the stages named, and a stage the mean of its layers. Source: ELBO-T2IAlign
(configs/run_segmentation.yaml): A1 = mean of the largest side on the way down and up, A2 = the largest on the way up.
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
class TwoLevel:
    """first, second: stages of A1 and A2, joined by `+`, all of one side."""

    batched: ClassVar[bool] = True

    first: str = "down:largest+up:largest"
    second: str = "up:largest"
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.first, self.rows), own_part(self.second, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures | Together) -> Tensor:
        from methods.diffusion.maps import mean_in_order, resized

        inner = resized(maps, features.side(self.first.split("+")[0]))
        for level in (self.first, self.second):
            inner = mean_in_order(features.propagate(inner, stage, 1, self.rows) for stage in level.split("+"))
        return resized(inner, (maps.shape[-2], maps.shape[-1]))
