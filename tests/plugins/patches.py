"""A world whose colours tell the classes, and a teacher, a tagger and a network that see colours: soon learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Image, Parts, Pass, Query, Sample, Vocabulary
from methods.diffusion.layers import Layer

NAMES = ("circle", "square", "star")  # words that the shipped CLIP knows; they are red, green and blue here


@dataclass(frozen=True)
class Patches:
    """Grey images with a patch of up to two classes; the fourth of every five has none, the fifth is all 255."""

    version: ClassVar[int] = 1
    split: str = "val"
    images: int = 8

    @property
    def classes(self) -> tuple[str, ...]:
        return NAMES

    def ids(self) -> Sequence[str]:
        return [f"{self.split}-{index:03d}" for index in range(self.images)]

    def load(self, image_id: str) -> Sample:
        split, _, index = image_id.partition("-")
        rng = np.random.default_rng([int(index), split == "train"])
        image = rng.integers(90, 130, (40, 56, 3)).astype(np.uint8)
        truth = np.zeros((40, 56), np.uint8)
        kinds = rng.permutation(3)[: (1, 2, 2, 0, 1)[int(index) % 5]]
        for left, kind in zip((4, 32), kinds, strict=False):
            place = np.s_[6 + kind : 30 + kind, left : left + 20]
            image[place] = 30
            image[(*place, kind)] = 220
            truth[place] = kind + 1
        if split == "train" and int(index) % 5 == 4:
            truth[:] = 255
        return Sample(image_id, image, truth)


def hues(image: Image) -> NDArray[np.float32]:
    """(3, height, width): how much red, green or blue stands out; 0 on grey."""
    channels = image.astype(np.float32).transpose(2, 0, 1) / 255
    others = (channels.sum(axis=0) - channels) / 2
    return np.maximum(channels - others - 0.2, 0).astype(np.float32)


@dataclass(frozen=True)
class Hues:
    """Scores of 0 to 0.55 for the colour of a class; words for the background have 0.2 everywhere."""

    version: ClassVar[int] = 1

    def segment(self, image: Image, vocabulary: Vocabulary) -> NDArray[np.float32]:
        seen = hues(image)
        grey = np.full(image.shape[:2], 0.2, np.float32)
        return np.stack([seen[NAMES.index(word)] if word in NAMES else grey for word in vocabulary.words])


@dataclass(frozen=True)
class Seen:
    """Tags the classes whose colours are there."""

    version: ClassVar[int] = 1

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]:
        return [place for place, seen in enumerate(hues(image)) if (seen > 0.2).mean() > 0.02]


@dataclass(frozen=True)
class LayerMaps:
    """What `methods.stableseg:StableSeg` reads of a pass: three layers at half size, of which one sees the colours."""

    image: Image
    names: tuple[str, ...]

    @property
    def latent(self) -> tuple[int, int]:
        return self.image.shape[0] // 2, self.image.shape[1] // 2

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(Layer(index, f"layer{index}", 1, self.latent) for index in range(3))

    def class_maps(self, *_: Any) -> list[tuple[Layer, Any]]:
        """The first layer is noise, the second sees colours (words for the background: grey), the third is flat."""
        import torch

        seen = hues(self.image[::2, ::2])
        grey = 0.5 - seen.max(axis=0)
        right = np.stack([seen[NAMES.index(word)] if word in NAMES else grey for word in self.names])
        noise = np.random.default_rng(int(self.image.sum())).random(right.shape)
        maps = (noise, right + 0.05 * noise, np.zeros(right.shape))
        return [(layer, torch.tensor(one, dtype=torch.float32)) for layer, one in zip(self.layers, maps, strict=True)]

    def crop(self, maps: Any) -> Any:
        return maps


@dataclass(frozen=True)
class LayerNetwork:
    """Stands where a diffusion model would: a Backbone."""

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, list[LayerMaps]]]:
        for request in requests:
            yield request, [LayerMaps(query.image, query.vocabulary.words) for query in queries]
