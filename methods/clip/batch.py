"""What went through a tower together flows in; features of every image, and of all that went together, flow out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from harness.contracts import Image
from methods.clip.features import ClipFeatures, JointFeatures, Tower
from methods.clip.pixels import Tiling


@dataclass(frozen=True, eq=False)
class OfOneShape:
    """Windows of one shape. inputs: of all of them, one after the other, and of the copies that fill up the last call.
    step: windows of a call. where: by image, which are its own."""

    inputs: Sequence[Tensor]
    step: int
    where: Mapping[int, slice]

    def calls_of(self, place: int) -> range:
        """The numbers of the calls in which the windows of an image are."""
        own = self.where[place]
        return range(own.start // self.step, -(-own.stop // self.step))

    def of(self, values: Mapping[int, Tensor], place: int) -> Tensor:
        """Of values (windows of a call, ..), by call, those of one image."""
        own = self.where[place]
        starts = {call: call * self.step for call in self.calls_of(place)}
        parts = [values[call][max(0, own.start - at) : own.stop - at] for call, at in starts.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class ClipBatch(Sequence[ClipFeatures]):
    """Features of every image of a batch, in order; and what went through the tower together, for who reads a batch."""

    def __init__(
        self, network: Tower, groups: Sequence[OfOneShape], tilings: Sequence[Tiling], images: Sequence[Image]
    ):
        self.network, self.tilings = network, tilings
        self._images, self._groups = images, {place: group for group in groups for place in group.where}
        one_call = len(groups) == 1 and len(groups[0].inputs[0]) == groups[0].step
        self._joint = JointFeatures(network, groups[0].inputs, tilings[0], images[0]) if one_call else None

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> ClipFeatures: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ClipFeatures]: ...
    def __getitem__(self, place: int | slice) -> ClipFeatures | Sequence[ClipFeatures]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        number = range(len(self))[place]
        group = self._groups[number]
        inputs = [tokens[group.where[number]] for tokens in group.inputs]
        return ClipFeatures(self.network, inputs, self.tilings[number], self._images[number])

    def by_place(self, make: Callable[[ClipFeatures], Tensor], places: Sequence[int]) -> Iterator[Tensor]:
        """What is made of the windows of every call, as if they were those of one image, image by image. It is kept
        until the last image that needs it."""
        needs = {
            place: [(id(self._groups[place]), call) for call in self._groups[place].calls_of(place)] for place in places
        }
        left, made = Counter(key for keys in needs.values() for key in keys), dict[tuple[int, int], Tensor]()
        for place, keys in needs.items():
            group = self._groups[place]
            for key in keys:
                if key not in made:
                    made[key] = make(self._call(place, key[1]))
            yield group.of({call: made[key] for key in keys for call in key[1:]}, place)
            left.subtract(keys)
            for key in keys:
                if not left[key]:
                    del made[key]

    def _call(self, place: int, call: int) -> ClipFeatures:
        """The windows of a call in which an image has some; `image` is nobody's to look at."""
        group = self._groups[place]
        own = slice(call * group.step, (call + 1) * group.step)
        inputs = [tokens[own] for tokens in group.inputs]
        return self._joint or ClipFeatures(self.network, inputs, self.tilings[place], self._images[place])
