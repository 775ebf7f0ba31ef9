"""What was stored of a teacher, and a train split, flow in; lessons flow out: images and masks, and no truth."""

from __future__ import annotations

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
    LabelRule,
    Reader,
    Recipe,
    Run,
    Sample,
    Truth,
    Vocabulary,
    WideTruth,
    Words,
    narrowed,
)
from harness.protocol.decision import Extremes, Planes, checked_answer
from harness.protocol.given import check_classes, checked_sample
from harness.protocol.offering import Offer, numbers_of, offer, tagged
from harness.protocol.rules import WORDED
from harness.protocol.views import Cut, Window, queries, tiling
from harness.recipes import loading
from harness.work import lesson_masks, pictures
from harness.work.passes import features_of


@dataclass(frozen=True)
class LessonBook:
    """Where the lessons of one fit lie; travels to whoever fits.

    labels: the teacher's run on the train split, with its rule. masks, gathered: image id -> file. folder: where
    plug-ins in plain files are looked for.
    """

    labels: Run
    masks: Mapping[str, str]
    gathered: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None


class StoredLessons:
    """Fulfils harness.contracts.Lessons; opens what a book names when it is asked for."""

    def __init__(self, book: LessonBook) -> None:
        self._book, self._run = book, book.labels
        self._lock = Lock()
        self._networks: dict[Recipe, Any] = {}
        self._scales: dict[str, Extremes] = {}

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._book.masks))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self._names, templates=self._run.protocol.templates)

    @property
    def background(self) -> bool:
        return self._rule.below == "background" or self._run.protocol.background in {"class", *WORDED}

    def image(self, image_id: str) -> Image:
        return self._sample(image_id).image

    def mask(self, image_id: str) -> Truth:
        path = Path(self._book.masks[image_id])
        try:
            return self._told(pictures.decode_map(path.read_bytes()))
        except OSError as error:
            raise DataError(
                f"The pseudo mask {path} of {image_id} cannot be read ({error}); delete it to make it anew."
            ) from error

    def ask(self, image_id: str, image: Image) -> Truth:
        with self._lock:
            sample = self._sample(image_id)
            offered, size = self._offered(sample), (image.shape[0], image.shape[1])
            if not offered.tells_apart:
                return self._told(np.full(size, WIDE_IGNORED, np.uint16))
            cut = Cut(size, (Window(0, 0, *size),))
            answers = self._answers(image_id, image, cut, offered)
            whole = self._extremes(sample, offered) if self._rule.scales and answers[0].ndim == 3 else None
            return self._told(lesson_masks.lesson(answers, cut, offered, size, self._run.protocol, self._rule, whole))

    def _extremes(self, sample: Sample, offered: Offer) -> Extremes:
        """Between what the teacher's scores of a whole image lie, shown as the protocol says; asked for once."""
        if sample.image_id not in self._scales:
            cut = tiling((sample.image.shape[0], sample.image.shape[1]), self._run.protocol)
            answers = self._answers(sample.image_id, sample.image, cut, offered)
            self._scales[sample.image_id] = Planes(answers, cut, len(offered.numbers)).extremes()
        return self._scales[sample.image_id]

    def _answers(self, image_id: str, image: Image, cut: Cut, offered: Offer) -> list[Any]:
        """The teacher's checked answer for every window."""
        shown = queries(image_id, image, offered.vocabulary, cut)
        boxes = zip(shown, cut.boxes, strict=True)
        positions = len(offered.vocabulary)
        return [checked_answer(self._answer(query), positions, (box.height, box.width)) for query, box in boxes]

    def _told(self, mask: WideTruth) -> Truth:
        """A mask as learners are given it: in 8 bits where those hold all classes, whatever this image has of them."""
        return narrowed(mask) if len(self._names) < IGNORED else mask

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        with np.load(self._book.gathered[image_id], allow_pickle=False) as held:
            return {name: held[name] for name in held.files}

    @property
    def _rule(self) -> LabelRule:
        assert isinstance(self._run.purpose, Labelling)
        return self._run.purpose.rule

    def _answer(self, query: Any) -> Any:
        """What the teacher says of one query, alone in its batch."""
        if not isinstance(self._teacher, Reader):
            return self._teacher.segment(query.image, query.vocabulary)
        (features,) = features_of(self._teacher.passes(), [query], self._network, lambda _: lambda call: call())
        return self._teacher.read(features, query.vocabulary)

    def _offered(self, sample: Sample) -> Offer:
        """The classes that the teacher was offered for an image: what the protocol lets it know."""
        rules = self._run.protocol
        if rules.tagger is not None:
            return offer(tagged(self._network(rules.tagger), sample.image, self._names, rules), self._names, rules)
        return offer(numbers_of(sample.truth, len(self._names), rules), self._names, rules)

    def _sample(self, image_id: str) -> Sample:
        return checked_sample(self._benchmark.load(image_id), image_id, len(self._names))

    @cached_property
    def _benchmark(self) -> Any:
        if self._book.folder:
            loading.add_folder(self._book.folder)
        benchmark = loading.build(self._run.benchmark)
        check_classes(benchmark, self._run.classes)
        return benchmark

    @cached_property
    def _names(self) -> Words:
        return self._run.names or tuple([(name,) for name in self._benchmark.classes])

    @cached_property
    def _teacher(self) -> Any:
        return loading.open_method(self._run.method, self._run.purpose.learned)

    def _network(self, recipe: Recipe) -> Any:
        if recipe not in self._networks:
            self._networks[recipe] = loading.build(recipe)
        return self._networks[recipe]
