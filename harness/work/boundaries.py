"""A prediction against a truth -> boundary counts: by class, the pixels at its boundary in both, and in either.

As published (Boundary IoU, see docs/report.md): the boundary of a class is what an erosion takes from it, which works
inwards by 2 % of the image's diagonal and comes in from the image's edge too. Pixels that are not scored belong to no
class, in the prediction as in the truth. Counted where the positions are, CPU or not; a small table comes home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import BACKGROUND, WIDE_IGNORED, ProtocolSettings, WideTruth, boundary_width
from harness.contracts.sending import sent
from harness.protocol.decision import numbers_by_place
from harness.protocol.offering import Offer
from harness.protocol.planes import tallied
from harness.work.scoring import TruthThere

if TYPE_CHECKING:
    from torch import Tensor


class BoundariesThere:
    """The boundaries of one image's truth, found once for all runs that score the same pixels of it."""

    def __init__(self, truth: TruthThere) -> None:
        self._truth = truth
        self._there: dict[Any, tuple[Tensor, Tensor]] = {}

    def table(self, positions: Tensor, offered: Offer, settings: ProtocolSettings) -> Tensor:
        """Whole numbers (2 x classes,), where the positions (height, width) are: by number of a class the
        intersections, then the unions. BELOW and NO_CLASS may be among the positions."""
        return self._of_numbers(positions, numbers_by_place(offered, settings), settings)

    def of_map(self, predicted: WideTruth, settings: ProtocolSettings) -> NDArray[np.int64]:
        """The counts (see `by_class`) of a predicted map that is at home, in the numbering of truths."""
        import torch

        numbers, places = np.unique(predicted, return_inverse=True)
        positions = torch.from_numpy(places.reshape(predicted.shape).astype(np.int32))
        return by_class(self._of_numbers(positions, numbers, settings).numpy())

    def _of_numbers(self, positions: Tensor, numbers: WideTruth, settings: ProtocolSettings) -> Tensor:
        """numbers: by position, the class in the numbering of truths."""
        import torch

        true, edges = self._on(positions.device, settings.background == "ignored")
        none = max(len(self._truth.values) - 1, int((numbers + np.uint16(1)).max(initial=0)))  # 65535 + 1 is 0
        by_place = np.where(numbers == WIDE_IGNORED, none, numbers).astype(np.int32)
        given = sent(torch.from_numpy(by_place), positions.device)[positions]
        true = torch.where(true < 0, none, true)
        given = torch.where(true == none, none, given)
        seen = at_boundary(given, given == none)
        parts = (true, edges & seen & (true == given)), (true, edges), (given, seen)
        both, labelled, shown = (tallied(torch.where(at, one, none), none + 1)[:none] for one, at in parts)
        return torch.cat([both, labelled + shown - both])

    def _on(self, device: Any, ignored: bool) -> tuple[Tensor, Tensor]:
        """The truth (height, width), -1 where it is not scored, and where it has a boundary. ignored: the background
        is not scored."""
        if (device, ignored) not in self._there:
            true = self._truth.on(device).int()
            out = true == len(self._truth.values) - 1
            out = out | (true == BACKGROUND) if ignored else out
            true = true.masked_fill(out, -1)
            self._there[device, ignored] = true, at_boundary(true, out)
        return self._there[device, ignored]


def at_boundary(labels: Tensor, without: Tensor) -> Tensor:
    """The pixels (height, width) that lie at the boundary of their own class; none of those `without` a class.

    Classes share no pixel, so an erosion leaves a pixel exactly where all of the square around it have its class: where
    no two neighbours in it differ. How many do is a difference of running sums, whatever the square's side.
    """
    import torch

    width = boundary_width(tuple(labels.shape))
    wide = torch.nn.functional.pad(labels, (width, width, width, width), value=-2)
    mixed = _changes(wide, 1, width) > 0  # rows of a square
    upright = _changes(wide[:, width:-width], 0, width) > 0  # the column in its middle
    sums = torch.nn.functional.pad(mixed.cumsum(0, dtype=torch.int32), (0, 0, 1, 0))
    return (upright | (sums[2 * width + 1 :] > sums[: -2 * width - 1])) & ~without


def _changes(labels: Tensor, axis: int, width: int) -> Tensor:
    """How many neighbours along an axis differ, from `width` before each place to `width` behind it, where both are."""
    import torch

    last = labels.shape[axis] - 1
    differ = labels.narrow(axis, 1, last) != labels.narrow(axis, 0, last)
    sums = differ.cumsum(axis, dtype=torch.int32)
    sums = torch.nn.functional.pad(sums, (1, 0) if axis else (0, 0, 1, 0))
    left = last + 1 - 2 * width
    return sums.narrow(axis, 2 * width, left) - sums.narrow(axis, 0, left)


def by_class(table: NDArray[Any]) -> NDArray[np.int64]:
    """What a table stands for, as a row has it: number, intersection and union (classes, 3) of every class that has a
    boundary."""
    both, either = table.reshape(2, -1).astype(np.int64)
    there = np.flatnonzero(either)
    return np.stack([there, both[there], either[there]], axis=1)
