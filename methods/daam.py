"""The pass of StableSeg flows in; scores in the manner of DAAM flow out: every head enlarged and cut at zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Parts, Pass, Vocabulary
from methods.diffusion.layers import HEADS, Spec, select
from methods.stableseg import Attention, StableSeg

if TYPE_CHECKING:
    from torch import Tensor


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

    def class_maps(self, features: Attention) -> list[Tensor]:
        """Of every layer the mean over heads, each enlarged and cut at zero first: (.., classes, height, width)."""
        from methods.diffusion.maps import mean_in_order, resized, scaled

        size = self._size(features.latent)
        return [
            scaled(mean_in_order(resized(maps, size, self.map_interp).clamp(min=0.0).unbind(dim=-4)), self.map_norm)
            for _, maps in features.class_maps(self.layers, self.subtoken_agg, "each")
        ]

    def weights_of(self, features: Attention, vocabulary: Vocabulary) -> Sequence[float | Sequence[float]]:
        """Every layer's share of the heads, or the weights of the settings."""
        if self.layer_weights != "uniform":
            return super().weights_of(features, vocabulary)
        heads = [features.heads_of(index) for index in select(self.layers, features.layers)]
        return [one / sum(heads) for one in heads]
