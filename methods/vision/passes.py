"""What is asked of a vision transformer for one image, as a frozen value with its parts; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import Parts
from methods.clip.passes import ClipPass

DINO = "facebook/dino-vitb8"
TOKENS: Parts = frozenset({"tokens"})
SUMS: Parts = frozenset({"sums"})


@dataclass(frozen=True)
class VitPass(ClipPass):
    """One run of a vision transformer over an image, whole or in windows; as a ClipPass in all it says.

    Its parts: `tokens`, those of the patches behind the last norm; `sums`, q + k of the last block.
    """
