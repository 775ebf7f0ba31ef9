"""Image ids of a batch flow in; places of the batch flow out: images read, offered their classes, resized and cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from harness.contracts import Batch, Origin, ProtocolSettings, Query, Sample, Tagger, Vocabulary, Words
from harness.errors import HarnessError
from harness.protocol.given import checked_sample
from harness.protocol.offering import Offer, numbers_of, offer, tagged
from harness.protocol.views import Tiling, queries, tiling
from harness.recipes.origins import Source


@dataclass(frozen=True, eq=False)
class Slot:
    """One place of a batch: an image that was read, one that could not be read (error), or a filler (no id).

    queries: what networks see of the place, window by window; none where there is nothing to see. An image without an
    offer waits for the tagger. origin: of the sample.
    """

    image_id: str | None = None
    sample: Sample | None = None
    offered: Offer | None = None
    cut: Tiling | None = None
    queries: tuple[Query, ...] = ()
    error: str | None = None
    origin: Origin | None = None

    @property
    def seen(self) -> bool:
        """Whether networks and methods look at this image."""
        return bool(self.queries)


def filler(names: Words) -> Query:
    """A grey image with one class: it keeps a batch's shape, and nothing of it is kept."""
    return Query("", np.full((64, 64, 3), 127, np.uint8), Vocabulary(names=(tuple(names[0]),), others=tuple(names[1:])))


def explain(error: BaseException) -> str:
    """An exception in one line: a sentence of ours as it is, a foreign one with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}".rstrip(": ")


def read(source: Source, names: Words, rules: ProtocolSettings, batch: Batch) -> tuple[Slot, ...]:
    """The images of a batch; whatever the reading of one raises becomes its slot's error."""
    return tuple(_read(source, names, rules, image_id) for image_id in batch.slots)


def _read(source: Source, names: Words, rules: ProtocolSettings, image_id: str | None) -> Slot:
    if image_id is None:
        return Slot()
    try:
        sample, origin = source.load(image_id, partial(checked_sample, image_id=image_id, classes=len(names)))
        slot = Slot(image_id, sample, origin=origin)
        if rules.vocabulary == "predicted":
            return slot
        return _offered(slot, sample, numbers_of(sample.truth, len(names), rules), names, rules)
    except Exception as error:
        return Slot(image_id, error=explain(error))


def tag(slot: Slot, tagger: Tagger, names: Words, rules: ProtocolSettings) -> Slot:
    """The place with the classes offered that the tagger sees; whatever it raises becomes the slot's error."""
    if slot.image_id is None or slot.sample is None:
        return slot
    try:
        return _offered(slot, slot.sample, tagged(tagger, slot.sample.image, names, rules), names, rules)
    except Exception as error:
        return Slot(slot.image_id, error=explain(error), origin=slot.origin)


def _offered(slot: Slot, sample: Sample, numbers: Iterable[int], names: Words, rules: ProtocolSettings) -> Slot:
    assert slot.image_id is not None
    offered = offer(numbers, names, rules)
    height, width = sample.image.shape[:2]
    cut = tiling((height, width), rules)
    shown = queries(slot.image_id, sample.image, offered.vocabulary, cut) if offered.tells_apart else ()
    return replace(slot, offered=offered, cut=cut, queries=shown)
