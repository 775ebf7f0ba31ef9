"""The pass of StableSeg flows in; iSeg's scores flow out: two sides weighted, then a thinned attention iterated."""

from __future__ import annotations

from dataclasses import dataclass

from methods.diffusion.layers import Spec
from methods.layer_weights import Weights
from methods.stableseg import StableSeg


@dataclass(frozen=True)
class ISeg(StableSeg):
    """iSeg (linsun449/iseg.code, wsss/iSeg.py).

    C = .7 mean of the 1/4 side + .3 mean of the 1/2 side, every map divided by its sum over the image; then R4
    (`iterate`) with the self-attention of layer 14 and VOC's (gamma, steps) = (.015, 8); for Context
    `iterate(resolution=14, gamma=0.002, steps=5)`, for COCO gamma 0.2 and 10 steps. t = 100, mean latent.
    A network of other layers needs its own `refine_resolution` (`up:largest`, say).
    Left out: the clustering of cross maps by KL divergence, its lists of good heads (heads 1 and 2 of layer 14, and
    those of cross-attention on VOC), its list of 13 cross layers (here all of both sides), class tokens times 1.6 and
    the background words of its prompt.
    """

    timestep: int = 100
    layers: Spec = "1/4+1/2"
    layer_weights: Weights = "1/4:.7, 1/2:.3"
    map_norm: str = "sum"
    refine: str = "iterate(resolution=14)"
