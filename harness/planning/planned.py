"""What is known of a run, or of a fit, before anything is computed: what it depends on and what of it is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from harness.contracts import Labelling, Parts, Pass, Planned, Recipe, Run
from harness.errors import several


def most(share: float, of: int) -> int:
    """How many of so many a share allows, as it is written: 0.58 of 50 are 29, and not the 28.99... of floats."""
    return math.floor(Fraction(str(share)) * of)


class TrainImages(NamedTuple):
    """Images of a train split that a run rests on, and a run on that split."""

    run: Run
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class PlannedRun:
    """A run with its images, those of them that lack a good row or a wanted label map, and the passes it reads.

    keep: the images whose label maps are wanted. fit: what has to be learned first. serves: of a run that gathers, the
    fit that it is for. changed: of the images whose stored rows rest on data that changed since, the digest as it is
    now (see DataNow); relearned: how many of them were computed with an artefact of other bytes than the one that is
    there. to_fetch: the models, in words, that it needs and that are not on this machine. remarks: what is to be said
    where this machine does it. train_overlap: the share of its images that may be among those that its method learned
    from. asked: whether it is to be done. trials: the runs on the train split of which the best says its protocol;
    waits: they are not done, so that nobody knows it yet. unanswered: the images that its `method` or its `tagger` has
    nothing for. resolved: the settings of its method that the protocol decided, since it resizes or cuts. boundaries:
    whether those of classes are counted.
    """

    run: Run
    image_ids: tuple[str, ...]
    missing: frozenset[str]
    failed_before: int
    passes: Mapping[Pass, Parts]
    keep: frozenset[str]
    stored: int
    record: Mapping[str, Any] = field(repr=False)  # what `recipes/` says of this run
    fit: PlannedFit | None = None
    serves: PlannedFit | None = None
    changed: Mapping[str, str] = field(default_factory=dict, repr=False)
    relearned: int = 0
    to_fetch: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unanswered: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    train_overlap: float = 0.0
    asked: bool = True
    resolved: Mapping[str, Any] = field(default_factory=dict, repr=False)
    boundaries: bool = False
    trials: tuple[PlannedRun, ...] = ()
    waits: bool = False

    @property
    def seen(self) -> TrainImages | None:
        """The train images that its method learned from, or on which its protocol was chosen."""
        if self.trials:
            return TrainImages(self.trials[0].run, self.trials[0].image_ids)
        return None if self.fit is None else TrainImages(self.fit.labels.run, self.fit.image_ids)

    @property
    def to_do(self) -> frozenset[str]:
        """The images that are missing, of a run that is to be done and can be."""
        return self.missing if self.asked and not self.waits else frozenset()

    @property
    def reason(self) -> str:
        """Why the run is (not) done again, in a few words."""
        if not self.missing:
            return "stored"
        if not self.asked:
            return "not asked for"
        if self.waits:
            return "its protocol is chosen first, on the train split"
        if self.stored == len(self.image_ids):
            number, bounds = len(self.missing), self.boundaries
            maps = f"{several(number, 'label map')} {'is' if number == 1 else 'are'}"
            what = f"label maps or boundaries of {several(number, 'image')} are" if bounds else maps
            return f"stored, but {what} wanted"
        fit = self.fit or self.serves
        if fit is not None and fit.outdated:
            return "taught by images that changed since"
        if len(self.missing) == len(self.changed):
            return self._changes
        if len(self.missing) == len(self.image_ids) and not self.changed:
            return "not stored" if not self.failed_before else f"{several(self.failed_before, 'image')} failed before"
        failed = f", {self.failed_before} of them failed before" if self.failed_before else ""
        changed = f", {self._changes}" if self.changed else ""
        return f"{len(self.missing)} of {len(self.image_ids)} images missing{failed}{changed}"

    @property
    def _changes(self) -> str:
        data, anew = len(self.changed) - self.relearned, self.relearned
        others = f"{several(anew, 'image')} {'is' if anew == 1 else 'are'} of an artefact of other bytes"
        told = (f"{several(data, 'image')} changed since" if data else "", others if anew else "")
        return ", ".join(filter(None, told))


@dataclass(frozen=True)
class PlannedFit:
    """A learner with its lessons. labels: the teacher's run on the train split; gathers: the learner's own, if any.

    teacher: its name. folder: where the artefact lies, or will. stored: it is there. record: what its card says of it.
    outdated: what lies there was learned from images that changed since. may_fail: the share of the train images on
    which the teacher may fail; left_out: those on which it did. planned: what the process that fits must find too.
    crops, asks, gathered_bytes, artefact_bytes: what the learner tells of its cost, see harness.contracts.Learner.
    """

    artefact_id: str
    method_name: str
    variant: str
    learner: Recipe
    teacher: str
    labels: PlannedRun
    gathers: PlannedRun | None
    folder: str
    stored: bool
    record: Mapping[str, Any] = field(repr=False)
    outdated: bool = False
    may_fail: float = 0.0
    left_out: tuple[str, ...] = ()
    planned: Planned = ()
    crops: int | None = None
    asks: int | None = None
    gathered_bytes: int | None = None
    artefact_bytes: int | None = None

    @property
    def named(self) -> str:
        """The learner, with its variant."""
        return f"{self.method_name} {self.variant}".strip()

    @property
    def may_lack(self) -> int:
        """On how many of the train images its teacher may fail."""
        return most(self.may_fail, len(self.labels.image_ids))

    @property
    def asked(self) -> int:
        """How many images and crops its teacher is asked about while it is fitted by one process: what the learner
        tells, and once every image where a part is judged by the whole."""
        purpose = self.labels.run.purpose
        wholes = isinstance(purpose, Labelling) and purpose.rule.sees_the_whole
        return self.asks + len(self.image_ids) * wholes if self.asks else 0

    @property
    def passes(self) -> int:
        """How many of its teacher's backbones that takes, at most: an image of windows counts once."""
        return self.asked * len(self.labels.passes)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The train images that are learned from."""
        out = frozenset(self.left_out)
        return tuple([image_id for image_id in self.labels.image_ids if image_id not in out])

    @property
    def chain_ids(self) -> tuple[str, ...]:
        """Of this artefact, and of those that taught it."""
        return (self.artefact_id, *(self.labels.fit.chain_ids if self.labels.fit else ()))

    @property
    def left_out_of_chain(self) -> frozenset[str]:
        """The train images that were left out by this learner or by one that taught it."""
        before = self.labels.fit.left_out_of_chain if self.labels.fit else frozenset[str]()
        return before | frozenset(self.left_out)

    @property
    def supervision(self) -> str:
        """What a person has told of the train images, as far as the protocol let the teacher know it."""
        labels = ["image-level labels"] if self.knows_labels else []
        labels += ["given tags"] if self.labels.run.protocol.vocabulary == "given" else []
        return " and ".join([*labels, *(["true foreground"] if self.knows_foreground else [])]) or "none"

    @property
    def knows_labels(self) -> bool:
        """Whether a teacher of the chain was told which classes an image holds."""
        own = self.labels.run.protocol.vocabulary == "present"
        return own or (self.labels.fit is not None and self.labels.fit.knows_labels)

    @property
    def knows_foreground(self) -> bool:
        """Whether the truth's background was left out of its lessons, or of those of a learner that taught it."""
        purpose = self.labels.run.purpose
        own = isinstance(purpose, Labelling) and purpose.rule.foreground
        return own or (self.labels.fit is not None and self.labels.fit.knows_foreground)

    @property
    def level(self) -> int:
        """The stage of the plan at whose end it is fitted: after its teacher's label maps, and its own gathering."""
        return level(self.labels) + (self.gathers is not None)


def level(planned: PlannedRun) -> int:
    """The stage of the plan at which a run can be done: one after the fit that it needs, if that is still open."""
    if planned.serves is not None:
        return level(planned.serves.labels) + 1
    return 0 if planned.fit is None or planned.fit.stored else planned.fit.level + 1
