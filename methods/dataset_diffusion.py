"""The pass of StableSeg flows in; scores as Dataset Diffusion refines its maps flow out: the 1/4 side under S^4."""

from __future__ import annotations

from dataclasses import dataclass

from methods.diffusion.layers import Spec
from methods.stableseg import StableSeg


@dataclass(frozen=True)
class DatasetDiffusion(StableSeg):
    """The refinement of Dataset Diffusion (VinAIResearch/Dataset-Diffusion, gen_data.py).

    C = mean over heads and layers of the 1/4 side, bicubic to the 1/2 side; M = S^4 C there, S the mean of all
    self-attention of the 1/2 side (R2, `samap`); minmax per class.
    Left out: it generates its images and averages over 100 steps of that; here one timestep of a given image is read.
    Its prompt is a caption and the class names; its band of unsure scores (0.5 to 0.6) belongs to training labels.
    """

    timestep: int = 100
    layers: Spec = "1/4"
    map_size: str = "1/2"
    map_interp: str = "bicubic"
    map_norm: str = "none"
    refine: str = "samap"
