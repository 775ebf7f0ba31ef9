"""What plug-ins are: the protocols that a method, a backbone, a benchmark, a tagger or a learner fulfils."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.contracts.nouns import Features, Image, LabelMap, Parts, Query, Recipe, Sample, Scores, Truth, Vocabulary
from harness.contracts.rules import LabelRule


@runtime_checkable
class Benchmark(Protocol):
    """A data set: classes in order, image ids, and a sample for each id (DataError when a file is not as promised).

    It may also have `expected_images`, the official number of images: numbers of a folder with fewer are marked as of a
    part. And `cluster_of(image_id)`: the name of what an image is a piece of (its video, its picture); images of one
    cluster are drawn together in all statistics. A class that says `loads_in_threads = True`, and has `files`, is asked
    for several images at once. None of these is in any id.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    def ids(self) -> Sequence[str]: ...

    def load(self, image_id: str) -> Sample: ...


class NamesFiles(Protocol):
    """A benchmark that says itself which files are behind an image; none where code alone makes it."""

    def files(self, image_id: str) -> Sequence[str | Path]: ...


@runtime_checkable
class Method(Protocol):
    """A method that needs no shared backbone: a label map (2 axes) or scores (3 axes) from one image.

    Where the signature of `segment` has `image_id`, the image's id is given by that name, and an empty text for a
    changed version that a learner asks about.
    """

    def segment(self, image: Image, vocabulary: Vocabulary) -> LabelMap | Scores: ...


@runtime_checkable
class BatchMethod(Method, Protocol):
    """A method that answers for all images of a batch at once, as one that holds a network of its own does.

    images, vocabularies: as many as the batch has places, always; where nothing is asked stands a grey image with one
    class, whose answer nobody looks at. So what goes through a network together keeps its shape, and the grid's `batch`
    is in the run's id. What it answers about one image must not depend on the others, and it draws no random numbers.
    A class that inherits the batch form and writes a `segment` of its own, or lies in another package, is asked by
    `segment`; so is what a learner has learned.
    """

    def segment_batch(
        self, images: Sequence[Image], vocabularies: Sequence[Vocabulary]
    ) -> Sequence[LabelMap | Scores]: ...


class Pass(Protocol):
    """What is asked of a backbone for one image. A frozen dataclass: equal passes of one image are computed once.

    Equal in value and kind: 1, 1.0 and True are three. No field may be left out of comparisons (`compare=False`).

    backbone: the network that serves it. encoding: passes of one backbone and image with equal encodings share the
    encoded image (the VAE latent, say). A class whose passes look at the image alone says `encodes_words = False`: they
    are shared whatever is offered, and their queries hold an empty vocabulary.
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
class BatchReader(Reader, Protocol):
    """A reader that reads what passes left of a whole batch at once: on a GPU many images cost little more than one.

    features: of every pass all that its backbone gave, by place of the batch (a backbone of ours gives a sequence that
    has verbs of its own). vocabularies: by place, of the images asked about; where the protocol cuts, a place is a
    window's, and several may be of one image. What it answers about one must not depend on which others are asked
    about, or on what they are offered, and it draws no random numbers. A class that inherits the batch form and writes
    a `read` of its own, or lies in another package, is asked by `read`.
    """

    def read_batch(
        self, features: Mapping[Pass, Sequence[Any]], vocabularies: Mapping[int, Vocabulary]
    ) -> Mapping[int, Scores]: ...


@runtime_checkable
class Finisher(Reader, Protocol):
    """A reader that works on the scores of a whole image at its full size, as refinement at edges does.

    Where the protocol resizes or cuts, `unfinished` is asked in place of `read` for every window, and `finish` once,
    with the merged planes (planes, height, width) at the truth's size and the image as it was shown.
    """

    def unfinished(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Scores: ...

    def finish(self, scores: Any, image: Image) -> Scores: ...


class Timing(NamedTuple):
    """What a network, or a method that reads none, took where it was measured.

    device: `CPU`, for the seconds of one core, or the name of a card. a_pass: seconds of one pass of one image; a_row:
    what every run that reads it adds for an image, from its scores to its counts.
    """

    device: str
    a_pass: float
    a_row: float


@runtime_checkable
class Backbone(Protocol):
    """Holds a network and serves passes for a batch of images.

    run yields every requested pass once, with one Features per query, in the order of the queries. What goes through
    the network together is the queries of one pass, always all of them, so that no float depends on other passes. A
    network that was measured may have `timings`, a Timing for each device, and so may a method that reads none:
    `--plan` estimates time by them as long as nothing is stored that tells it better. Where a pass has a `window`, its
    images may be cut into several, and the estimate is a lower bound.
    """

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[Features]]]: ...


@runtime_checkable
class Tagger(Protocol):
    """Says which classes an image holds, where the protocol's vocabulary is `predicted`. It sees the whole image.

    tags: positions in the vocabulary (all classes of the benchmark), each once, in any order. How many, and whether
    there is always one, is the tagger's to decide; with none, nothing is offered and no pixel gets a class. Where the
    signature has `image_id`, the image's id is given by that name.
    """

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]: ...


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
        """(height, width) in the numbering of truths, uint8, and 255 where the teacher is not sure.

        With more than 254 classes uint16 and 65535, for every image.
        """
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
    property `workers` that says how many can share the work (and `gpus`, where with a GPU each it is another number);
    then only rank 0 writes. fitted: the Method or Reader that
    an artefact is. The setting `teacher` is in no id: the teacher's label maps are. So is `teacher_may_fail`, where a
    learner has it: the share of the train images, from 0 to below 1, that it goes without where its teacher fails on
    them; those left out are in the artefact's id. Settings that a class attribute `at_test` names are of use to
    `fitted` alone: they are in the ids of runs, and one artefact serves them all. A learner that reads backbones has
    `passes`, as a Reader, which its fitted form reads too; and if its fit does, `gather`, as a Gatherer.
    crops, if it has it: how many images, or crops of them, its fit shows to a network of its own; asks: about how many
    it asks its teacher; and artefact_bytes(names): what its artefact for so many classes takes, or None. `--plan` tells
    all three; they are whole numbers.
    `harness.contracts.checkpoint` writes whole files. A line of `folder/curve.jsonl` that holds a `notice` is shown to
    people.
    """

    teacher: str

    @property
    def rule(self) -> LabelRule: ...

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]: ...

    def fitted(self, folder: Path) -> Method | Reader: ...


@runtime_checkable
class Gatherer(Learner, Protocol):
    """A learner whose fit reads backbones.

    gather: named arrays of one image, made where the images are and given to `fit` as lessons.gathered. lesson:
    (height, width) positions in the vocabulary, its length for background, -1 for unsure; int16 as long as they fit.
    It may also have gathered_bytes(names): what that leaves of one image that is offered so many names, at most, or
    None where it cannot tell; `--plan` adds it up.
    """

    def passes(self) -> Mapping[Pass, Parts]: ...

    def gather(
        self, features: Mapping[Pass, Features], vocabulary: Vocabulary, lesson: NDArray[np.integer[Any]]
    ) -> Mapping[str, NDArray[Any]]: ...


Asked: TypeAlias = Reader | Gatherer  # who is given what passes leave
