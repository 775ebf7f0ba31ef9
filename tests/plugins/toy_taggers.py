"""Taggers and methods that see colours, for the toy world; each counts what it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from toy_world import Boxes, ToyReader

from harness.contracts import Image, ModelError, Vocabulary

ASKED: Counter[str] = Counter()


@dataclass(frozen=True)
class Colours:
    """Tags every class whose colour covers at least a share of the image; misbehaves as `mood` says."""

    version: ClassVar[int] = 1
    share: float = 0.0
    mood: str = ""

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]:
        ASKED["calls"] += 1
        ASKED[" ".join(vocabulary.words)] += 1
        if self.mood == "raise":
            raise RuntimeError("tags nothing")
        if self.mood:
            return {"range": [3], "word": ["red"], "none": []}[self.mood]  # type: ignore[return-value]
        seen = [(image[..., place] > 0).mean() for place in range(3)]
        return [place for place in (2, 1, 0) if seen[place] > self.share]


@dataclass(frozen=True)
class Unfound:
    """A tagger whose weights are missing."""

    version: ClassVar[int] = 1

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]:
        return [0]

    def fingerprint(self) -> str:
        raise ModelError("there are no weights here")


@dataclass(frozen=True)
class Unready(Unfound):
    """A method whose weights are missing."""

    version: ClassVar[int] = 1

    def segment(self, image: Image, vocabulary: Vocabulary) -> Any:
        return np.zeros(image.shape[:2], np.int16)


@dataclass(frozen=True)
class Labels:
    """A label map of any view: the class whose colour a pixel has, or none."""

    version: ClassVar[int] = 1

    def segment(self, image: Image, vocabulary: Vocabulary) -> Any:
        ASKED[f"{image.shape[0]}x{image.shape[1]}"] += 1
        found = np.full(image.shape[:2], -1)
        for position, word in enumerate(vocabulary.words):
            found[image[..., Boxes().classes.index(word)] > 127] = position
        return found


@dataclass(frozen=True)
class Worded(ToyReader):
    """Reads colours by position: what the words are does not matter."""

    version: ClassVar[int] = 1

    def read(self, features: Mapping[Any, Any], vocabulary: Vocabulary) -> Any:
        (image,) = features.values()
        return np.stack([image[..., place % 3] for place in range(len(vocabulary))])
