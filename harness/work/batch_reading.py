"""A reader and what passes left of a batch, or a method and its images, flow in; answers by place flow out, asked for
all of them at once.

Where that cannot be done (it raises, or leaves a trace), each image is asked for alone, by the same form: its numbers
are the same whoever failed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any, TypeGuard

from harness.contracts import (
    Asked,
    BatchMethod,
    BatchReader,
    Finisher,
    Image,
    MethodError,
    Parts,
    Pass,
    Query,
    Vocabulary,
)
from harness.protocol.decision import bare, gives_planes_a_word
from harness.protocol.offering import asked_by

Batches = Mapping[Pass, Sequence[Any]]  # of every pass, what its backbone gave of all places


class OfBatch:
    """A reader as a judge knows it, whose answer about one place comes from somewhere else."""

    def __init__(self, reader: object, answer: Callable[[Vocabulary], object]) -> None:
        self.plane_a_word, self._answer = gives_planes_a_word(reader), answer

    def passes(self) -> Mapping[Pass, Parts]:
        """Nobody asks."""
        return {}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        """The answer."""
        return self._answer(vocabulary)


def in_batches(reader: Asked) -> TypeGuard[BatchReader]:
    """Whether a reader is asked by its batch form."""
    return not isinstance(reader, Finisher) and asked_by(reader, "read_batch", "read")


def of_one_place(reader: BatchReader, batches: Batches, place: int) -> OfBatch:
    """The reader, to be asked about one place."""

    def answer(vocabulary: Vocabulary) -> object:
        return read_together(reader, batches, {place: vocabulary})[place]

    return OfBatch(reader, answer)


def answers(
    reader: BatchReader,
    batches: Batches,
    vocabularies: Mapping[int, Vocabulary],
    call: Callable[[Callable[[], dict[int, object]]], dict[int, object]],
    foreign: bool,
) -> dict[int, OfBatch]:
    """The reader by place, its answers given; none where it could not answer. call: makes a call and looks after it.
    foreign: the reader is a stranger's, whose answers may have a class of their own."""
    try:
        given = call(partial(_given, reader, batches, vocabularies, bare if foreign else _as_it_is))
    except Exception:
        return {}
    return {place: OfBatch(reader, partial(_known, found)) for place, found in given.items()}


def _given(
    reader: BatchReader,
    batches: Batches,
    vocabularies: Mapping[int, Vocabulary],
    taken: Callable[[object], object],
) -> dict[int, object]:
    found = read_together(reader, batches, vocabularies)
    return {place: taken(found[place]) for place in vocabularies}


def read_together(
    reader: BatchReader, batches: Batches, vocabularies: Mapping[int, Vocabulary]
) -> Mapping[int, object]:
    """What a reader answers, by place. MethodError where there is no answer for each: a list would tell places apart by
    its own order."""
    found: object = reader.read_batch(batches, vocabularies)
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise MethodError(f"its `read_batch` gave a {kind}; it has to give a mapping from every place asked to scores")
    if missing := [place for place in vocabularies if place not in found]:
        asked = f"{len(missing)} of the {len(vocabularies)} places that it was asked about"
        raise MethodError(f"its `read_batch` gave no scores for {asked}")
    return found


def _as_it_is(found: object) -> object:
    return found


def _known(found: object, _vocabulary: Vocabulary) -> object:
    return found


def segmented_together(
    method: BatchMethod, images: Sequence[Image], vocabularies: Sequence[Vocabulary], foreign: bool
) -> list[object]:
    """What a method answers about every place of a batch. MethodError when it does not answer for each."""
    found: Any = method.segment_batch(images, vocabularies)
    if not _listed(found):
        kind, count = type(found).__name__, len(images)
        raise MethodError(f"its `segment_batch` gave a {kind}; it has to give a list of {count} answers, one an image")
    if len(found) != len(images):
        raise MethodError(f"its `segment_batch` gave {len(found)} answers for {len(images)} images")
    return [bare(one) for one in found] if foreign else list(found)


def _listed(found: Any) -> bool:
    """Whether it has answers one after the other, as a list or an array of them has."""
    try:
        return not isinstance(found, Mapping | Set | str) and len(found) >= 0
    except TypeError:
        return False


def filled(shown: Mapping[int, Query], places: int, blank: Query) -> list[Query]:
    """A query a place, the blank one where nothing is shown."""
    return [shown.get(place, blank) for place in range(places)]


def answer_at(place: int, given: Mapping[int, object], ask: Callable[[], Mapping[int, object]]) -> object:
    """What was answered about a place, or, where nothing was, what is answered now."""
    return (given or ask())[place]


def bare_answer(ask: Callable[[], object]) -> object:
    """What is answered, without a class of its own: its code runs here, where somebody looks, or never."""
    return bare(ask())
