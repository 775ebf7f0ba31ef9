"""A prediction against a truth -> overlaps: how many pixels of which true class were given which class.

Positions are counted where they are, CPU or not, against a truth that was brought there once an image; what comes home
is a small table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import BACKGROUND, WIDE_IGNORED, ProtocolSettings, WideTruth
from harness.contracts.sending import sent
from harness.protocol.decision import BELOW, numbers_by_place
from harness.protocol.offering import Offer, scored_truth
from harness.protocol.planes import tallied

if TYPE_CHECKING:
    from torch import Tensor

MISTAKEN = 256  # the number of the class whose label, counted from 0, is 255
_TABLE = 2**16  # places: what 16 bits tell apart
_MOST = 2**22  # places of a table by position; where there are more, a map comes home


class Overlaps(NamedTuple):
    """Sparse confusion matrix of one image: parallel int64 arrays sorted by (true, predicted), every count above 0."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    pixels: NDArray[np.int64]


class TruthThere:
    """The truth of one image, brought once to every device on which an answer is counted, however many runs there are.

    values: the numbers that it may hold, in order; there a pixel has the place of its number among them.
    """

    def __init__(self, truth: WideTruth) -> None:
        self._truth = truth
        self._there: dict[Any, Tensor] = {}

    @cached_property
    def values(self) -> NDArray[np.int64]:
        highest = int((self._truth + np.uint16(1)).max(initial=0))  # 65535 + 1 is 0
        return np.array([*range(highest), WIDE_IGNORED])

    def on(self, device: Any) -> Tensor:
        """(height, width), as narrow as its values allow."""
        import torch

        if device not in self._there:
            last = len(self.values) - 1
            kind = np.uint8 if last < 2**8 else np.int16 if last < 2**15 else np.int32
            self._there[device] = sent(torch.from_numpy(np.minimum(self._truth, last).astype(kind)), device)
        return self._there[device]

    def table(self, positions: Tensor, count: int) -> Tensor | None:
        """How many pixels of which value were given which position, BELOW and NO_CLASS before the others: whole
        numbers (values x (2 + count),), where the positions are. None where a table would be too large."""
        places = count - BELOW
        if len(self.values) * places > _MOST:
            return None
        pairs = (positions - BELOW).add_(self.on(positions.device), alpha=places)
        return tallied(pairs, len(self.values) * places)

    def overlaps(self, table: NDArray[Any], offered: Offer, settings: ProtocolSettings) -> Overlaps:
        """The overlaps that a table stands for."""
        counts = table.reshape(len(self.values), -1)
        value, place = counts.nonzero()
        true = self.values[value]
        if settings.background == "ignored":
            true = np.where(true == BACKGROUND, WIDE_IGNORED, true)
        scored = true != (MISTAKEN if settings.void_counts else WIDE_IGNORED)
        given = np.roll(numbers_by_place(offered, settings), -BELOW)[place]
        return _summed(true[scored], given[scored], counts[value, place][scored])

    def overlaps_of(self, predicted: WideTruth, settings: ProtocolSettings) -> Overlaps:
        """The same of a predicted map in the numbering of truths."""
        count = overlaps_with_void if settings.void_counts else overlaps
        return count(scored_truth(self._truth, settings), predicted)


def _summed(true: NDArray[np.int64], given: NDArray[np.uint16], pixels: NDArray[np.int64]) -> Overlaps:
    """Overlaps of pairs that may occur more than once."""
    pairs, which = np.unique(true << 16 | given, return_inverse=True)
    found = np.zeros(len(pairs), np.int64)
    np.add.at(found, which, pixels)
    return Overlaps(*np.divmod(pairs, _TABLE), found)


def brought_home(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Tensors, flat, as many as there are, by one wait for every device on which they are: all of them travel as the
    bytes of one."""
    import torch

    kinds: dict[Any, list[int]] = {}
    for number, one in enumerate(tensors):
        kinds.setdefault((one.device, one.dtype), []).append(number)
    found: dict[int, NDArray[Any]] = {}
    for device in dict.fromkeys(device for device, _ in kinds):
        own = [numbers for (place, _), numbers in kinds.items() if place == device]
        parts = [torch.cat([tensors[number].flatten() for number in numbers]) for numbers in own]
        home = torch.cat([part.view(torch.uint8) for part in parts]).cpu()
        ends = accumulate(part.numel() * part.element_size() for part in parts)
        for numbers, part, end in zip(own, parts, ends, strict=True):
            flat = home[end - part.numel() * part.element_size() : end].clone().view(part.dtype).numpy()
            lengths = accumulate(tensors[number].numel() for number in numbers)
            found |= dict(zip(numbers, np.split(flat, [*lengths][:-1]), strict=True))
    return [found[number] for number in range(len(tensors))]


def overlaps_with_void(truth: WideTruth, predicted: WideTruth) -> Overlaps:
    """As evaluators do that know 255 alone as ignored, of labels in 16 bits (forks of mmseg on ADE-847 and PC-459).

    What is predicted where nothing is scored is counted, with 65535 as the truth; the 256th class, their label 255, is
    not scored at all.
    """
    kept = truth != MISTAKEN
    truth, predicted = truth[kept], predicted[kept]
    known = overlaps(truth, predicted)
    given, pixels = np.unique(predicted[truth == WIDE_IGNORED].astype(np.int64), return_counts=True)
    void = np.full(given.size, WIDE_IGNORED, np.int64)
    return Overlaps(*(np.concatenate(pair) for pair in zip(known, (void, given, pixels), strict=True)))


def overlaps(truth: WideTruth, predicted: WideTruth) -> Overlaps:
    """Count pixel pairs where the truth is not 65535. Both arrays are (height, width) in the numbering of truths.

    Where a pair fits into 16 bits, pairs are counted in a table; else they are sorted, as numbers of 32 bits. So
    neither time nor memory grows with the square of the classes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}: counts need equal sizes")
    scored = truth != WIDE_IGNORED
    highest, side = (int((labels + np.uint16(1)).max(initial=0)) for labels in (truth, predicted))  # 65535 + 1 is 0
    if max(highest, 1) * (side + 1) < _TABLE:
        pairs = truth * np.uint16(side + 1)  # 16 bits: what wraps around is ignored
        pairs += np.minimum(predicted, np.uint16(side))  # the last place is for no class
        table = np.bincount(pairs[scored])
        found = np.flatnonzero(table)
        true, given = np.divmod(found, side + 1)
        return Overlaps(true, np.where(given == side, WIDE_IGNORED, given), table[found])
    found, pixels = np.unique(truth[scored].astype(np.uint32) << np.uint32(16) | predicted[scored], return_counts=True)
    true, given = np.divmod(found.astype(np.int64), _TABLE)
    return Overlaps(true, given, pixels)
