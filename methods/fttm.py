"""The pass of StableSeg flows in; FTTM's scores flow out: the innermost layers, squared attention inside boxes."""

from __future__ import annotations

from dataclasses import dataclass

from methods.diffusion.layers import Spec
from methods.stableseg import StableSeg


@dataclass(frozen=True)
class FTTM(StableSeg):
    """FTTM, "Text2Mask" (Big-Brother-Pikachu/Text2Mask, scripts/SD_seg.py and run_scripts.sh).

    C = mean over layers 4 to 8 and heads; then R3 (`box`, threshold .5; .2 is its other choice) with the squared
    self-attention of layer 11; minmax before and after. t = 150. Which layers its numbers 4..8 and 11 are is inferred
    from the order of its list. A network of other layers needs its own `layers` and `refine_resolution`.
    Left out: 10 noise draws on VOC (`noise_draws: 10`, ten passes), its prompt "a photo including c1, c2, {background
    words of the class}" (`template`, `joiner`), an input of 704 pixels or more (`size`), and the dense CRF behind it
    (methods.dense_crf).
    """

    timestep: int = 150
    layers: Spec = "4-8"
    map_norm: str = "none"
    refine: str = "box(resolution=11)"
