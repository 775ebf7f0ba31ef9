"""Methods that break the contract in one way each, on the toy world; what the gate for methods must tell apart."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from toy_world import ToyPass, ToyReader

from harness.contracts import Parts, Pass, Query, Recipe, Vocabulary


def by_position(image: Any, vocabulary: Vocabulary) -> Any:
    """Sound scores (classes, height, width): powers of the brightness."""
    bright = image.astype(np.float64).mean(axis=2) / 255.0
    return np.stack([bright ** (place + 1) for place in range(len(vocabulary))])


@dataclass(frozen=True)
class Sound:
    """What the others break."""

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return by_position(image, vocabulary)


@dataclass(frozen=True)
class Remembers:
    """Subtracts the mean of the first image it ever saw."""

    seen: list[float] = field(default_factory=list, init=False, compare=False)

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        if not self.seen:
            self.seen.append(float(image.mean()))
        return by_position(image, vocabulary) * self.seen[0]


@dataclass(frozen=True)
class Wavers:
    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return np.random.default_rng().random((len(vocabulary), 4, 4))


@dataclass(frozen=True)
class Scribbles:
    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        scores = by_position(image, vocabulary)
        image[0, 0] = 255 - image[0, 0]
        image[0, 0] = np.where(image[0, 0] == 255, 254, image[0, 0])
        return scores


@dataclass(frozen=True)
class Neighbourly(Sound):
    """Compares an image with the others of its batch."""

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return self.segment_batch([image], [vocabulary])[0]

    def segment_batch(self, images: Sequence[Any], vocabularies: Sequence[Vocabulary]) -> Sequence[Any]:
        beyond = [image.mean() / 255.0 for image in images]
        found = [by_position(*pair) for pair in zip(images, vocabularies, strict=True)]
        for scores, own in zip(found, beyond, strict=True):
            scores[0] += own - sum(beyond) / len(beyond)
        return found


@dataclass(frozen=True)
class TwoMinds(ToyReader):
    """Reads a batch otherwise than its images."""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return super().read(features, vocabulary)

    def read_batch(self, features: Mapping[Pass, Any], vocabularies: Mapping[int, Vocabulary]) -> Mapping[int, Any]:
        ((request, held),) = features.items()
        return {place: self.read({request: held[place]}, words)[::-1] for place, words in vocabularies.items()}


@dataclass(frozen=True)
class NoNumber:
    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return by_position(image, vocabulary) * np.nan


@dataclass(frozen=True)
class TurnedRound:
    """A label map (width, height)."""

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return np.zeros(image.shape[1::-1], np.int64)


@dataclass(frozen=True)
class NeedsTwo:
    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        first, second = vocabulary.words[:2]
        return by_position(image, vocabulary) + len(first) * len(second) * 0.0


@dataclass(frozen=True)
class Elsewhere:
    """Means something else in every process."""

    def fingerprint(self) -> str:
        return str(os.getpid())

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return by_position(image, vocabulary)


@dataclass(frozen=True)
class Peeks(ToyReader):
    """Reads a pass that only its neighbours declare."""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        (own,) = self.passes()
        return by_position(features[ToyPass(own.backbone, self.timestep + 1)], vocabulary)


@dataclass(frozen=True)
class Idles(ToyReader):
    """Declares a pass that it does not read."""

    def passes(self) -> Mapping[Pass, Parts]:
        (own,) = super().passes()
        return {ToyPass(own.backbone, t): frozenset({"all"}) for t in (self.timestep, self.timestep + 1)}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return by_position(features[next(iter(self.passes()))], vocabulary)


@dataclass(frozen=True)
class Stains(ToyReader):
    """Adds in place to what others read."""

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        (image,) = features.values()
        image += 1.0
        return by_position(image, vocabulary)


@dataclass(frozen=True)
class NetworkReader:
    """Brightness, from a small torch network; `habit` says what its backbone does wrong."""

    habit: str = ""

    def passes(self) -> Mapping[Pass, Parts]:
        return {ToyPass(Recipe.of("broken_methods:Network", habit=self.habit), 1): frozenset({"all"})}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        (image,) = features.values()
        return by_position(image, vocabulary)


@dataclass(frozen=True)
class Network:
    """Three colours through a linear layer. habits: hook, forward, mixes (batch statistics), twice (a pass), and
    company and first (of the passes that it is asked for)."""

    habit: str = ""

    @cached_property
    def opened(self) -> Any:
        from torch import nn

        layer = nn.Linear(3, 3, bias=False)
        nn.init.eye_(layer.weight)
        return nn.Sequential(layer, nn.Identity()).requires_grad_(False)

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        import torch

        if self.habit == "hook":
            self.opened[0].register_forward_hook(lambda module, inputs, output: output)
        if self.habit == "forward":
            self.opened[1].forward = lambda states: states
        left = [self.opened(torch.from_numpy(query.image).float()).numpy() for query in queries]
        if self.habit == "mixes":
            level = sum(float(image.mean()) for image in left) / len(left)
            left = [np.where(image > level, image, 0.0) + level for image in left]
        first = vars(self).setdefault("first", next(iter(requests)).timestep)  # type: ignore[attr-defined]
        if (self.habit == "company" and len(requests) > 1) or (self.habit == "first" and first != 1):
            left = [255 - image for image in left]
        for request in requests:
            yield request, left
            if self.habit == "twice":
                yield request, left
