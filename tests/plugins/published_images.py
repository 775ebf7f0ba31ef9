"""Which image of the comparisons is meant flows in; a benchmark of it alone flows out, whose truth is what SCLIP's
authors' own program answered.

The comparisons hold what entered the network, not the picture from which it was resized; so the sample's image is a
stand-in of the picture's size, its number in every pixel, and `entering` gives in place of resizing what entered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from published import arrays

from harness.contracts import Image, Sample

HELD = "sclip_predict"


@dataclass(frozen=True)
class Answered:
    """Four classes, of which the second has two words."""

    classes: ClassVar[tuple[str, ...]] = ("first", "second", "third", "fourth")
    version: ClassVar[int] = 1

    number: int = 0

    def ids(self) -> tuple[str, ...]:
        return (f"image{self.number}",)

    def load(self, image_id: str) -> Sample:
        truth = arrays(HELD)[f"labels{self.number}"] + np.uint8(1)
        return Sample(image_id, np.full((*truth.shape, 3), self.number, np.uint8), truth)


def entering(image: Image, size: tuple[int, int], resampling: str = "pillow") -> Image:
    """What entered the authors' network of the picture that this image stands for."""
    found = arrays(HELD)[f"image{image[0, 0, 0]}"]
    assert found.shape[:2] == size != image.shape[:2] and resampling == "cv2"
    return found
