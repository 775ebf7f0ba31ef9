"""The pass of StableSeg flows in; scores in the manner of DAAM flow out: every head enlarged and cut at zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Parts, Pass, Vocabulary
from methods.diffusion.layers import HEADS, Spec, select
from methods.stableseg import StableSeg

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures


@dataclass(frozen=True)
class DAAM(StableSeg):
    """Heat maps in the manner of DAAM (castorini/daam, daam/trace.py).

    C = mean over all pairs of layer (all but those of the 1/8 side) and head of max(0, bicubic(P)), a word being the
    mean of its tokens: a layer weighs as many heads as it has. No refinement and no scaling, so classes keep the
    strength that the softmax over tokens gave them. layer_weights other than uniform are taken as they are.
    Left out: it traces the generation of an image and sums over its steps; here one timestep of a given image is read.
    Its optional division by the sum over tokens.
    """

    timestep: int = 100
    layers: Spec = "1/1+1/2+1/4"
    map_interp: str = "bicubic"
    map_norm: str = "none"
    refine: str = "none"
    class_norm: str = "none"

    def passes(self) -> Mapping[Pass, Parts]:
        """StableSeg's, with heads kept apart."""
        return {request: parts | {HEADS} for request, parts in super().passes().items()}

    def class_maps(self, features: DiffusionFeatures) -> list[Tensor]:
        """Of every layer the mean over heads, each enlarged and cut at zero on its own: (classes, height, width)."""
        from methods.diffusion.maps import resized, scaled

        size = self._size(features.latent)
        found = []
        for _, maps in features.class_maps(self.layers, self.subtoken_agg, "each"):
            large = resized(maps.flatten(0, 1), size, self.map_interp).clamp(min=0.0)
            found.append(scaled(large.reshape(*maps.shape[:2], *size).mean(dim=0), self.map_norm))
        return found

    def weights_of(self, features: DiffusionFeatures, vocabulary: Vocabulary) -> Sequence[float | Sequence[float]]:
        """Every layer's share of the heads, or the weights of the settings."""
        if self.layer_weights != "uniform":
            return super().weights_of(features, vocabulary)
        kept = [features.cross.get(index) for index in select(self.layers, features.layers)]
        heads = [len(held[0]) if held else 1 for held in kept]  # none of it is held where no class is offered
        return [one / sum(heads) for one in heads]
