"""A benchmark, a backbone and a method without any content, by address: what planning and driving are measured with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contracts import Parts, Pass, Query, Recipe, Sample, Vocabulary


@dataclass(frozen=True)
class EmptyImages:
    """So many images of one size with so many classes. root: a folder with a file for each, or none at all."""

    version: ClassVar[int] = 1
    images: int = 16
    number_of_classes: int = 20
    name: str = "stand_in"
    root: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple([f"class {number}" for number in range(1, self.number_of_classes + 1)])

    def ids(self) -> Sequence[str]:
        return [f"{self.name}_{number:08d}" for number in range(self.images)]

    def files(self, image_id: str) -> Sequence[Path]:
        return [Path(self.root) / image_id] if self.root else []

    def load(self, image_id: str) -> Sample:
        truth = np.full((3, 5), 1 + int(image_id[-8:]) % self.number_of_classes, np.uint8)
        return Sample(image_id, np.zeros((3, 5, 3), np.uint8), truth)


@dataclass(frozen=True)
class OnePass:
    """A pass at a timestep."""

    backbone: Recipe
    timestep: int
    encodes_words: ClassVar[bool] = True

    @property
    def encoding(self) -> str:
        return "one"


@dataclass(frozen=True)
class EmptyNetwork:
    """Leaves nothing of an image."""

    version: ClassVar[int] = 1
    name: str = "unet"

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        for request in requests:
            yield request, [None] * len(queries)


@dataclass(frozen=True)
class EmptyReader:
    """Scores that tell nothing. variant: one of as many methods as there have to be."""

    version: ClassVar[int] = 1
    variant: int = 0
    timestep: int = 1
    network: str = "unet"

    def passes(self) -> Mapping[Pass, Parts]:
        network = Recipe.of("perf.stand_ins:EmptyNetwork", name=self.network)
        return {OnePass(network, self.timestep): frozenset({"maps"})}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return np.zeros((len(vocabulary), 1, 1), np.float32)
