"""A small student, lessons of coloured halves that it can learn, and the weights that a fit leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import IGNORED, Image, Truth, Vocabulary
from methods.student import Student

NAMES = (("red",), ("green", "lime"), ("blue",))
SMALL = Student(
    teacher="nobody", encoder="tu-resnet10t", encoder_weights=None, depth=3, stride=8, decoder=16, crop=32,
    scale_low=0.8, scale_high=1.2, steps=4, batch=4, group=2, optimiser="adamw", learning_rate=0.002, validate_every=2,
    held_out=0.25, seed=3,
)  # fmt: skip


@dataclass(frozen=True)
class ColourLessons:
    """Halves of two colours; the mask says which, and 255 in the first column. Fulfils Lessons."""

    count: int = 8
    background: bool = False
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(NAMES))

    @property
    def image_ids(self) -> Sequence[str]:
        return tuple(f"i{number:03d}" for number in range(self.count))

    def _kinds(self, image_id: str) -> NDArray[np.int64]:
        return np.random.default_rng(int(image_id[1:])).permutation(3)[:2]

    def image(self, image_id: str) -> Image:
        image = np.full((40, 56, 3), 30, np.uint8)
        left, right = self._kinds(image_id)
        image[:, :28, left] = 220
        image[:, 28:, right] = 220
        return image

    def mask(self, image_id: str) -> Truth:
        left, right = self._kinds(image_id)
        mask = np.full((40, 56), left + 1, np.uint8)
        mask[:, 28:] = right + 1
        mask[:, 0] = IGNORED
        mask[0] = 0
        return mask

    def ask(self, image_id: str, image: Image) -> Truth:
        """The brightest channel of every pixel: only right when it is really given the changed crop."""
        return (image.argmax(axis=2) + 1).astype(np.uint8)

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        raise AssertionError("a student gathers nothing")


def weights_of(folder: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


def folder_at(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
