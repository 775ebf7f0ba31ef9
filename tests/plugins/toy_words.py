"""A network whose passes encode the words that are offered, one whose passes see the image alone, and their reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from toy_world import Boxes

from harness.contracts import Parts, Pass, Query, Recipe, Sample, Vocabulary

SHOWN: list[tuple[str, str, Vocabulary]] = []  # kind of pass, image, what was offered: fillers left out


@dataclass(frozen=True)
class Few(Boxes):
    """Images of which every third lacks the last class."""

    def load(self, image_id: str) -> Sample:
        whole = super().load(image_id)
        lacks = int(image_id) % 3 == 0
        return replace(whole, truth=np.where((whole.truth == 3) & lacks, np.uint8(0), whole.truth))


@dataclass(frozen=True)
class WordPass:
    backbone: Recipe
    encoding: str = "one"


@dataclass(frozen=True)
class ImagePass(WordPass):
    encodes_words: ClassVar[bool] = False


@dataclass(frozen=True)
class Both:
    """Leaves the image with the vocabulary that it was shown with."""

    version: ClassVar[int] = 1
    fails_on: str = ""

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        for request in requests:
            seen = [query for query in queries if query.image_id]
            if self.fails_on in [query.image_id for query in seen]:
                raise RuntimeError(f"cannot see {self.fails_on}")
            SHOWN.extend((type(request).__name__, query.image_id, query.vocabulary) for query in seen)
            yield request, [(query.image, query.vocabulary) for query in queries]


@dataclass(frozen=True)
class Careful:
    """Colour channels as scores; raises where a pass was shown with other words than it is asked about."""

    version: ClassVar[int] = 1
    words: bool = True
    image: bool = False
    fails_on: str = ""

    def passes(self) -> Mapping[Pass, Parts]:
        recipe = Recipe.of("toy_words:Both", fails_on=self.fails_on)
        kinds = [WordPass] * self.words + [ImagePass] * self.image
        return {kind(recipe): frozenset() for kind in kinds}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        for request, (_, shown) in features.items():
            assert shown == (vocabulary if type(request) is WordPass else Vocabulary(()))
        (image, _), *_ = features.values()
        colours = {word: number for number, word in enumerate(Boxes().classes)}
        return np.stack([image[..., colours.get(word, 0)].astype(np.float32) / 255 for word in vocabulary.words])
