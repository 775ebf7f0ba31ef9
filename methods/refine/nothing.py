"""Class maps flow in and flow out as they are: what every refiner is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Parts

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures
    from methods.diffusion.together import Together


@dataclass(frozen=True)
class Nothing:
    """M = C."""

    batched: ClassVar[bool] = True

    def parts(self) -> Parts:
        return frozenset()

    def refine(self, maps: Tensor, features: DiffusionFeatures | Together) -> Tensor:
        return maps
