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
from pathlib import Path
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
    "LabelRule",
    "Learner",
    "Lessons",
    "Method",
    "MethodError",
    "ModelError",
    "NameFile",
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
    "Tagger",
    "Truth",
    "Vocabulary",
    "Words",
]

BACKGROUND = 0  # in a truth: no class of the benchmark
IGNORED = 255  # in a truth: not scored; in stored overlaps, as a prediction: no class was given
NO_CLASS = -1  # in a label map: the method gives no class to this pixel

Image: TypeAlias = NDArray[np.uint8]  # (height, width, 3), RGB
Truth: TypeAlias = NDArray[np.uint8]  # (height, width); 0 background, k = classes[k - 1], 255 ignored
LabelMap: TypeAlias = NDArray[np.integer[Any]]  # (height, width) of the image; positions in the vocabulary, or NO_CLASS
Scores: TypeAlias = Any  # (positions, rows, columns) float array or torch tensor, any resolution and device
Features: TypeAlias = Any  # what a pass leaves for one image; a backbone documents its verbs
Words: TypeAlias = tuple[tuple[str, ...], ...]  # per class, in order, one or more words; the first is the usual name
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
    """What a backbone is given of one image: no truth. A filler (empty id) only keeps a batch's shape.

    A window of an image is a query of its own, whose id is `image@top,left`.
    """

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


@runtime_checkable
class Tagger(Protocol):
    """Says which classes an image holds, where the protocol's vocabulary is `predicted`. It sees the whole image.

    tags: positions in the vocabulary (all classes of the benchmark), each once, in any order. How many, and whether
    there is always one, is the tagger's to decide; with none, nothing is offered and no pixel gets a class.
    """

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]: ...


@dataclass(frozen=True)
class NameFile:
    """A user's own names: the file as the grid writes it, and what it says.

    words: an entry a class, in the benchmark's order; where the file maps classes to words, `classes` says of which.
    """

    file: str
    words: Words
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProtocolSettings:
    """How an image is shown and how scores become label maps, for all methods alike.

    Every field that has an effect under the rules chosen is part of a run's id (see harness.protocol_rules); with
    m = a pixel's best scaled score:

    vocabulary: `all` names of the benchmark are offered, those `present` in the image's truth, or those `predicted`
    by the `tagger`.
    background: `ignored` (truth 0 is not scored), or scored as: `class` (offered as one more position, whose words are
    `background_names`); `constant` (where m < threshold); `power` (where (1 - m)^power > m, 1 - m not below 0);
    `hinge_power` (where (2 threshold - m)^2 > m); `prompts` (every word of `context` is one more position);
    `prompts_constant` (both: words of `context`, and where m < threshold).
    scale: how scores become comparable with a background's: `minmax` of each class over the image, `softmax` over the
    positions of logit_scale times the scores, or `none`.
    resize: `none`; `short` side brought to `size` pixels; `stretch` to `size` (height, width).
    window, stride: square windows of so many pixels, cut from the resized image (0: whole).
    names: `own` (the benchmark's class names), a name set it has published, or a file's content.
    """

    vocabulary: str = "present"
    background: str = "ignored"
    threshold: float = 0.5
    templates: tuple[str, ...] = ("a photo of a {}",)
    names: str | NameFile = "own"
    tagger: Recipe | None = None
    power: float = 2.0
    background_names: tuple[str, ...] = ("background",)
    context: tuple[str, ...] = ()
    scale: str = "minmax"
    logit_scale: float = 100.0
    resize: str = "none"
    size: int | tuple[int, int] = 0
    window: int = 0
    stride: int = 0


