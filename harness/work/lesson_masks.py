"""A teacher's checked answers for an image flow in; a pseudo mask flows out, 65535 where the teacher is not sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import BACKGROUND, WIDE_IGNORED, LabelRule, MethodError, ProtocolSettings, WideTruth
from harness.protocol.decision import predict_views
from harness.protocol.offering import Offer
from harness.protocol.planes import Extremes, Planes
from harness.protocol.views import Cut

if TYPE_CHECKING:
    from torch import Tensor


class Whole(NamedTuple):
    """What a rule needs of a whole image to judge a part of it. extremes: where scores are scaled, between what they
    lie. margin: the least distance from best to second best that is sure, where a share is left out."""

    extremes: Extremes | None = None
    margin: float | None = None


def lesson(
    answers: Sequence[Any],
    cut: Cut,
    offered: Offer,
    size: tuple[int, int],
    settings: ProtocolSettings,
    rule: LabelRule,
    whole: Whole | None = None,
    planes: Sequence[int] | None = None,
) -> WideTruth:
    """The mask of `size` in the numbering of truths. MethodError when a rule for scores meets a label map.

    whole: of the whole image, where the answers are for a part of it. planes: see predict_views.
    """
    if answers[0].ndim == 2:
        if not rule.plain:
            raise MethodError(
                "the teacher gives label maps, and a label rule looks at scores: leave label_low, label_high and "
                "label_unsure at 0, or choose a teacher that gives scores"
            )
        return predict_views(answers, cut, offered, size, settings)
    distance, measure, where = _judged(Planes(answers, cut, planes or offered.planes()), size, rule, whole)
    numbers = np.array(offered.numbers, np.uint16)[where.cpu().numpy()]
    margin = None if whole is None else whole.margin
    if margin is None:
        margin = _least_sure(distance, measure, rule)
    taught = np.where(distance.cpu().numpy() >= margin, numbers, np.uint16(WIDE_IGNORED))
    if not rule.thresholded:
        return taught
    below = BACKGROUND if rule.below == "background" else WIDE_IGNORED
    low, middle = ((measure < edge).cpu().numpy() for edge in (rule.low, rule.high))
    return np.where(low, below, np.where(middle, WIDE_IGNORED, taught)).astype(np.uint16)


def of_whole(answers: Sequence[Any], cut: Cut, planes: Sequence[int], size: tuple[int, int], rule: LabelRule) -> Whole:
    """What of the checked scores of a whole image of `size` a rule needs for its parts."""
    held = Planes(answers, cut, planes)
    extremes = held.extremes() if rule.scales else None
    return Whole(extremes, _least_sure(*_judged(held, size, rule, None)[:2], rule) if rule.unsure else None)


def on_foreground(mask: WideTruth, truth: WideTruth) -> WideTruth:
    """The mask, left out where the truth says background or nothing."""
    return np.where((truth == BACKGROUND) | (truth == WIDE_IGNORED), np.uint16(WIDE_IGNORED), mask)


def positions(mask: WideTruth, offered: Offer) -> NDArray[np.int16 | np.int32]:
    """A mask in the numbering of truths -> positions of the vocabulary, its length for background, -1 for unsure."""
    fits = len(offered.numbers) <= np.iinfo(np.int16).max
    table = np.full(WIDE_IGNORED + 1, -1, np.int16 if fits else np.int32)
    table[BACKGROUND] = len(offered.numbers)
    for position, number in enumerate(offered.numbers):
        table[number] = position if number != BACKGROUND else len(offered.numbers)
    return np.asarray(table[mask])


def _judged(
    planes: Planes, size: tuple[int, int], rule: LabelRule, whole: Whole | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every pixel the distance from best to second best, the score that thresholds look at, its best position."""
    extremes = None if whole is None else whole.extremes
    best, second, where = _two_best(planes, size, rule.scales and rule.best == "scaled", extremes)
    measure = _of_the_best(planes, size, where, extremes) if rule.best == "raw" else best
    return best - second, measure, where


def _two_best(
    planes: Planes, size: tuple[int, int], minmax: bool, whole: Extremes | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Best and second-best score and best position of every pixel; the second is 0 where there is one class."""
    import torch

    best = torch.full(size, -torch.inf, dtype=torch.float32, device=planes.device)
    second = best.clone()
    where = torch.zeros(size, dtype=torch.int64, device=planes.device)
    for start, rows, part, _ in planes.stripes(size, minmax, whole):
        top, index = part.topk(min(2, len(part)), dim=0)
        rival = top[1] if len(top) > 1 else torch.full_like(top[0], -torch.inf)
        before, better = best[rows], top[0] > best[rows]
        second[rows] = torch.where(better, torch.maximum(before, rival), torch.maximum(second[rows], top[0]))
        where[rows] = torch.where(better, index[0] + start, where[rows])
        best[rows] = torch.where(better, top[0], before)
    return best, torch.where(second.isinf(), torch.zeros_like(second), second), where


def _of_the_best(planes: Planes, size: tuple[int, int], where: Tensor, whole: Extremes | None) -> Tensor:
    """The scaled score that every pixel has for the position that is its best."""
    import torch

    found = torch.zeros(size, dtype=torch.float32, device=planes.device)
    for start, rows, part, _ in planes.stripes(size, minmax=True, between=whole):
        place = where[rows] - start
        own = part.gather(0, place.clamp(0, len(part) - 1)[None])[0]
        found[rows] = torch.where((place >= 0) & (place < len(part)), own, found[rows])
    return found


def _least_sure(distance: Tensor, measure: Tensor, rule: LabelRule) -> float:
    """The least distance that is not among the smallest of the image's labelled pixels."""
    found, edge = distance.cpu().numpy(), max(rule.low, rule.high)
    labelled = found[(measure >= edge).cpu().numpy()] if rule.thresholded else found
    return float(np.quantile(labelled, rule.unsure)) if rule.unsure and labelled.size else -np.inf
