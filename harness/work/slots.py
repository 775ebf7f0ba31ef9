"""Image ids of a batch flow in; places of the batch flow out: images read, offered their classes, resized and cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from harness.contracts import Batch, Origin, ProtocolSettings, Query, Sample, Vocabulary, Words
from harness.errors import in_words
from harness.foreign.lending import LentImage
from harness.protocol.given import checked_sample
from harness.protocol.offering import Offer, numbers_of, offer
from harness.protocol.views import Cut, queries, tiling

Load = Callable[[str, Callable[[Any], Sample]], tuple[Sample, Origin]]


@dataclass(frozen=True, eq=False)
class Slot:
    """One place of a batch: an image that was read, one that could not be read (error), or a filler (no id).

    queries: what networks see of the place, window by window; none where there is nothing to see. lent: their images,
    one a query, and first the whole image. An image without an offer waits for the tagger. origin: of the sample.
    """

    image_id: str | None = None
    sample: Sample | None = None
    offered: Offer | None = None
    cut: Cut | None = None
    queries: tuple[Query, ...] = ()
    lent: tuple[LentImage, ...] = ()
    error: str | None = None
    origin: Origin | None = None

    def shown(self, view: int) -> tuple[LentImage, ...]:
        """The image of one of its queries, as it was lent; none for a filler."""
        return self.lent[view + 1 : view + 2]

    @property
    def seen(self) -> bool:
        """Whether networks and methods look at this image."""
        return bool(self.queries)


def filler(names: Words) -> Query:
    """A grey image with one class: it keeps a batch's shape, and nothing of it is kept."""
    grey = LentImage(np.full((64, 64, 3), 127, np.uint8)).image
    return Query("", grey, Vocabulary(names=(tuple(names[0]),), others=tuple(names[1:])))


def read_slots(names: Words, rules: ProtocolSettings, load: Load, batch: Batch) -> tuple[Slot, ...]:
    """The images of a batch; whatever the reading of one raises becomes its slot's error."""
    return tuple([_read(load, names, rules, image_id) for image_id in batch.slots])


def _read(load: Load, names: Words, rules: ProtocolSettings, image_id: str | None) -> Slot:
    if image_id is None:
        return Slot()
    try:
        given, origin = load(image_id, partial(checked_sample, image_id=image_id, classes=len(names)))
        lent = LentImage(given.image)
        sample = Sample(image_id, lent.image, np.array(given.truth))  # a copy: the benchmark may use its arrays again
        slot = Slot(image_id, sample, lent=(lent,), origin=origin)
        if rules.vocabulary == "predicted":
            return slot
        return _offered(slot, sample, numbers_of(sample.truth, len(names), rules), names, rules)
    except Exception as error:
        return Slot(image_id, error=in_words(error))


def tag(slot: Slot, numbers: Callable[[Slot], Iterable[int]], names: Words, rules: ProtocolSettings) -> Slot:
    """The place with the classes offered that a tagger sees; whatever it raises becomes the slot's error."""
    if slot.image_id is None or slot.sample is None:
        return slot
    try:
        return _offered(slot, slot.sample, numbers(slot), names, rules)
    except Exception as error:
        return Slot(slot.image_id, error=in_words(error), origin=slot.origin)


def _offered(slot: Slot, sample: Sample, numbers: Iterable[int], names: Words, rules: ProtocolSettings) -> Slot:
    assert slot.image_id is not None
    offered = offer(numbers, names, rules)
    height, width = sample.image.shape[:2]
    cut = tiling((height, width), rules)
    shown = queries(slot.image_id, sample.image, offered.vocabulary, cut) if offered.tells_apart else ()
    whole = slot.lent[0]
    lent = tuple([whole if query.image is sample.image else LentImage(query.image) for query in shown])
    shown = tuple([replace(query, image=one.image) for query, one in zip(shown, lent, strict=True)])
    return replace(slot, offered=offered, cut=cut, queries=shown, lent=(whole, *lent))