@dataclass(frozen=True)
class LabelRule:
    """When a teacher's answer is sure enough to be taught; it stands in place of the protocol's background rule.

    m: a pixel's best score, scaled to 0..1 per class over the image (`minmax`) or taken as it is (`none`). Where
    m < low the pixel is left out (255) or, with below = `background`, background (0); from low to below high it is left
    out. Of the rest of an image the share `unsure` with the least distance from best to second best is left out.
    """

    low: float = 0.0
    high: float = 0.0
    scale: str = "minmax"
    below: str = "ignored"
    unsure: float = 0.0

    def __post_init__(self) -> None:
        if self.scale not in ("minmax", "none") or self.below not in ("ignored", "background"):
            raise MethodError(
                f"A label rule has scale 'minmax' or 'none' and below 'ignored' or 'background', not {self.scale!r} "
                f"and {self.below!r}."
            )
        if not 0.0 <= self.unsure < 1.0:
            raise MethodError(f"A label rule leaves out a share of 0 to below 1 as unsure, not {self.unsure}.")

    @property
    def plain(self) -> bool:
        """Whether every pixel is taught as the teacher says."""
        return max(self.low, self.high) <= 0.0 and not self.unsure


class Lessons(Protocol):
    """What a learner is taught: images of a train split and a teacher's label maps. No truth is in reach.

    image_ids: in order. vocabulary: all classes of the benchmark; under a vocabulary of present classes the teacher was
    told which of them an image holds. background: whether 0 in a mask is a class to be learned.
    """

    @property
    def image_ids(self) -> Sequence[str]: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def background(self) -> bool: ...

    def image(self, image_id: str) -> Image: ...

    def mask(self, image_id: str) -> Truth:
        """(height, width) in the numbering of truths; 255: the teacher is not sure."""
        ...

    def ask(self, image_id: str, image: Image) -> Truth:
        """The teacher's mask of a changed version of the image, with the classes that were offered for the image."""
        ...

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        """What the learner's own `gather` left of the image."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A method that must be fitted first; the grid names its teacher, a method of the same grid.

    rule: how the teacher's answers become masks. fit: writes the artefact into `folder` and tells what its card should
    hold (JSON values: losses, device). What it needs to go on after a crash lies in `folder/unfinished`, which is
    thrown away at the end. It may be called by several processes at once, joined by torch.distributed, if it has a
    property `workers` that says how many can share the work; then only rank 0 writes. fitted: the Method or Reader that
    an artefact is. The setting `teacher` is in no id: the teacher's label maps are.

    A learner that reads backbones has `passes`, as a Reader, which its fitted form reads too; and if its fit does,
    `gather(features, vocabulary, lesson)`: named arrays of one image, made where the images are and given to `fit` as
    lessons.gathered. lesson: (height, width) positions in the vocabulary, its length for background, -1 for unsure.
    """

    teacher: str

    @property
    def rule(self) -> LabelRule: ...

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]: ...

    def fitted(self, folder: Path) -> Method | Reader: ...


@dataclass(frozen=True)
class Run:
    """One method recipe on one benchmark under one protocol; `run_id` is a hash of all that can change a pixel.

    names: the words of every class, as the protocol's name set gives them. artefact: the folder of what a learner has
    learned. rule: makes label maps into lessons. gathers: the learner's `gather` is asked, in place of a prediction.
    """

    run_id: str
    method_name: str
    variant: str
    method: Recipe
    benchmark_name: str
    benchmark: Recipe
    protocol: ProtocolSettings
    names: Words = ()
    artefact: str | None = None
    rule: LabelRule | None = None
    gathers: bool = False


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

    keep: images whose label maps are wanted as pictures, besides their counts. lessons: for runs that gather, the
    teacher's mask of every image, as an 8-bit PNG in the numbering of truths.
    """

    shard_id: str
    runs: tuple[Run, ...]
    batches: tuple[Batch, ...]
    keep: frozenset[str] = frozenset()
    lessons: Mapping[str, bytes] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Row:
    """One image of one run. Overlaps are parallel integer arrays: true class, predicted class, pixels (all > 0).

    Classes are numbered as in a truth: 0 background, k = classes[k - 1]; predicted 255 = no class was given. Pixels
    that are not scored under the run's protocol are not counted. label_map: the predicted map as an 8-bit PNG, where it
    was asked for. gathered: what a learner's `gather` gave, as an .npz; such a row counts nothing and is not stored.
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
    gathered: bytes | None = None


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
    encodings: int = 0  # images encoded, or windows of them
    passes: int = 0  # the same, times passes
    seconds: float = 0.0
    pictures: tuple[Picture, ...] = ()
