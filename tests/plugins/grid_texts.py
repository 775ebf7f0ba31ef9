"""Texts of grids, sound ones and frames for unsound ones, and of plug-ins that lie beside them."""

PLUGINS = """\
from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from harness.contracts import Recipe

A_CONSTANT = 3


@dataclass(frozen=True)
class Guess:
    model: str = "small"
    timestep: int = 100
    refine: str = "none"
    power: float = 1.0
    layers: tuple[int, ...] = (0, 1)
    form: Literal["value", "full"] = "value"

    def __post_init__(self):
        if self.refine not in ("none", "sar", "samap"):
            raise ValueError(f"refine is none, sar or samap, not {self.refine!r}")
        if not 0 <= self.timestep < 1000:
            raise ValueError(f"timestep runs from 0 to 999, not {self.timestep}")

    def segment(self, image, vocabulary):
        return np.zeros(image.shape[:2], np.int64)


@dataclass(frozen=True)
class Whole:
    layers: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    size: int | tuple[int, int] | None = None
    shares: Mapping[int, float] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] | None = None

    def segment(self, image, vocabulary):
        return np.zeros(image.shape[:2], np.int64)


@dataclass(frozen=True)
class Other:
    seed: int
    flag: bool = False

    def segment(self, image, vocabulary):
        return np.full(image.shape[:2], self.seed, np.int64)


@dataclass(frozen=True)
class Settles:
    refine: str = "none"
    power: int = 1

    def __post_init__(self):
        if self.refine == "none":
            object.__setattr__(self, "power", 0)
        if self.power > 9:
            raise ValueError("two\\nlines")

    def segment(self, image, vocabulary):
        return np.zeros(image.shape[:2], np.int64)


@dataclass(frozen=True)
class Net:
    model: str

    def __post_init__(self):
        if self.model != "small":
            raise ValueError(f"there is no network {self.model!r}")


@dataclass(frozen=True)
class NetPass:
    backbone: Recipe
    encoding: int = 0


@dataclass(frozen=True)
class Reads:
    model: str = "small"

    def passes(self):
        return {NetPass(Recipe.of("grid_plugins:Net", model=self.model)): frozenset()}

    def read(self, features, vocabulary):
        return np.zeros((len(vocabulary), 2, 3))


@dataclass(frozen=True)
class World:
    split: str = "val"
    images: int = 4
    classes: tuple[str, ...] = ("disc", "bar")

    def ids(self):
        return [f"{self.split}-{index}" for index in range(self.images)]

    def load(self, image_id):
        raise NotImplementedError


class Unclassed:
    def ids(self):
        return []

    def load(self, image_id):
        raise NotImplementedError
"""

HEAD = "name: g\nmethods:\n"  # two lines
WORLD = "benchmarks:\n  - {name: World, use: 'grid_plugins:World'}\n"  # two lines
GUESS = "  - {name: Guess, use: 'grid_plugins:Guess'}\n"  # one line


def method(*lines: str) -> str:
    """A grid whose only method has these lines after its address: the first of them is line 5."""
    item = "  - name: Guess\n    use: grid_plugins:Guess\n"
    return HEAD + item + "".join(f"    {line}\n" for line in lines) + WORLD


def tail(*lines: str) -> str:
    """A sound grid with these lines after it: the first of them is line 7; Guess has timesteps 1 and 100."""
    item = "  - {name: Guess, use: 'grid_plugins:Guess', with: {timestep: [1, 100], power: 2}}\n"
    other = "  - {name: Other, use: 'grid_plugins:Other', with: {seed: 1}}\n"
    return HEAD + item + other + WORLD + "".join(f"{line}\n" for line in lines)


QUICKSTART = """
name: quickstart
methods:
  - name: Guess
    use: grid_plugins:Guess
    with: {model: shapes, timestep: [1, 100, 300], refine: [none, sar, samap]}
  - name: Reads
    use: grid_plugins:Reads
benchmarks:
  - name: World
    use: grid_plugins:World
    with: {split: val, images: 200}
protocol: {vocabulary: present, background: ignored}
cluster: {workers: auto}
"""
