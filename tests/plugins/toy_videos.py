"""A benchmark of a few videos, whose frames belong together, and which is said to have more images than are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.contracts import Sample


@dataclass(frozen=True)
class Videos:
    """`videos` of five frames of 4 x 6 pixels; all frames of a video are the same picture."""

    version: ClassVar[int] = 1
    expected_images: ClassVar[object] = 1449
    fault: ClassVar[object] = None
    classes: ClassVar[tuple[str, ...]] = ("cat", "dog")
    videos: int = 12

    def ids(self) -> Sequence[str]:
        return [f"video{video:02d}-frame{frame}" for video in range(self.videos) for frame in range(5)]

    def cluster_of(self, image_id: str) -> object:
        return self.fault or image_id.partition("-")[0]

    def load(self, image_id: str) -> Sample:
        rng = np.random.default_rng(int(image_id[5:7]))
        truth = rng.integers(1, 3, (4, 6)).astype(np.uint8)
        return Sample(image_id, rng.integers(0, 255, (4, 6, 3)).astype(np.uint8), truth)
