"""What is to be done and what was done: runs, batches and shards go out to workers, rows and pictures come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, ClassVar, NamedTuple, TypeAlias

from harness.contracts.nouns import Recipe, Words
from harness.contracts.rows import Rows
from harness.contracts.rules import LabelRule, ProtocolSettings


@dataclass(frozen=True)
class Scoring:
    """A run for a cell of a table. learned: the folder of what its method, a learner, has learned."""

    kind: ClassVar[str] = "score"
    company: ClassVar[str] = kind
    learned: str | None = None


@dataclass(frozen=True)
class Labelling:
    """A teacher's run for lessons. rule: makes its answers into pseudo masks. learned: as above, of a learner."""

    kind: ClassVar[str] = "label"
    company: ClassVar[str] = kind
    rule: LabelRule
    learned: str | None = None


@dataclass(frozen=True)
class Gathering:
    """A run for a fit: the learner's `gather` is asked, in place of a prediction. labels: the teacher's run."""

    kind: ClassVar[str] = "gather"
    learned: ClassVar[None] = None
    labels: str

    @property
    def company(self) -> str:
        """Runs of one shard are shown the same lessons."""
        return f"{self.kind} {self.labels}"


Purpose: TypeAlias = Scoring | Labelling | Gathering  # only runs of equal `company` share a shard


Traits: TypeAlias = tuple[tuple[str, str], ...]  # what a fact is about, and its digest
Planned: TypeAlias = tuple[tuple[Recipe, Traits], ...]


@dataclass(frozen=True)
class Run:
    """One method recipe on one benchmark under one protocol; `run_id` is a hash of all that can change a pixel.

    names: the words of every class, as the protocol's name set gives them. purpose: what the run is for. own: the
    method is given processes of its own; in no id. classes: the digest of the benchmark's classes in order, as the plan
    saw them: a worker's must be the same. planned: of every recipe that it rests on, what stood in the id: what a
    worker opens must be the same (see harness.recipes.identity).
    """

    run_id: str
    method_name: str
    variant: str
    method: Recipe
    benchmark_name: str
    benchmark: Recipe
    protocol: ProtocolSettings
    names: Words = ()
    purpose: Purpose = Scoring()
    own: bool = False
    classes: str = ""
    planned: Planned = ()


@dataclass(frozen=True)
class Batch:
    """A fixed slice of a benchmark's sorted image ids. Its shape never changes: a slot that is None holds a filler."""

    index: int
    slots: tuple[str | None, ...]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that are wanted, without the fillers."""
        return tuple([slot for slot in self.slots if slot is not None])


@dataclass(frozen=True)
class Shard:
    """Some batches of runs that share a benchmark and the way in which images are shown: small enough to be lost.

    keep: images whose label maps are wanted as pictures, besides their counts. boundaries: whether those of all images
    are counted too. lessons: for runs that gather, the teacher's mask of every image, as a PNG in the numbering of
    truths. seen: a few images of the benchmark with the digests that they have where the sweep was planned: where a
    worker sees others, it is refused.
    """

    shard_id: str
    runs: tuple[Run, ...]
    batches: tuple[Batch, ...]
    keep: frozenset[str] = frozenset()
    boundaries: bool = False
    lessons: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    seen: Traits = ()


class Mark(NamedTuple):
    """A file as it was: absolute path, bytes, time of its last change in ns; -1 bytes where there was none.

    touched: when anything of it changed, its name and times included, in ns: nobody can set that. inode: its number on
    the disk. Both are 0 where they are not known.
    """

    path: str
    size: int
    changed: int
    touched: int = 0
    inode: int = 0


class Origin(NamedTuple):
    """Where a sample came from: its digest, and the files behind it as they were before they were read, if known.

    readers: the libraries that may have decoded them, with versions, in one line. image: the digest of the image alone.
    """

    image_id: str
    sample: str
    files: tuple[Mark, ...]
    readers: str = ""
    image: str = ""

    def line(self) -> str:
        """As JSON, in which it is stored; written out, since that takes a fifth of the time and there is one for every
        image."""
        files = ", ".join([_mark_as_json(mark) for mark in self.files])
        image_id, sample, readers, image = map(_quoted, (self.image_id, self.sample, self.readers, self.image))
        return f"[{image_id}, {sample}, [{files}], {readers}, {image}]"


def _mark_as_json(mark: Mark) -> str:
    return f"[{_quoted(mark.path)}, {mark.size:d}, {mark.changed:d}, {mark.touched:d}, {mark.inode:d}]"


@dataclass(frozen=True, eq=False)
class Picture:
    """A kept image for people to look at: JPEG bytes, and its truth as a PNG of 8 or 16 bits, as a row's map."""

    image_id: str
    image: bytes
    truth: bytes


@dataclass(frozen=True, eq=False)
class BatchDone:
    """What a worker says when one batch of a shard is done: its rows, what they cost, pictures of kept images, and
    where the images came from.

    notices: what people should know at once, a sentence each, such as that a model cannot be had. worker, host: who did
    it, where there are several. following: the index of the batch that it is at since. memory: bytes that its process
    has held at most, where it says so. card: the kind of card, or of CPU, that did it; empty where nobody says so.
    lines: of the origins, where they came from another process; see origin_lines.
    """

    shard_id: str
    index: int
    rows: Rows
    encodings: int = 0  # images encoded, or windows of them
    passes: int = 0  # the same, times passes
    seconds: float = 0.0
    pictures: tuple[Picture, ...] = ()
    origins: tuple[Origin, ...] = ()
    notices: tuple[str, ...] = ()
    worker: int | None = None
    host: str = ""
    memory: int = 0
    following: int | None = None
    card: str = ""
    lines: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes origins are columns: that is read three times faster; beside them go their lines, so that
        they are written out where the work is done."""
        told = {**self.__dict__, "origins": (), "lines": self.origin_lines}
        return _from_columns, (told, tuple(zip(*self.origins, strict=True)))

    @property
    def origin_lines(self) -> tuple[str, ...]:
        """The line of every origin."""
        return self.lines or tuple([origin.line() for origin in self.origins])

    def done_by(self, worker: int, host: str, following: int | None) -> BatchDone:
        """The same, and who did it: without dataclasses.replace, which asks for every field, as there are many."""
        done = object.__new__(BatchDone)
        done.__dict__.update(self.__dict__, worker=worker, host=host, following=following)
        return done


_new_origin = partial(tuple.__new__, Origin)


def _from_columns(told: dict[str, Any], origins: tuple[tuple[Any, ...], ...]) -> BatchDone:
    done = object.__new__(BatchDone)
    done.__dict__.update(told, origins=tuple(map(_new_origin, zip(*origins, strict=True))))
    return done
