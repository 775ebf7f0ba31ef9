"""The places of a batch flow in; rounds flow out: which window of which image goes through networks at which position.

Window number k of every image is a round: each image at its place, fillers for those that have fewer. Networks whose
answer about a window is the same at any position and in any company get full rounds: windows of one shape, whosever
they are, image by image, and fillers in the last round of a shape alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.contracts import Query
from harness.foreign.lending import LentImage
from harness.work.slots import Slot


class Spot(NamedTuple):
    """Which window, by its number, of the image at which place of the batch."""

    place: int
    view: int


class Sight(NamedTuple):
    """One window of a slot, as a network or a method is shown it."""

    slot: Slot
    view: int

    @property
    def query(self) -> Query:
        """The window with what is offered."""
        return self.slot.queries[self.view]

    @property
    def lent(self) -> tuple[LentImage, ...]:
        """Its image, as it was lent; none for a filler."""
        return self.slot.shown(self.view)


@dataclass(frozen=True)
class Round:
    """number: of the round in its batch, from 0. windows: by position; all others hold fillers. shape: of all its
    windows, and its fillers, if they have one."""

    number: int
    windows: Mapping[int, Spot]
    shape: tuple[int, ...] | None = None

    def only(self, position: int) -> Round:
        """One of its windows, where it was."""
        return replace(self, windows={position: self.windows[position]})

    def shown(self, slots: Sequence[Slot]) -> dict[int, Sight]:
        """By position what a run sees, whose slots these are; where it has nothing to see, nothing."""
        return {
            position: Sight(slots[place], view)
            for position, (place, view) in self.windows.items()
            if view < len(slots[place].queries)
        }


def in_places(slots: Collection[Sequence[Slot]]) -> Iterator[Round]:
    """Window number k of every image. slots: of several runs, which show images alike."""
    views = _views(slots)
    for view in range(max(views, default=0)):
        yield Round(view, {place: Spot(place, view) for place, own in enumerate(views) if view < own})


def full(slots: Collection[Sequence[Slot]]) -> Iterator[Round]:
    """As many windows of one shape a round as the batch has places, in order, so that an image's come in order too."""
    by_shape: dict[tuple[int, ...], list[Spot]] = {}
    for place, own in enumerate(_views(slots)):
        seen = next((one[place].queries for one in slots if one[place].queries), ())
        for view in range(own):
            by_shape.setdefault(seen[view].image.shape, []).append(Spot(place, view))
    size, number = len(next(iter(slots), ())), 0
    for shape, windows in by_shape.items():
        for start in range(0, len(windows), size):
            yield Round(number, dict(enumerate(windows[start : start + size])), shape)
            number += 1


def _views(slots: Collection[Sequence[Slot]]) -> list[int]:
    """How many windows the images have, by place; none where no run sees anything."""
    return [max(len(slot.queries) for slot in there) for there in zip(*slots, strict=True)]
