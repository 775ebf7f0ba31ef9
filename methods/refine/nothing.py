"""Class maps flow in and flow out as they are: what every refiner is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Parts

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures


@dataclass(frozen=True)
class Nothing:
    """M = C."""

    def parts(self) -> Parts:
        return frozenset()

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        return maps
