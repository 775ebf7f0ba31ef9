"""Somebody else's package: methods that the harness has never heard of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FlatGuess:
    """The whole example of the README: one class everywhere."""

    class_index: int = 0

    def segment(self, image, vocabulary):  # type: ignore[no-untyped-def]
        height, width, _ = image.shape
        return np.full((height, width), min(self.class_index, len(vocabulary) - 1), dtype=np.int16)


@dataclass(frozen=True)
class Bands:
    """Scores instead of labels: classes in horizontal bands, softly."""

    sharpness: float = 1.0

    def segment(self, image, vocabulary):  # type: ignore[no-untyped-def]
        rows = np.linspace(0, len(vocabulary) - 1, 16)[:, None]
        distance = np.abs(rows - np.arange(len(vocabulary))[:, None, None])
        return np.exp(-self.sharpness * distance).repeat(16, axis=2).astype(np.float32)
