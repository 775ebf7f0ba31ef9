"""Readers of the toy world that are asked for a whole batch at once, well and badly behaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from toy_world import COUNTS, ToyReader

from harness.contracts import Pass, Vocabulary


@dataclass(frozen=True)
class AtOnce(ToyReader):
    """As ToyReader. moods: `one` fails on image 005's place alone, `all` whenever it is asked about more than one
    image, `scribbles` writes into what it reads."""

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
            answers[place] = super().read({request: held[place]}, vocabulary)
        return answers


class Inherits(AtOnce):
    """Has a `read` of its own, which nobody may pass by."""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        COUNTS["read by its own"] += 1
        return np.flip(super().read(features, vocabulary), 0)
