"""Methods and readers that change what they are lent, each in the way that its setting says; and their backbone."""

from __future__ import annotations

import ctypes
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from toy_world import Boxes, ToyBackbone, ToyPass, ToyReader

from harness.contracts import Features, Parts, Pass, Query, Recipe, Vocabulary


class Tensors:
    """What a backbone may leave: tensors in an attribute, and one in a closure behind a slot."""

    __slots__ = ("held", "planes", "told")

    def __init__(self, planes: torch.Tensor, held: Any) -> None:
        self.planes, self.held = {"deep": [({"deeper": planes},)]}, held
        self.told = lambda: planes


class OtherTensors(Tensors):
    __slots__ = ()


@dataclass(frozen=True)
class TensorBackbone:
    """A layer over the pixels; leaves what it gives, for all images in one tensor."""

    version: ClassVar[int] = 1

    @cached_property
    def network(self) -> torch.nn.Module:
        layer = torch.nn.Linear(3, 3, bias=False, device="cpu", dtype=torch.float32).requires_grad_(False)
        layer.weight.copy_(torch.tensor([[1.0, 0.2, 0.1], [0.1, 1.0, 0.2], [0.2, 0.1, 1.0]]))
        layer.bank = {"colours": layer.weight * 2}
        return torch.nn.Sequential(layer, torch.nn.Dropout(0.5)).eval()

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        for request in requests:
            pixels = [torch.from_numpy(np.resize(one.image, (8, 12, 3))).float() for one in queries]
            left = self.network(torch.stack(pixels))
            yield request, [Tensors(one, self.network) for one in left]


@dataclass(frozen=True)
class TensorReader:
    """Planes of what the backbone left, and its layer once more; `spoils` says what it does besides."""

    version: ClassVar[int] = 1
    spoils: str = "nothing"

    def passes(self) -> Mapping[Pass, Parts]:
        return {ToyPass(Recipe.of("careless_readers:TensorBackbone"), 1): frozenset({"all"})}

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Any:
        (left,) = features.values()
        planes = left.held(left.told()).permute(2, 0, 1).clone()
        SPOILS[self.spoils](left, features)
        return planes[[Boxes().classes.index(word) for word in vocabulary.words]]


def anything(kind: type) -> list[Any]:
    return [one for one in gc.get_objects() if isinstance(one, kind)]


def through_memory(tensor: Any) -> None:
    ctypes.memset(tensor.data_ptr(), 1, tensor.numel() * tensor.element_size())


def others_too(left: Any, features: Any) -> None:
    """Past what it was lent: the planes of all images of the batch lie in one piece of memory."""
    own = left.told().clone()
    torch.empty(0, dtype=torch.float32, device="cpu").set_(left.told().untyped_storage()).zero_()
    left.told().data.copy_(own)


SPOILS: dict[str, Callable[[Any, Any], Any]] = {
    "data": lambda left, features: left.told().data.mul_(-1),
    "swap": lambda left, features: left.told().data.copy_(left.told().flip(0)),
    "numpy": lambda left, features: left.told().numpy().fill(0),
    "memory": lambda left, features: through_memory(left.told()),
    "other images": others_too,
    "passes": lambda left, features: object.__setattr__(next(iter(features)), "timestep", 999),
    "weights": lambda left, features: [one.data.mul_(0.9) for one in left.held.parameters()],
    "all weights": lambda left, features: [
        one.data.mul_(0.9) for held in anything(torch.nn.Module) for one in held.parameters(recurse=False)
    ],
    "hook": lambda left, features: left.held[0].register_forward_hook(lambda *given: given[-1] * 0),
    "training": lambda left, features: left.held.train(),
    "forward": lambda left, features: setattr(left.held[0], "forward", lambda given: given * 0),
    "parameter": lambda left, features: setattr(left.held[0], "weight", torch.nn.Parameter(left.held[0].weight * 2)),
    "number": lambda left, features: setattr(left.held[1], "p", 0.9),
    "bank": lambda left, features: left.held[0].bank.update(colours=torch.zeros(3, 3)),
    "other object": lambda left, features: setattr(left, "told", lambda: torch.zeros(8, 12, 3)),
    "other entry": lambda left, features: left.planes.update(deep=[]),
    "class": lambda left, features: setattr(left, "__class__", OtherTensors),
    "nothing": lambda left, features: None,
}
KEPT: list[torch.Tensor] = []


@dataclass(frozen=True)
class Keeper:
    """Writes to the image of the call before."""

    version: ClassVar[int] = 1

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        for kept in KEPT:
            kept.fill_(0)
        KEPT[:] = [torch.from_numpy(image)]
        return np.zeros(image.shape[:2], np.int16)


@dataclass(frozen=True)
class Mirrors:
    """Turns the image over where it lies: two of them leave it as it was."""

    version: ClassVar[int] = 1
    which: int = 0

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        held = torch.from_numpy(image)
        held.copy_(held.flip(0, 1))
        return np.zeros(image.shape[:2], np.int16)


@dataclass(frozen=True)
class Renames:
    """Changes the names that it is offered."""

    version: ClassVar[int] = 1

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        object.__setattr__(vocabulary, "names", tuple(("sky",) for _ in vocabulary.names))
        return np.zeros(image.shape[:2], np.int16)


@dataclass(frozen=True)
class ByName:
    """A position that its name decides."""

    version: ClassVar[int] = 1

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        return np.full(image.shape[:2], int(np.argmax([len(word) for word in vocabulary.words])), np.int16)


@dataclass(frozen=True)
class Scribbler(ToyReader):
    """Writes into the features that others read after it."""

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Any:
        (left,) = features.values()
        if self.part == "unlock":
            left.flags.writeable = True
            left[:] = 0
        else:
            left *= 0
        return np.zeros((len(vocabulary), 4, 6))


HELD: list[torch.Tensor] = []  # images that a network was shown last, for whoever gets at them
TURNED: Counter[int] = Counter()  # images of those, by the pass that was read meanwhile


@dataclass(frozen=True)
class Leaking(ToyBackbone):
    """Its images can be had by others, while it is about to leave its next pass."""

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        HELD[:] = [torch.from_numpy(one.image) for one in queries]
        TURNED.clear()
        yield from super().run(queries, requests)


@dataclass(frozen=True)
class Sees(ToyReader):
    """Reads what that network left."""

    def passes(self) -> Mapping[Pass, Parts]:
        return {ToyPass(Recipe.of("careless_readers:Leaking"), self.timestep): frozenset({self.part})}


@dataclass(frozen=True)
class Turns(Sees):
    """Turns one image after the other over where it lies: those of two passes leave all as they were."""

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Any:
        held = HELD[TURNED[self.timestep]]
        TURNED[self.timestep] += 1
        held.copy_(held.flip(0, 1))
        return super().read(features, vocabulary)
