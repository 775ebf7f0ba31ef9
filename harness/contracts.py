"""The nouns that flow through the house and the protocols that plug-ins fulfil; nothing heavier than numpy comes in.

A plug-in (method, backbone, benchmark) is a class reached by its address `module:Class`. Its settings are its
dataclass fields. It needs no base class and no registration: it fulfils one of the protocols below.

Three optional attributes let a plug-in say what its results depend on besides its settings:

- `version`: a class attribute (int or str), raised by the author when any pixel can change. Without it the text of
  the module's source file stands for it, so that an edited plug-in never meets results of its former self.
- `places`: a class attribute, the names of settings that only say where files lie. They are in no id.
- `fingerprint()`: a method that returns a short string that stands for the content of files it reads (weights,
  manifests). It runs while planning, so it must not import torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, MethodError, ModelError

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "NO_CLASS",
    "Backbone",
    "Batch",
    "BatchDone",
    "Benchmark",
    "DataError",
    "Features",
    "Image",
    "LabelMap",
    "Method",
    "MethodError",
    "ModelError",
    "Parts",
    "Pass",
    "Picture",
    "ProtocolSettings",
    "Query",
    "Reader",
    "Recipe",
    "Row",
    "Run",
    "Sample",
    "Scores",
    "Shard",
    "Truth",
    "Vocabulary",
]

BACKGROUND = 0  # in a truth: no class of the benchmark
IGNORED = 255  # in a truth: not scored; in stored overlaps, as a prediction: no class was given
NO_CLASS = -1  # in a label map: the method gives no class to this pixel

Image: TypeAlias = NDArray[np.uint8]  # (height, width, 3), RGB
Truth: TypeAlias = NDArray[np.uint8]  # (height, width); 0 background, k = classes[k - 1], 255 ignored
LabelMap: TypeAlias = NDArray[np.integer[Any]]  # (height, width) of the image; positions in the vocabulary, or NO_CLASS
Scores: TypeAlias = Any  # (positions, rows, columns) float array or torch tensor, any resolution and device
Features: TypeAlias = Any  # what a pass leaves for one image; a backbone documents its verbs
Parts: TypeAlias = frozenset[str]  # which parts of a pass are read; a backbone documents their names


def freeze(value: Any) -> Any:
    """Lists and tuples become tuples, all the way down, so that settings can be hashed; other values pass."""
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


@dataclass(frozen=True)
class Recipe:
    """An address `module:Class` with settings; travels between processes in place of the object it describes."""

    use: str
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, use: str, /, **settings: Any) -> Recipe:
        """The recipe with its settings frozen and sorted by name."""
        return cls(use, tuple(sorted((name, freeze(value)) for name, value in settings.items())))

    def as_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return dict(self.settings)


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark with its truth; both have the same height and width."""

    image_id: str
    image: Image
    truth: Truth


@dataclass(frozen=True)
class Vocabulary:
    """The classes offered to a method for one image. Positions in `names` are what label maps and scores refer to.

    names: per position one or more words for the class, the first one the usual name.
    others: the benchmark's classes that are not offered, in order (controls use them as wrong prompts).
    templates: sentences with one `{}` into which a name is put.
    background: the position of the background, when the protocol offers it as a class like any other.
    """

    names: tuple[tuple[str, ...], ...]
    others: tuple[tuple[str, ...], ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}",)
    background: int | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def words(self) -> tuple[str, ...]:
        """The usual name of every position."""
        return tuple(synonyms[0] for synonyms in self.names)


@dataclass(frozen=True)
class Query:
    """What a backbone is given of one image: no truth. A filler (empty id) only keeps a batch's shape."""

    image_id: str
    image: Image
    vocabulary: Vocabulary


@runtime_checkable
class Benchmark(Protocol):
    """A data set: classes in order, image ids, and a sample for each id (DataError when a file is not as promised)."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def ids(self) -> Sequence[str]: ...

    def load(self, image_id: str) -> Sample: ...


@runtime_checkable
class Method(Protocol):
    """A method that needs no shared backbone: a label map (2 axes) or scores (3 axes) from one image."""

    def segment(self, image: Image, vocabulary: Vocabulary) -> LabelMap | Scores: ...


class Pass(Protocol):
    """What is asked of a backbone for one image. A frozen dataclass: equal passes of one image are computed once.

    backbone: the network that serves it. encoding: passes of one backbone and image with equal encodings share the
    encoded image (the VAE latent, say).
    """

    @property
    def backbone(self) -> Recipe: ...

    @property
    def encoding(self) -> Hashable: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Reader(Protocol):
    """A method that reads what backbones' passes leave.

    passes: the passes it needs, each with the parts of it that it reads; requests for one pass are joined over all
    readers. read: scores of one image from the features of those passes.
    """

    def passes(self) -> Mapping[Pass, Parts]: ...

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Scores: ...


@runtime_checkable
class Backbone(Protocol):
    """Holds a network and serves passes for a batch of images.

    run yields every requested pass once, with one Features per query, in the order of the queries. What goes through
    the network together is the queries of one pass, always all of them, so that no float depends on other passes.
    """

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[Features]]]: ...


@dataclass(frozen=True)
class ProtocolSettings:
    """How scores become label maps, for all methods alike; every field is part of a run's id.

    vocabulary: `all` names of the benchmark are offered, or those `present` in the image's truth.
    background: `ignored` (truth 0 is not scored) or `constant` (a pixel whose best score, scaled to 0..1 per class
    over the image, is below `threshold` is background, and background is scored).
    """

    vocabulary: str = "present"
    background: str = "ignored"
    threshold: float = 0.5
    templates: tuple[str, ...] = ("a photo of a {}",)


@dataclass(frozen=True)
class Run:
    """One method recipe on one benchmark under one protocol; `run_id` is a hash of all that can change a pixel."""

    run_id: str
    method_name: str
    variant: str
    method: Recipe
    benchmark_name: str
    benchmark: Recipe
    protocol: ProtocolSettings


@dataclass(frozen=True)
class Batch:
    """A fixed slice of a benchmark's sorted image ids. Its shape never changes: a slot that is None holds a filler."""

    index: int
    slots: tuple[str | None, ...]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that are wanted, without the fillers."""
        return tuple(slot for slot in self.slots if slot is not None)


@dataclass(frozen=True)
class Shard:
    """Some batches of some runs that share a benchmark and a protocol: small enough to be lost and done again.

    keep: images whose label maps are wanted as pictures, besides their counts.
    """

    shard_id: str
    runs: tuple[Run, ...]
    batches: tuple[Batch, ...]
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Row:
    """One image of one run. Overlaps are parallel integer arrays: true class, predicted class, pixels (all > 0).

    Classes are numbered as in a truth: 0 background, k = classes[k - 1]; predicted 255 = no class was given. Pixels
    that are not scored under the run's protocol are not counted. label_map: the predicted map as an 8-bit PNG, where it
    was asked for.
    """

    run_id: str
    image_id: str
    status: str  # "ok" or "failed"
    seconds: float  # own reading, plus an equal share of the passes it read
    error: str | None = None
    true: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    predicted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    label_map: bytes | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A kept image for people to look at: JPEG bytes, and its truth as an 8-bit PNG."""

    image_id: str
    image: bytes
    truth: bytes


@dataclass(frozen=True, eq=False)
class BatchDone:
    """What a worker says when one batch of a shard is done: its rows, what they cost, and pictures of kept images."""

    shard_id: str
    index: int
    rows: tuple[Row, ...]
    encodings: int = 0  # images encoded
    passes: int = 0  # images times passes
    seconds: float = 0.0
    pictures: tuple[Picture, ...] = ()
