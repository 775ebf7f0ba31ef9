"""Methods whose answer says of which kind a number is: 1, 1.0 and True are equal, and not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from harness.contracts import LabelMap, Parts, Pass, Query, Recipe, Vocabulary

NUMBERS: dict[str, Any] = {"whole": 1, "truth": True, "real": 1.0}
_KINDS = {int: 0, bool: 1, float: 2}


def kind_of(number: Any) -> int:
    """0, 1 or 2; of -0.0 as of a truth."""
    return 1 if str(number) == "-0.0" else _KINDS[type(number)]


@dataclass(frozen=True)
class Kind:
    """Gives all pixels the class that stands for the kind of its setting."""

    version: ClassVar[int] = 1
    x: Any = 0

    def segment(self, image: Any, vocabulary: Vocabulary) -> LabelMap:
        return np.full(image.shape[:2], kind_of(self.x), np.int16)


@dataclass(frozen=True)
class Alike:
    """A pass with a number."""

    backbone: Recipe
    x: Any = 0
    encoding: ClassVar[str] = "one"


@dataclass(frozen=True)
class Blind(Alike):
    """A pass whose comparisons leave a field out."""

    prompt: int = field(default=0, compare=False)


class Own:
    """A pass that compares as it likes, and holds all for equal."""

    encoding = "one"

    def __init__(self, backbone: Recipe, x: Any) -> None:
        self.backbone, self.x = backbone, x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 1


@dataclass(frozen=True)
class Network:
    """Leaves the kind of its own setting (below 3) and of the pass's."""

    version: ClassVar[int] = 1
    x: Any = 0

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        for request in requests:
            yield request, [np.array([kind_of(self.x), kind_of(request.x)]) for _ in queries]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Reads:
    """Answers with the kind that its pass, or the network that it names, was given."""

    version: ClassVar[int] = 1
    number: str = "whole"
    of: str = "pass"

    def passes(self) -> Mapping[Any, Parts]:
        own, backbone = NUMBERS[self.number], Recipe.of("alike:Network")
        request = {
            "pass": lambda: Alike(backbone, own),
            "network": lambda: Alike(Recipe.of("alike:Network", x=own), "one" == ""),
            "own": lambda: Own(backbone, own),
            "blind": lambda: Blind(backbone, own, 1),
        }[self.of]()
        return {request: frozenset({"all"})}

    def read(self, features: Mapping[Any, Any], vocabulary: Vocabulary) -> Any:
        (found,) = features.values()
        scores = np.zeros((3, 8, 12), np.float32)
        scores[found[0 if self.of == "network" else 1]] = 1
        return scores
