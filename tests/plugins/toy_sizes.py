"""Images of Shapes in four sizes, and a stranger's head on our CLIP: what windows of several images are tried with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from benchmarks.shapes import Shapes
from harness.contracts import Parts, Pass, Sample, Vocabulary
from methods.naclip import NACLIP

SIZES = ((96, 96), (96, 144), (64, 96), (48, 96))  # with windows of 64 / 32: 4, 8 and 2 of 64 x 64, 2 of 48 x 64


@dataclass(frozen=True)
class Sizes:
    """Shapes, laid out like tiles and cut to the sizes in turn."""

    version: ClassVar[int] = 1
    images: int = 8

    @cached_property
    def _shapes(self) -> Shapes:
        return Shapes(images=self.images)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._shapes.classes)

    def ids(self) -> Sequence[str]:
        return [f"{number}" for number in range(self.images)]

    def load(self, image_id: str) -> Sample:
        number, ids = int(image_id), self._shapes.ids()
        one = self._shapes.load(ids[number])
        height, width = SIZES[number % len(SIZES)]
        image, truth = np.tile(one.image, (2, 2, 1)), np.tile(one.truth, (2, 2))
        return Sample(image_id, image[:height, :width].copy(), truth[:height, :width].copy())


@dataclass(frozen=True)
class OwnHead:
    """NACLIP's scores by a class of somebody else's."""

    version: ClassVar[int] = 1

    @property
    def _inner(self) -> NACLIP:
        return NACLIP("shapes", resize="window", window=None, stride=None)

    def passes(self) -> Mapping[Pass, Parts]:
        return self._inner.passes()

    @property
    def plane_a_word(self) -> bool:
        return True

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return self._inner.read(features, vocabulary)
