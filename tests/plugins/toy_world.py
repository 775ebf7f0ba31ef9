"""A benchmark, a counting backbone and methods small enough to follow by hand, reached by address like any plug-in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.contracts import ModelError, Parts, Pass, Query, Recipe, Sample, Vocabulary

COUNTS: Counter[str] = Counter()


@dataclass(frozen=True)
class Boxes:
    """Images whose colour says the class; `broken` ids cannot be read."""

    version: ClassVar[int] = 1
    images: int = 10
    broken: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return ("red", "green", "blue")

    def ids(self) -> Sequence[str]:
        return [f"{index:03d}" for index in range(self.images)]

    def load(self, image_id: str) -> Sample:
        if image_id in self.broken:
            raise ValueError(f"{image_id} is broken")
        rng = np.random.default_rng(int(image_id))
        height, width = 8 + int(image_id) % 3, 12
        truth = rng.integers(0, 4, (height, width)).astype(np.uint8)
        truth[0, 0] = 255
        image = np.zeros((height, width, 3), np.uint8)
        for number in (1, 2, 3):
            image[truth == number, number - 1] = 255
        return Sample(image_id, image, truth)


@dataclass(frozen=True)
class ToyPass:
    backbone: Recipe
    timestep: int

    @property
    def encoding(self) -> str:
        return "one"


@dataclass(frozen=True)
class ToyBackbone:
    """Leaves the image times (1 + timestep / 1000); counts what it is asked for; can fail on an image."""

    version: ClassVar[int] = 1
    fails_on: str = ""

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        COUNTS["calls"] += 1
        COUNTS["encodings"] += len(queries)
        COUNTS[f"shape {len(queries)}"] += 1
        for request, parts in requests.items():
            COUNTS["rows"] += len(queries)
            COUNTS[f"parts {sorted(parts)}"] += 1
            if self.fails_on and any(query.image_id == self.fails_on for query in queries):
                raise RuntimeError(f"cannot see {self.fails_on}")
            scale = 1 + request.timestep / 1000  # type: ignore[attr-defined]
            yield request, [query.image.astype(np.float32) * scale for query in queries]


@dataclass(frozen=True)
class ToyReader:
    """Colour channels of the offered classes as scores."""

    version: ClassVar[int] = 1
    timestep: int = 1
    part: str = "all"
    refine: str = "none"
    fails_on: str = ""

    def passes(self) -> Mapping[Pass, Parts]:
        return {
            ToyPass(Recipe.of("toy_world:ToyBackbone", fails_on=self.fails_on), self.timestep): frozenset({self.part})
        }

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        (image,) = features.values()
        return np.stack([image[..., Boxes().classes.index(word)] for word in vocabulary.words])


@dataclass(frozen=True)
class Flat:
    """One position everywhere."""

    version: ClassVar[int] = 1
    position: int = 0

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return np.full(image.shape[:2], self.position % len(vocabulary), np.int16)


@dataclass(frozen=True)
class Moody:
    """Misbehaves on images of a certain height, in the way named by `mood`."""

    version: ClassVar[int] = 1
    mood: str = "raise"
    on_height: int = 9

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        labels = np.zeros(image.shape[:2], np.int64)
        if image.shape[0] != self.on_height:
            return labels
        if self.mood == "raise":
            raise RuntimeError("no mood for this")
        if self.mood == "die":
            os._exit(9)
        return {
            "shape": labels[1:], "float": labels * 1.0, "range": labels + 99, "none": None,
            "nan": np.full((len(vocabulary), 4, 4), np.nan), "classes": np.zeros((99, 4, 4)),
        }[self.mood]  # fmt: skip


@dataclass(frozen=True)
class LockedBackbone(ToyBackbone):
    """Its model cannot be had."""

    def open_models(self) -> None:
        COUNTS["openings"] += 1
        raise ModelError("The model 'locked' is not here: give a folder.")


@dataclass(frozen=True)
class LockedReader(ToyReader):
    """Reads a backbone whose model cannot be had."""

    def passes(self) -> Mapping[Pass, Parts]:
        return {ToyPass(Recipe.of("toy_world:LockedBackbone"), self.timestep): frozenset({self.part})}


@dataclass(frozen=True)
class Remarkable(Flat):
    """Has something to say of its model."""

    def open_models(self) -> Sequence[str]:
        COUNTS["openings"] += 1
        return ["The model 'remarkable' is read with numbers of our own."]


@dataclass(frozen=True)
class Unbuilt(Flat):
    """Cannot be built in a worker, whose process is another one than the planner's."""

    def __post_init__(self) -> None:
        COUNTS["buildings"] += 1
        if COUNTS["buildings"] > 1:
            raise RuntimeError("no licence")
