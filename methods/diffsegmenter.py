"""The pass of StableSeg flows in; DiffSegmenter's scores flow out: sides of the network weighted, S applied once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.layer_weights import Weights
from methods.stableseg import Attention, StableSeg

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DiffSegmenter(StableSeg):
    """DiffSegmenter (VCG-team/DiffSegmenter, open_vocabulary/*/ptp_stable_best.py).

    C = sum over sides r of w_r minmax(up(mean over layers and heads of side r)), w = .3, .5, .1, .1 for 1/8, 1/4, 1/2,
    1/1; M = S C with S the mean of all self-attention of the largest side (`sar`); minmax per class. t = 100.
    A network without one of the sides needs its own `layer_weights`.
    Left out, since each asks for a pass of its own: one prompt a class (`prompt: per_class`), "a photograph of"
    (`template`), the class word's "++", the caption that a BLIP model adds, and an unseeded sample of the latent
    (`latent: sample`). Its background threshold, tuned on labels, is the protocol's business.
    """

    timestep: int = 100
    layer_weights: Weights = "1/8:.3, 1/4:.5, 1/2:.1, 1/1:.1"

    def class_maps(self, features: Attention) -> list[Tensor]:
        """One map a layer, as StableSeg's, but every layer stands for the mean of its side; resized, then scaled."""
        from methods.diffusion.maps import mean_in_order, resized, scaled

        found = features.class_maps(self.layers, self.subtoken_agg, self.head_agg)
        size = self._size(features.latent)
        means = {}
        for side in {layer.factor for layer, _ in found}:
            mean = mean_in_order(maps for layer, maps in found if layer.factor == side)
            means[side] = scaled(resized(mean, size, self.map_interp), self.map_norm)
        return [means[layer.factor] for layer, _ in found]
