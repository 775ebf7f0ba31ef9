"""Checked answers for windows flow in; planes of the whole image flow out, a few of them and a few rows at a time.

Enlarging is bilinear between the samples, and by the shares, that torch's `interpolate` has. On a CPU a part of the
rows is enlarged at a time, so that whoever decides finds it in the processor's cache; elsewhere all of them by one
call. Memory grows neither with the number of classes nor, on a CPU, with the size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.contracts.scales import extremes, stretched
from harness.protocol.views import Cut, Window

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

Labels: TypeAlias = NDArray[np.int64]
Extremes: TypeAlias = "tuple[Tensor, Tensor]"  # (positions, 1, 1) each: what min-max makes 0 and 1
Answer: TypeAlias = "Tensor | Labels"  # of a method, checked: scores in float32, or positions
Samples: TypeAlias = "tuple[Labels, Labels, NDArray[np.float32]]"  # the one before, the one behind, its share

_SLICE_ELEMENTS = 2**24  # planes are joined in slices of classes of about this many numbers
_THERE = 4  # times as many where there is more memory, and every step costs a launch
_STRIPE_ELEMENTS = 2**18  # on a CPU they are enlarged in stripes of rows of about this many numbers


class Stripe(NamedTuple):
    """Some positions, from the first on, on some rows of the whole: their best planes and those of all their words,
    (.., rows, width). Both may be written to, and are good until the next stripe."""

    start: int
    rows: slice
    best: Tensor
    words: Tensor


class Planes:
    """Scores, or votes of label maps, of all windows as planes of the whole image.

    planes: how many planes of a score belong to each position; of several, which are its words', the best one counts.
    """

    def __init__(self, pieces: Sequence[Answer], cut: Cut, planes: Sequence[int]) -> None:
        import torch  # in here, so that planning does without it

        self._pieces, self._cut, self._ends = pieces, cut, (0, *accumulate(planes))
        self.device = torch.device("cpu") if isinstance(pieces[0], np.ndarray) else pieces[0].device
        if len(pieces) > 1:
            self._count = torch.zeros(cut.size, dtype=torch.float32, device=self.device)
            for box in cut.boxes:
                _place(self._count, box).add_(1)

    @property
    def positions(self) -> int:
        """How many there are."""
        return len(self._ends) - 1

    def stripes(self, size: tuple[int, int], minmax: bool = False, between: Extremes | None = None) -> Iterator[Stripe]:
        """All of it at `size`: slice by slice of positions, and each from the first row to the last.

        minmax: the best planes of positions, each scaled to 0..1 before they are enlarged. between: the extremes that
        become 0 and 1, if they are not those of these planes.
        """
        for start, stop in self._steps(size):
            part = self._joined(start, stop)
            if minmax:
                part = self._best(part, start, stop)
                part = stretched(part, between=between and (between[0][start:stop], between[1][start:stop]))
            for rows, words in _enlarged_by_rows(part, size):
                yield Stripe(start, rows, words if minmax else self._best(words, start, stop), words)

    def whole(self, size: tuple[int, int]) -> Tensor:
        """The planes of all words at once (planes, height, width)."""
        import torch

        found = torch.empty((self._ends[-1], *size), dtype=torch.float32, device=self.device)
        for start, rows, _, words in self.stripes(size):
            first = self._ends[start]
            found[first : first + len(words), rows] = words
        return found

    def extremes(self) -> Extremes:
        """The least and the largest score of every position, at the scores' own resolution."""
        import torch

        steps = self._steps(self._cut.size)
        found = [extremes(self._best(self._joined(start, stop), start, stop)) for start, stop in steps]
        low, high = (torch.cat(one) for one in zip(*found, strict=True))
        return low, high

    def _steps(self, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """First position and end of every slice of planes that are brought to a size."""
        step, start, ends = max(1, self._most(size)), 0, self._ends
        for stop in range(1, len(ends)):
            if stop == len(ends) - 1 or ends[stop + 1] - ends[start] > step:
                yield start, stop
                start = stop

    def _most(self, size: tuple[int, int]) -> int:
        """How many planes a slice has: memory is bounded, and on a CPU there is room for two rows in the cache."""
        tall, wide = self._cut.size if len(self._pieces) > 1 else self._pieces[0].shape[-2:]
        if self.device.type != "cpu":
            return _THERE * _SLICE_ELEMENTS // max(tall * wide, size[0] * size[1])
        return min(_SLICE_ELEMENTS // (tall * max(wide, size[1])), _STRIPE_ELEMENTS // (2 * size[1]))

    def _best(self, words: Tensor, start: int, stop: int) -> Tensor:
        """Of every position from start to stop its best plane."""
        import torch

        if len(words) == stop - start:
            return words
        bounds = [end - self._ends[start] for end in self._ends[start : stop + 1]]
        return torch.stack([words[first:last].amax(dim=0) for first, last in pairwise(bounds)])

    def _joined(self, start: int, stop: int) -> Tensor:
        """Planes of some positions at the scores' own resolution, or, of several windows, their mean on the resized
        image."""
        start, stop = self._ends[start], self._ends[stop]
        if len(self._pieces) == 1:
            return self._part(self._pieces[0], start, stop)
        total = self._count.new_zeros((stop - start, *self._cut.size))
        for piece, box in zip(self._pieces, self._cut.boxes, strict=True):
            _place(total, box).add_(_enlarged(self._part(piece, start, stop), (box.height, box.width)))
        return total / self._count

    def _part(self, piece: Answer, start: int, stop: int) -> Tensor:
        """Some planes of one window; those of a label map are 1 at the label and 0 elsewhere."""
        import torch

        if isinstance(piece, np.ndarray):
            numbered = torch.arange(start, stop, device="cpu")[:, None, None]
            return (torch.from_numpy(piece)[None] == numbered).to(torch.float32)
        return piece[start:stop].to(self.device)


def _enlarged(part: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes (planes, rows, columns), float32, at (height, width)."""
    from torch.nn.functional import interpolate

    if part.device.type != "cpu":
        return interpolate(part[None], size=size, mode="bilinear", align_corners=False)[0]
    room = part.new_empty(2, len(part), *size)
    return _between_rows(_widened(part, size[1]), slice(0, size[0]), _samples(part.shape[1], size[0]), room)


def _enlarged_by_rows(part: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """The same, rows from the first to the last; what is given may be written to, and is good until the next."""
    height, width = size
    if part.device.type != "cpu":
        yield slice(0, height), _enlarged(part, size)
        return
    wide, down = _widened(part, width), _samples(part.shape[1], height)
    step = max(1, min(height, _STRIPE_ELEMENTS // (len(part) * width)))
    room = wide.new_empty(2, len(part), step, width)  # new memory for every stripe would cost as much as all the rest
    for top, end in pairwise(_edges(down[0], height, step)):
        yield slice(top, end), _between_rows(wide, slice(top, end), down, room[:, :, : end - top])


def _edges(before: Labels, height: int, step: int) -> list[int]:
    """Where stripes of at most `step` rows begin and end; where an image is enlarged much, each between two samples."""
    marks = [0, *(np.flatnonzero(np.diff(before)) + 1).tolist(), height]
    if len(marks) * step > height:
        marks = [0, height]
    return [row for first, last in pairwise(marks) for row in range(first, last, step)] + [height]


def _widened(part: Tensor, width: int) -> Tensor:
    """Planes with that many columns."""
    from torch.nn.functional import interpolate

    return part if part.shape[2] == width else interpolate(part, size=width, mode="linear", align_corners=False)


def _between_rows(part: Tensor, rows: slice, down: Samples, room: Tensor) -> Tensor:
    """Some rows of enlarged planes, each between two samples; in the first half of room, the second is for the way."""
    import torch

    before, behind, share = down[0][rows], down[1][rows], down[2][rows]
    found, spare = room.unbind()
    if not share.any():
        return found.copy_(_rows(part, before, spare))
    torch.mul(_rows(part, before, spare), torch.from_numpy(1 - share)[:, None], out=found)
    return found.addcmul_(_rows(part, behind, spare), torch.from_numpy(share)[:, None])


def _rows(part: Tensor, places: Labels, room: Tensor) -> Tensor:
    """These rows of all planes: one of them, which goes with any number, where they are equal; else copied to room."""
    import torch

    first, last = int(places[0]), int(places[-1])
    if first == last:
        return part[:, first : first + 1]
    return torch.index_select(part, 1, torch.from_numpy(places), out=room)


def _samples(old: int, new: int) -> Samples:
    """Where `new` places lie between `old` samples, as torch computes it in float32, the product not rounded before the
    half is taken away."""
    at = float(np.float32(old) / np.float32(new)) * (np.arange(new) + 0.5) - 0.5
    at = np.clip(at, 0, old - 1).astype(np.float32)
    before = at.astype(np.int64)
    return before, np.minimum(before + 1, old - 1), at - before.astype(np.float32)


class Best:
    """The best scores (height, width) of `positions` planes, float32, and which these are; of equal ones the first.

    Where no score is above `least`, or one has overflowed (NaN), it is `nobody`.
    """

    def __init__(
        self, size: tuple[int, int], positions: int, device: Device, least: float = -math.inf, nobody: int = 0
    ) -> None:
        import torch

        self._there, self._nobody = device.type != "cpu", nobody
        self._fresh = self._there and math.isinf(least)  # where the first planes are all there is to choose from
        self._scores: Tensor | None = None
        self._top: Tensor | None = None
        if not self._fresh:
            self._scores = torch.full(size, least, dtype=torch.float32, device=device)
            self._where = torch.full(size, nobody, dtype=torch.int64, device=device) if self._there else None
        if self._there:
            return
        # On a CPU a position is told by its distance from the end, as a float: of such a CPU chooses ten times as fast.
        self._from_end = torch.full(size, positions - nobody, dtype=torch.float32, device="cpu")
        self._distances = torch.arange(positions, 0, -1, dtype=torch.float32, device="cpu")[:, None, None]

    @property
    def scores(self) -> Tensor:
        """The best of all, once there are some."""
        if self._scores is None:
            assert self._top is not None
            self._scores = self._top.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
        return self._scores

    @property
    def where(self) -> Tensor:
        """The positions: int32 on a CPU, int64 elsewhere."""
        if self._where is not None:
            return self._where
        found = (len(self._distances) - self._from_end).int()
        overflowed = self.scores.isnan() if math.isnan(float(self.scores.sum())) else None
        return found if overflowed is None else found.masked_fill_(overflowed, self._nobody)

    def take(self, rows: slice, part: Tensor, start: int) -> None:
        """The planes (planes, rows, width) of positions from `start` on; on a CPU they are written to."""
        import torch

        if self._fresh:
            return self._begin(*part.max(dim=0), start)
        best = self.scores[rows]
        if self._where is not None:
            top, index = part.max(dim=0)
            where = self._where[rows]
            torch.where(top > best, index + start if start else index, where, out=where)
            torch.fmax(best, top, out=best)
            return
        top, before, where = part.amax(dim=0), best.clone(), self._from_end[rows]
        # `max` would look for the plane number by number.
        found = part.eq_(top).mul_(self._distances[start : start + len(part)]).amax(dim=0)
        torch.maximum(before, top, out=best)
        torch.lerp(found, where, before.eq_(best), out=where)  # which is 0 or 1: the one, or the other

    def _begin(self, top: Tensor, index: Tensor, start: int) -> None:
        """The first planes, all rows of them, where there is no score yet: as `take` with the least there is, asked of
        a card in half as many steps."""
        known = top == top  # not what has overflowed
        self._top = top
        found = index + start if start else index
        self._where = found.where(known, self._nobody) if self._nobody else found.mul_(known)
        self._fresh = False


def lowest(size: tuple[int, int], device: Device) -> Tensor | None:
    """What all scores are above, to be joined with some rows at a time; nothing where all rows come at once."""
    import torch

    return torch.full(size, -math.inf, dtype=torch.float32, device=device) if device.type == "cpu" else None


def tallied(numbers: Tensor, places: int) -> Tensor:
    """How often each number from 0 to below `places` occurs (places,), where they are; nobody waits."""
    import torch

    flat = numbers.flatten()
    if flat.device.type == "cpu":
        return torch.bincount(flat, minlength=places)
    one = torch.ones(1, dtype=torch.int32, device=flat.device)
    return one.new_zeros(places).scatter_add_(0, flat, one.expand(len(flat)))


def _place(canvas: Tensor, box: Window) -> Tensor:
    return canvas[..., box.top : box.top + box.height, box.left : box.left + box.width]
