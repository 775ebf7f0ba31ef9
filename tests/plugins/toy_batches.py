"""Readers and methods of the toy world that are asked for a whole batch at once, well and badly behaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from toy_world import COUNTS, Boxes, ToyReader

from harness.contracts import Image, Pass, Vocabulary


@dataclass(frozen=True)
class AtOnce(ToyReader):
    """As ToyReader. moods: `one` fails on image 005's place alone, `all` whenever it is asked about more than one
    image, `large` needs more memory than there is for images of ten rows, `scribbles` writes into what it reads, `list`
    answers one after the other, `lacks` leaves a place out."""

    mood: str = ""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        COUNTS["read alone"] += 1
        return super().read(features, vocabulary)

    def read_batch(
        self, features: Mapping[Pass, Sequence[Any]], vocabularies: Mapping[int, Vocabulary]
    ) -> Mapping[int, Any]:
        COUNTS[f"read {len(vocabularies)} at once"] += 1
        ((request, held),) = features.items()
        if self.mood == "scribbles":
            held[0][:] = 0
        answers = {}
        for place, vocabulary in vocabularies.items():
            if (self.mood == "all" and len(vocabularies) > 1) or (self.mood == "one" and held[place].shape[0] == 10):
                raise RuntimeError("too many")
            if self.mood == "large" and held[place].shape[0] == 10:
                raise MemoryError
            answers[place] = super().read({request: held[place]}, vocabulary)
        if self.mood == "lacks":
            del answers[place]
        return list(answers.values()) if self.mood == "list" else answers  # type: ignore[return-value]


class Inherits(AtOnce):
    """Has a `read` of its own, which nobody may pass by."""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        COUNTS["read by its own"] += 1
        return np.flip(super().read(features, vocabulary), 0)


@dataclass(frozen=True)
class Apart:
    """Colour channels of the offered classes as scores, of an image alone."""

    def segment(self, image: Image, vocabulary: Vocabulary) -> Any:
        COUNTS["segmented alone"] += 1
        return np.stack([image[..., Boxes().classes.index(word)].astype(np.float32) for word in vocabulary.words])


@dataclass(frozen=True)
class Together(Apart):
    """The same of a whole batch. moods: `one` fails where an image of ten rows is, `all` where there are several,
    `short` forgets the last image, `dict` tells answers apart by number, `none` gives nothing, `scribbles` writes into
    the first, `large` needs more memory than there is."""

    mood: str = ""

    def segment(self, image: Image, vocabulary: Vocabulary) -> Any:
        return super().segment(image, vocabulary)

    def segment_batch(self, images: Sequence[Image], vocabularies: Sequence[Vocabulary]) -> Sequence[Any]:
        shown = [image for image in images if image.shape != (64, 64, 3)]
        COUNTS[f"{len(shown)} of {len(images)} at once"] += 1
        if (self.mood == "all" and len(shown) > 1) or (self.mood == "one" and any(len(one) == 10 for one in shown)):
            raise RuntimeError("too many")
        if self.mood == "large":
            raise MemoryError
        if self.mood == "scribbles":
            images[0].setflags(write=True)
            images[0][:] = 0
        answers = [super(Together, self).segment(*pair) for pair in zip(images, vocabularies, strict=True)]
        COUNTS["segmented alone"] -= len(images)
        wrong: dict[str, Any] = {"short": answers[:-1], "dict": dict(enumerate(answers)), "none": None}
        return wrong.get(self.mood, answers)
