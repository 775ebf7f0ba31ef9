"""An image's truth, or a tagger's word, and the names of all classes flow in; the vocabulary offered flows out."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, TypeGuard

import numpy as np

from harness.contracts import (
    BACKGROUND,
    WIDE_IGNORED,
    BatchMethod,
    Image,
    Method,
    MethodError,
    Pass,
    ProtocolSettings,
    Reader,
    Tagger,
    Vocabulary,
    WideTruth,
    Words,
)
from harness.errors import several
from harness.protocol.rules import WORDED


@dataclass(frozen=True)
class Offer:
    """What a method is offered for one image, and the benchmark's number for every position of the vocabulary.

    Positions of the background, as a class or as context words, have the number 0.
    """

    vocabulary: Vocabulary
    numbers: tuple[int, ...]

    @property
    def tells_apart(self) -> bool:
        """Whether any class is offered: without one, there is nothing for a method to do."""
        return any(self.numbers)

    def planes(self, plane_a_word: bool = False) -> tuple[int, ...]:
        """How many planes of a method's scores belong to each position: one, or as many as it has words."""
        return tuple([len(words) if plane_a_word else 1 for words in self.vocabulary.names])


def encodes_words(request: Pass) -> bool:
    """Whether a pass may depend on the words that are offered; it does unless its class says otherwise."""
    return getattr(type(request), "encodes_words", True) is not False


def numbers_of(truth: WideTruth, classes: int, settings: ProtocolSettings) -> tuple[int, ...]:
    """The numbers of the classes to offer where no tagger is asked. Presence is read after ignoring."""
    numbers = range(1, classes + 1)
    if settings.vocabulary == "all":
        return tuple(numbers)
    present = np.bincount(truth.ravel(), minlength=classes + 1)
    return tuple([number for number in numbers if present[number]])


def tagged(
    tagger: Tagger, image: Image, names: Words, settings: ProtocolSettings, image_id: str = ""
) -> tuple[int, ...]:
    """The numbers of the classes that a tagger sees, in order. MethodError when it gives what is no position.

    image_id: is told to a tagger whose signature asks for it.
    """
    given = _told(tagger.tags, image_id)(image, Vocabulary(names, templates=settings.templates))
    try:
        positions = [operator.index(position) for position in given]
    except TypeError:
        raise MethodError(f"the tagger gave {given!r}; expected positions of the vocabulary as whole numbers") from None
    outside = [position for position in positions if not 0 <= position < len(names)]
    if outside:
        offered = several(len(names), "class", "classes")
        raise MethodError(f"the tagger gave the position {outside[0]}; it was offered {offered}, from 0")
    return tuple(sorted({position + 1 for position in positions}))


def segmented(method: Method, image: Image, image_id: str, vocabulary: Vocabulary) -> object:
    """What a method answers; the image's id is told to one whose signature asks for it."""
    return _told(method.segment, image_id)(image, vocabulary)


def segments_together(method: object) -> TypeGuard[BatchMethod]:
    """Whether a method is asked about all images of a batch at once."""
    whole = getattr(type(method), "whole_image", False) is True
    return not whole and not isinstance(method, Reader) and asked_by(method, "segment_batch", "segment")


def asked_by(thing: object, form: str, plain: str) -> bool:
    """Whether a plug-in is asked by its batch form: it has one, and nothing of it was written for a form without.

    A plain verb further down than the batch form, or a class of another package, was.
    """
    kinds = type(thing).__mro__
    batch, single = ([kind for kind in kinds if verb in vars(kind)][:1] for verb in (form, plain))
    if not batch:
        return False
    below = bool(single) and kinds.index(single[0]) < kinds.index(batch[0])
    return not below and _package(batch[0]) == _package(kinds[0])


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _told(verb: Callable[..., Any], image_id: str) -> Callable[..., Any]:
    try:
        asks = "image_id" in signature(verb).parameters
    except (TypeError, ValueError):  # what is written in another language may have none
        asks = False
    return partial(verb, image_id=image_id) if asks else verb


def offer(numbers: Iterable[int], names: Words, settings: ProtocolSettings) -> Offer:
    """The vocabulary of these classes, in the benchmark's order, and behind them what stands for the background."""
    offered, around = tuple(numbers), _around(settings)
    known = frozenset(offered)
    vocabulary = Vocabulary(
        names=(*(names[number - 1] for number in offered), *around),
        others=tuple([words for number, words in enumerate(names, start=1) if number not in known]),
        templates=settings.templates,
        background=len(offered) if settings.background == "class" else None,
        context=tuple(range(len(offered), len(offered) + len(around))) if settings.background in WORDED else (),
        everywhere=settings.vocabulary == "all",
    )
    return Offer(vocabulary, (*offered, *[BACKGROUND] * len(around)))


def _around(settings: ProtocolSettings) -> Sequence[tuple[str, ...]]:
    """Positions besides the classes: one with all words for the background, or one a word of context."""
    if settings.background == "class":
        return [settings.background_names]
    return [(word,) for word in settings.context] if settings.background in WORDED else []


def scored_truth(truth: WideTruth, settings: ProtocolSettings) -> WideTruth:
    """The truth as it is scored: where the background is ignored, 0 becomes 65535."""
    if settings.background != "ignored":
        return truth
    return np.where(truth == BACKGROUND, np.uint16(WIDE_IGNORED), truth)
