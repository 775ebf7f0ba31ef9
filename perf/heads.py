"""A model flows in; six heads of CLIP that read one pass of it flow out."""

from __future__ import annotations

from typing import Any

from methods.clearclip import ClearCLIP
from methods.gem import GEM
from methods.maskclip import MaskCLIP
from methods.naclip import NACLIP
from methods.plain_clip import CLIP
from methods.sclip import SCLIP


def clip_heads(model: str = "shapes") -> list[Any]:
    """Each at the images' own size, uncut."""
    kinds: list[Any] = [CLIP, MaskCLIP, ClearCLIP, SCLIP, NACLIP, GEM]
    return [kind(model, resize="native", window=None, stride=None) for kind in kinds]
