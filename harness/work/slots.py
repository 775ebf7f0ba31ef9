"""Image ids of a batch flow in; places of the batch flow out: images read, resized and cut, offered their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from harness.contracts import Batch, Origin, ProtocolSettings, Query, Sample, Vocabulary, Words
from harness.errors import in_words, of_host
from harness.foreign.lending import LentImage
from harness.protocol.given import checked_sample
from harness.protocol.offering import Offer, numbers_of, offer
from harness.protocol.rules import TAGGED
from harness.protocol.views import Cut, queries, tiling

Load = Callable[[str, Callable[[Any], Sample]], tuple[Sample, Origin]]
Rules: TypeAlias = tuple[Words, ProtocolSettings]  # what decides what an image is offered
_NOTHING = Vocabulary(())
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Slot:
    """One place of a batch under one protocol: an image that was read, one that could not be read (error), or a filler
    (no id).

    queries: what networks see of the place, window by window; none where there is nothing to see. lent: the images of
    all windows, and first the whole image; the slots of one place hold the same. An image without an offer waits for
    the tagger. origin: of the sample. elsewhere: the error may be this machine's.
    """

    image_id: str | None = None
    sample: Sample | None = None
    offered: Offer | None = None
    cut: Cut | None = None
    windows: tuple[Query, ...] = ()  # with nothing offered
    queries: tuple[Query, ...] = ()
    lent: tuple[LentImage, ...] = ()
    error: str | None = None
    origin: Origin | None = None
    elsewhere: bool = False

    def shown(self, view: int) -> tuple[LentImage, ...]:
        """The image of one of its queries, as it was lent; none for a filler."""
        return self.lent[view + 1 : view + 2]

    @property
    def seen(self) -> bool:
        """Whether networks and methods look at this image."""
        return bool(self.queries)


def filler(names: Words) -> Query:
    """A grey image with one class: it keeps a batch's shape, and nothing of it is kept."""
    return of_shape(Query("", _NO_IMAGE, Vocabulary(names=(tuple(names[0]),), others=tuple(names[1:]))), (64, 64, 3))


def of_shape(filler: Query, shape: tuple[int, ...]) -> Query:
    """The filler with a grey image of that shape."""
    return replace(filler, image=LentImage(np.full(shape, 127, np.uint8)).image)


Place: TypeAlias = tuple[Slot, ...]  # a slot for each of the rules of a shard, which show an image alike


def read_places(rules: Sequence[Rules], load: Load, batch: Batch) -> tuple[Place, ...]:
    """The images of a batch under all rules."""
    return tuple([read_place(rules, load, image_id) for image_id in batch.slots])


def read_place(rules: Sequence[Rules], load: Load, image_id: str | None) -> Place:
    """One image under all rules; whatever its reading raises becomes the error of its slots."""
    if image_id is None:
        return (Slot(),) * len(rules)
    (names, first), *_ = rules
    try:
        given, origin = load(image_id, partial(checked_sample, image_id=image_id, classes=len(names)))
        sample, lent = _lent(given)
        slot = _cut(Slot(image_id, sample, lent=(lent,), origin=origin), sample, first)
        told: dict[str, tuple[int, ...]] = {}  # by kind of vocabulary
        for _, one in rules:
            if one.vocabulary not in (*TAGGED, *told):
                told[one.vocabulary] = numbers_of(sample.truth, len(names), one)
        return tuple(
            [_offered(slot, told[kind], one) if (kind := one[1].vocabulary) in told else slot for one in rules]
        )
    except Exception as error:
        return (Slot(image_id, error=in_words(error), elsewhere=of_host(error)),) * len(rules)


def tag(slot: Slot, numbers: Callable[[Slot], Iterable[int]], rules: Rules) -> Slot:
    """The place with the classes offered that a tagger sees; whatever it raises becomes the slot's error."""
    if slot.image_id is None or slot.sample is None:
        return slot
    try:
        return _offered(slot, numbers(slot), rules)
    except Exception as error:
        return Slot(slot.image_id, error=in_words(error), origin=slot.origin, elsewhere=of_host(error))


def _lent(given: Sample) -> tuple[Sample, LentImage]:
    """A sample of our own: the benchmark may use its arrays again."""
    lent = LentImage(given.image)
    return Sample(given.image_id, lent.image, np.array(given.truth)), lent


def _cut(slot: Slot, sample: Sample, rules: ProtocolSettings) -> Slot:
    """The slot with its image resized and cut, every window lent."""
    height, width = sample.image.shape[:2]
    cut = tiling((height, width), rules)
    shown = queries(sample.image_id, sample.image, _NOTHING, cut, rules.resampling)
    whole = slot.lent[0]
    lent = tuple([whole if query.image is sample.image else LentImage(query.image) for query in shown])
    windows = tuple([replace(query, image=one.image) for query, one in zip(shown, lent, strict=True)])
    return replace(slot, cut=cut, windows=windows, lent=(whole, *lent))


def _offered(slot: Slot, numbers: Iterable[int], rules: Rules) -> Slot:
    offered = offer(numbers, *rules)
    shown = [replace(query, vocabulary=offered.vocabulary) for query in slot.windows] if offered.tells_apart else []
    return replace(slot, offered=offered, queries=tuple(shown))
