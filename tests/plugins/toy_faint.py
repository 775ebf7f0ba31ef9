"""A method whose scores need a threshold, and splits of which one may break or hold the other's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from toy_learners import SplitBoxes
from toy_world import Boxes

from harness.contracts import Sample, Vocabulary


@dataclass(frozen=True)
class Faint:
    """The channel of a class under noise of its own, 0 to 1."""

    version: ClassVar[int] = 1
    seed: int = 0

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        rng = np.random.default_rng([self.seed, int(image.sum())])
        channels = np.stack([image[..., Boxes().classes.index(word)] for word in vocabulary.words]) / 255
        return 0.4 * channels + 0.6 * rng.random(channels.shape)


@dataclass(frozen=True)
class Splits(SplitBoxes):
    """Two splits; where a file lies at `broken`, the last image of the train split cannot be read."""

    broken: str = ""
    places: ClassVar[tuple[str, ...]] = ("broken",)

    def load(self, image_id: str) -> Sample:
        if self.split == "train" and self.broken and Path(self.broken).exists() and image_id.endswith("009"):
            raise ValueError("the last one is broken")
        return super().load(image_id)


@dataclass(frozen=True)
class Twins(SplitBoxes):
    """Both splits hold the same pictures, under other names."""

    def ids(self) -> Sequence[str]:
        return [f"{self.split}-{number:03d}" for number in range(self.images)]

    def load(self, image_id: str) -> Sample:
        found = Boxes(images=1000).load(image_id[-3:])
        return Sample(image_id, found.image, found.truth)
