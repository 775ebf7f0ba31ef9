"""An image and a vocabulary flow in; an answer that looked at neither for long flows out: what any method must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from harness.contracts import Image, LabelMap, MethodError, Scores, Timing, Vocabulary
from methods import measured
from methods.stableseg import StableSeg


@dataclass(frozen=True)
class OneClass:
    """The same class everywhere. position: in the vocabulary offered for the image, from 0, or back from -1."""

    position: int = 0

    @property
    def timings(self) -> Sequence[Timing]:
        """What an image took."""
        return measured.timings("OneClass", "int32")

    def segment(self, image: Image, vocabulary: Vocabulary) -> LabelMap:
        """Label map (height, width). With fewer classes than the position asks for: the last one (or the first)."""
        last = len(vocabulary) - 1
        position = self.position if self.position >= 0 else last + 1 + self.position
        return np.full(image.shape[:2], max(0, min(position, last)), dtype=np.int32)


@dataclass(frozen=True)
class RandomLabels:
    """Labels drawn evenly among the offered classes, the same for the same image and seed.

    side: random scores on a grid of side x side, which are enlarged like those of any method; 0 draws every pixel.
    """

    side: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side < 0:
            raise MethodError(f"The side of random labels is {self.side}; it is 0 (pixels) or a number of cells.")

    @property
    def timings(self) -> Sequence[Timing]:
        """What an image took; nothing of grids that were not measured."""
        kinds = {0: ("RandomLabels of pixels", "int16"), 24: ("RandomLabels", "float32")}
        return measured.timings(*kinds[self.side]) if self.side in kinds else ()

    def segment(self, image: Image, vocabulary: Vocabulary) -> LabelMap | Scores:
        """Scores (classes, side, side), float32, in 0..1; or a label map (height, width)."""
        content = np.ascontiguousarray(image)
        key = blake2b(f"{self.seed} {content.shape}".encode() + content.tobytes(), digest_size=16).digest()
        lots = np.random.default_rng(int.from_bytes(key, "big"))
        if self.side:
            return lots.random((len(vocabulary), self.side, self.side), dtype=np.float32)
        kind = np.int16 if len(vocabulary) <= 2**15 else np.int32
        return lots.integers(0, len(vocabulary), size=image.shape[:2], dtype=kind)


@dataclass(frozen=True)
class WrongPrompt(StableSeg):
    """StableSeg that is told as many names of classes that are not offered: is the text used at all?"""

    whose_names: str = "others"
