"""A benchmark of as many classes as one likes whose images spell their truth, methods and a learner that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from toy_world import ToyPass

from harness.contracts import IGNORED, WIDE_IGNORED, LabelRule, Lessons, Parts, Pass, Recipe, Sample, Vocabulary

HEIGHT, KINDS = 21, 30  # kinds of class in an image


@dataclass(frozen=True)
class Many:
    """Red and green spell the class's number, blue is noise. Image 1 has a truth of 8 bits, whatever others have."""

    version: ClassVar[int] = 1
    number: int = 1000
    split: str = "val"
    images: int = 6

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"class {k}" for k in range(1, self.number + 1))

    def ids(self) -> Sequence[str]:
        return [f"{self.split}-{index}" for index in range(self.images)]

    def load(self, image_id: str) -> Sample:
        split, index = image_id.split("-")
        rng = np.random.default_rng([self.number, split == "train", int(index)])
        narrow = self.number < IGNORED or index == "1"
        highest = min(self.number, IGNORED - 1) if narrow else self.number
        corners = [k for k in (254, 255, 256, highest) if k <= highest]
        held = np.unique([0, *corners, *rng.integers(1, highest + 1, KINDS)])
        labels = rng.choice(held, (HEIGHT, 30 + int(index)))
        labels[:2] = np.resize(held, (2, labels.shape[1]))
        noise = rng.integers(0, 256, labels.shape)
        image = np.stack([labels >> 8, labels & 255, noise], axis=-1).astype(np.uint8)
        labels[-2:] = IGNORED if narrow else WIDE_IGNORED
        return Sample(image_id, image, labels.astype(np.uint8 if narrow else np.uint16))


def positions(image: NDArray[np.uint8], vocabulary: Vocabulary, noise: int) -> NDArray[np.int64]:
    """Where the number that a pixel spells is in the vocabulary; the next place where blue is low, -1 where high."""
    spelled = image[..., 0].astype(np.int64) * 256 + image[..., 1]
    places = np.full(2**16, -1)
    numbers = {place: int(word[6:]) for place, word in enumerate(vocabulary.words) if word.startswith("class ")}
    places[list(numbers.values())] = list(numbers)
    found = np.where(image[..., 2] > 250, -1, places[spelled])
    return np.where((image[..., 2] < noise) & (found >= 0), (found + 1) % len(numbers), found)


@dataclass(frozen=True)
class Spells:
    """Says what the pixels say, and the next class where blue is below `noise`. form: map or scores."""

    version: ClassVar[int] = 1
    noise: int = 40
    form: str = "map"

    def segment(self, image: NDArray[np.uint8], vocabulary: Vocabulary) -> Any:
        found = positions(image, vocabulary, self.noise)
        if self.form == "map":
            return found if len(vocabulary) > 2**15 else found.astype(np.int16)
        return (found[None] == np.arange(len(vocabulary))[:, None, None]).astype(np.float32)


@dataclass(frozen=True)
class OutOfPlace:
    """Calls everything 65535."""

    version: ClassVar[int] = 1

    def segment(self, image: NDArray[np.uint8], vocabulary: Vocabulary) -> Any:
        return np.full(image.shape[:2], WIDE_IGNORED, np.uint16)


@dataclass(frozen=True)
class Listens:
    """Tells of its lessons and gatherings what they hold; fitted, it spells."""

    version: ClassVar[int] = 1
    teacher: str = ""

    @property
    def rule(self) -> LabelRule:
        return LabelRule(low=0.5, scale="none")

    def passes(self) -> Mapping[Pass, Parts]:
        return {ToyPass(Recipe.of("toy_world:ToyBackbone"), 1): frozenset({"all"})}

    def gather(self, features: Any, vocabulary: Vocabulary, lesson: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        return {"lesson": lesson, "offered": np.array([int(word.split()[1]) for word in vocabulary.words])}

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        told = {}
        for image_id in lessons.image_ids:
            mask, held = lessons.mask(image_id), lessons.gathered(image_id)
            asked = lessons.ask(image_id, lessons.image(image_id))
            np.savez(folder / f"{image_id}.npz", mask=mask, asked=asked, **held)
            told[image_id] = [str(mask.dtype), str(asked.dtype), str(held["lesson"].dtype)]
        (folder / "told.json").write_text(json.dumps(told))
        return told

    def read(self, features: Any, vocabulary: Vocabulary) -> Any:
        (image,) = features.values()
        found = positions(np.rint(image / 1.001).astype(np.uint8), vocabulary, 0)
        return (found[None] == np.arange(len(vocabulary))[:, None, None]).astype(np.float32)

    def fitted(self, folder: Path) -> Listens:
        return self
