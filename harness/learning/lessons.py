"""What was stored of a teacher, and a train split, flow in; lessons flow out: images and masks, and no truth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import (
    IGNORED,
    WIDE_IGNORED,
    DataError,
    Image,
    Labelling,
    Reader,
    Recipe,
    Run,
    Truth,
    Vocabulary,
    WideTruth,
    Words,
    narrowed,
)
from harness.learning.shown import Shown
from harness.protocol.decision import checked_answer, gives_planes_a_word
from harness.protocol.offering import Offer, segmented
from harness.protocol.rules import WORDED
from harness.protocol.views import Cut, Window, queries, tiling
from harness.recipes import loading
from harness.work import lesson_masks, pictures
from harness.work.passes import features_of


@dataclass(frozen=True)
class LessonBook:
    """Where the lessons of one fit lie; travels to whoever fits.

    labels: the teacher's run on the train split, with its rule. masks, gathered: image id -> file. folder: where
    plug-ins in plain files are looked for. looked_at: file -> digest of its bytes as they were before the fit.
    """

    labels: Run
    masks: Mapping[str, str]
    gathered: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    looked_at: Mapping[str, str] = field(default_factory=dict)


class StoredLessons:
    """Fulfils harness.contracts.Lessons; opens what a book names when it is asked for.

    It carries the teacher and what the teacher left, but no benchmark: see harness.learning.shown.
    """

    def __init__(self, book: LessonBook) -> None:
        run = book.labels
        assert isinstance(run.purpose, Labelling)
        self._masks, self._gathered = book.masks, book.gathered
        self._looked_at = dict(book.looked_at)
        self._protocol, self._rule = run.protocol, run.purpose.rule
        self._taught_by = run.method, run.purpose.learned
        self._shown = Shown(run, book.folder)
        self._lock = Lock()
        self._networks: dict[Recipe, Any] = {}
        self._wholes: dict[str, lesson_masks.Whole] = {}

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._masks))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self._names, templates=self._protocol.templates)

    @property
    def background(self) -> bool:
        return self._rule.below == "background" or self._protocol.background in {"class", *WORDED}

    def image(self, image_id: str) -> Image:
        return self._shown.image(image_id)

    def mask(self, image_id: str) -> Truth:
        path = self._masks[image_id]
        try:
            content = Path(path).read_bytes()
            self._compare(path, content)
            return self._told(pictures.decode_map(content))
        except OSError as error:
            raise DataError(
                f"The pseudo mask {path} of {image_id} cannot be read ({error}); delete it to make it anew."
            ) from error

    def _compare(self, path: str, content: bytes) -> None:
        """DataError for bytes that are not those that were looked at before the fit."""
        expected = self._looked_at.get(path)
        if expected not in (None, hashlib.blake2b(content, digest_size=16).hexdigest()):
            raise DataError(
                f"{path} was changed while a sweep learns from it: its bytes are not those that lay there before the "
                "fit; see who writes there, delete it, and run the sweep again."
            )

    def ask(self, image_id: str, image: Image) -> Truth:
        with self._lock:
            offered, size = self._shown.offered(image_id), (image.shape[0], image.shape[1])
            if not offered.tells_apart:
                return self._told(np.full(size, WIDE_IGNORED, np.uint16))
            cut = Cut(size, (Window(0, 0, *size),))
            answers = self._answers(image_id, image, cut, offered)
            whole = self._whole(image_id, offered) if self._rule.sees_the_whole and answers[0].ndim == 3 else None
            planes, rules = self._planes(offered), (self._protocol, self._rule)
            return self._told(lesson_masks.lesson(answers, cut, offered, size, *rules, whole, planes))

    def _whole(self, image_id: str, offered: Offer) -> lesson_masks.Whole:
        """What the teacher's scores of a whole image, shown as the protocol says, tell of its parts; asked for once."""
        if image_id not in self._wholes:
            image = self.image(image_id)
            size = (image.shape[0], image.shape[1])
            cut = tiling(size, self._protocol)
            answers = self._answers(image_id, image, cut, offered)
            self._wholes[image_id] = lesson_masks.of_whole(answers, cut, self._planes(offered), size, self._rule)
        return self._wholes[image_id]

    def _answers(self, image_id: str, image: Image, cut: Cut, offered: Offer) -> list[Any]:
        """The teacher's checked answer for every window."""
        shown = queries(image_id, image, offered.vocabulary, cut, self._protocol.resampling)
        boxes = zip(shown, cut.boxes, strict=True)
        form = len(offered.vocabulary), sum(self._planes(offered))
        return [checked_answer(self._answer(query), form[0], (box.height, box.width), form[1]) for query, box in boxes]

    def _planes(self, offered: Offer) -> tuple[int, ...]:
        return offered.planes(gives_planes_a_word(self._teacher))

    def _told(self, mask: WideTruth) -> Truth:
        """A mask as learners are given it: in 8 bits where those hold all classes, whatever this image has of them."""
        return narrowed(mask) if len(self._names) < IGNORED else mask

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        path = self._gathered[image_id]
        if path in self._looked_at:  # once: they are large, some are read in every step, and a zip has sums of its own
            self._compare(path, Path(path).read_bytes())
            del self._looked_at[path]
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}

    def _answer(self, query: Any) -> Any:
        """What the teacher says of one query, alone in its batch."""
        if not isinstance(self._teacher, Reader):
            return segmented(self._teacher, query.image, "", query.vocabulary)  # a changed image has no id
        (features,) = features_of(self._teacher.passes(), [query], self._network, lambda _: lambda call: call())
        return self._teacher.read(features, query.vocabulary)

    @cached_property
    def _names(self) -> Words:
        return self._shown.names()

    @cached_property
    def _teacher(self) -> Any:
        return loading.open_method(*self._taught_by)

    def _network(self, recipe: Recipe) -> Any:
        if recipe not in self._networks:
            self._networks[recipe] = loading.build(recipe)
        return self._networks[recipe]
