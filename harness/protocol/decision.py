"""Answers of a method flow in, of an image or of its windows; a predicted map flows out, the same way for all methods.

Scores are enlarged bilinearly to the truth's size and decided there, where they are (see `planes`); min-max is taken at
the resolution they come in (at that of the resized image under windows). Where a method gives a plane a word, a class's
best word counts, after the softmax over all words.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from harness.contracts import BACKGROUND, NO_CLASS, WIDE_IGNORED, MethodError, ProtocolSettings, Scores, WideTruth
from harness.errors import several
from harness.protocol.offering import Offer
from harness.protocol.planes import Answer, Best, Planes, lowest, tallied
from harness.protocol.rules import SCALED, scale_of
from harness.protocol.views import Cut, Window

if TYPE_CHECKING:
    from torch import Tensor

BELOW = -2  # a position that stands for the background
NOT_FINITE = "the method gave scores that are not finite (NaN or infinity)"


def predict(
    answer: object, offered: Offer, size: tuple[int, int], settings: ProtocolSettings, plane_a_word: bool = False
) -> WideTruth:
    """The answer for a whole image -> a predicted map of `size` (height, width) in the numbering of truths.

    Scores (3 axes) can have any resolution; a label map (2 axes) must already have that size. Raises MethodError when
    the answer breaks the contract. plane_a_word: scores have a plane for every word of every position.
    """
    if not offered.tells_apart:
        return nothing_offered(size, settings)
    planes = offered.planes(plane_a_word)
    answers = [checked_answer(answer, len(offered.vocabulary), size, sum(planes))]
    return predict_views(answers, Cut(size, (Window(0, 0, *size),)), offered, size, settings, planes)


def predict_views(
    answers: Sequence[Answer],
    cut: Cut,
    offered: Offer,
    size: tuple[int, int],
    settings: ProtocolSettings,
    planes: Sequence[int] | None = None,
) -> WideTruth:
    """The checked answers for every window of an image -> a predicted map of `size` in the numbering of truths; see
    `decided_positions`."""
    found = decided_positions(answers, cut, offered, size, settings, planes)
    return numbered(found.cpu().numpy(), offered, settings)


def decided_positions(
    answers: Sequence[Answer],
    cut: Cut,
    offered: Offer,
    size: tuple[int, int],
    settings: ProtocolSettings,
    planes: Sequence[int] | None = None,
) -> Tensor:
    """The checked answers for every window of an image -> the position of every pixel, whole numbers of `size`, where
    they are; BELOW stands for the background.

    Scores are enlarged to their windows and averaged where windows overlap. Label maps of windows, and of an image that
    was resized, count as votes: scores that are 1 at the label and 0 elsewhere. planes: how many planes of the scores
    belong to each position, one if not given.
    """
    import torch

    if len({answer.ndim for answer in answers}) > 1:
        raise MethodError("the method gave scores for one window of the image and a label map for another")
    if answers[0].ndim == 3:
        classes = sum(number != BACKGROUND for number in offered.numbers)  # the background's positions are the last
        return _decided(Planes(answers, cut, planes or offered.planes()), size, settings, classes)
    if len(answers) == 1 and answers[0].shape == size:
        return torch.from_numpy(answers[0]).int()
    return _voted(Planes(answers, cut, offered.planes()), size)


def numbered(positions: NDArray[np.integer[Any]], offered: Offer, settings: ProtocolSettings) -> WideTruth:
    """Positions, BELOW and NO_CLASS among them, in the numbering of truths."""
    found: WideTruth = numbers_by_place(offered, settings)[positions]
    return found


def numbers_by_place(offered: Offer, settings: ProtocolSettings) -> WideTruth:
    """The numbers of all positions, and as its last two those of BELOW and of NO_CLASS."""
    return np.array([*offered.numbers, BACKGROUND, _abstained(settings)], np.uint16)


def merged_planes(answers: Sequence[Answer], cut: Cut, planes: Sequence[int], size: tuple[int, int]) -> Tensor:
    """The checked scores of all windows of an image as planes (planes, height, width) of `size`, averaged where windows
    overlap. MethodError for label maps."""
    if any(answer.ndim != 3 for answer in answers):
        raise MethodError("the method finishes scores, and it gave a label map")
    return Planes(answers, cut, planes).whole(size)


def gives_planes_a_word(method: object) -> bool:
    """Whether a method declares that its scores have a plane a word (see harness.contracts)."""
    return bool(getattr(method, "plane_a_word", False))


def nothing_offered(size: tuple[int, int], settings: ProtocolSettings) -> WideTruth:
    """The predicted map where no class is offered: background where it is scored, else no class."""
    return np.full(size, _abstained(settings), np.uint16)


def _abstained(settings: ProtocolSettings) -> int:
    """What no class is: where the background is scored, the background."""
    return WIDE_IGNORED if settings.background == "ignored" else BACKGROUND


def checked_answer(
    answer: object,
    positions: int,
    size: tuple[int, int],
    planes: int | None = None,
    later: list[Tensor] | None = None,
) -> Answer:
    """A method's answer for an image of `size`: scores as a float32 tensor, or a label map as int64 positions.

    numpy's arrays may have any strides and byte order. MethodError when the form is wrong, a number is not finite, or
    a label is outside the vocabulary. planes: how many the scores have, where it is more than one a position. later:
    takes the least and the largest score of what is not on the CPU, for `all_finite`, once somebody waits anyway.
    """
    found = plain(answer)
    axes = cast(Scores, found).ndim if _is_array(found) else None
    if axes == 3:
        scores = _checked_scores(found, positions, positions if planes is None else planes)
        _check_finite(scores, later)
        return scores
    if axes == 2:
        return _checked_map(found, positions, size)
    raise MethodError(
        f"the method gave {_describe(found)}; expected a label map (height, width) of integers or scores "
        "(classes, height, width) of floats"
    )


def all_finite(edges: Sequence[float]) -> bool:
    """Whether scores between these are numbers: the least and the largest of what holds NaN are NaN."""
    return all(map(math.isfinite, edges))


def bare(answer: object) -> object:
    """The numbers of an answer without the class of its own that may hold them, whose code would run at every look;
    what holds no numbers as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(answer, torch.Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return answer if type(answer) is torch.Tensor else answer.as_subclass(torch.Tensor)
    masked = isinstance(answer, np.ma.MaskedArray)
    return np.asarray(answer) if _is_array(answer) and not masked else answer


def _is_array(answer: object) -> bool:
    """A tensor, or what numpy can read as an array; its class is asked, not itself."""
    return hasattr(type(answer), "__array__")


def plain(answer: object) -> object:
    """An array of numpy as torch can read it: in one piece, in this machine's byte order; anything else as it is.

    MethodError for a masked array, whose holes would count as what lies under them.
    """
    if isinstance(answer, np.ma.MaskedArray):
        raise MethodError(
            "the method gave a masked array; give a plain one, with its holes filled: `.filled(-1)` for a label map"
        )
    if not isinstance(answer, np.ndarray):
        return answer
    wide = answer.dtype.kind == "f" and answer.dtype.itemsize > 8  # numpy's longdouble, which torch does not have
    found = np.ascontiguousarray(answer, np.float64 if wide else answer.dtype.newbyteorder("="))
    return found if found.flags.writeable else found.copy()  # torch warns of arrays that it may not write to


def _decided(planes: Planes, size: tuple[int, int], settings: ProtocolSettings, classes: int) -> Tensor:
    """Best position per pixel, or BELOW where the background's score is better."""
    best, where = _best_of(planes, size, settings, classes)
    if settings.area_thd:
        small = _too_small(where, planes.positions, classes, settings.area_thd)
        if planes.device.type != "cpu" or bool(small.any()):  # to look costs a wait elsewhere, as much as to decide
            best, where = _best_of(planes, size, settings, classes, small)
    if best is None:
        return where
    if planes.device.type != "cpu":
        return where.where(_is_class(best, settings), BELOW)
    return (where - BELOW).mul_(_is_class(best, settings)).add_(BELOW)  # a CPU's `where` is five times as slow


def _best_of(
    planes: Planes, size: tuple[int, int], settings: ProtocolSettings, classes: int, without: Tensor | None = None
) -> tuple[Tensor | None, Tensor]:
    """The best scaled score of every pixel, where somebody asks, and its position, the first of equals, but the
    background before all.

    classes: how many positions are classes; those behind them are the background's. without: by position, whether it is
    given nothing; what it is worth stays in a softmax's denominator.
    """
    import torch

    scale = scale_of(settings)
    found = Best(size, planes.positions, planes.device)
    shares, around = scale == "softmax", planes.positions > classes
    total = lowest(size, planes.device) if shares else None  # logarithm of the denominator
    behind = lowest(size, planes.device) if around else None  # the background's best
    for start, rows, part, words in planes.stripes(size, minmax=scale == "minmax"):
        if shares:
            total = _joined(total, rows, (settings.logit_scale * words).logsumexp(dim=0), torch.logaddexp)
        if start + len(part) > classes:
            behind = _joined(behind, rows, part[max(classes - start, 0) :].amax(dim=0), torch.maximum)
        if without is not None:
            part = part.masked_fill(without[start : start + len(part), None, None], -torch.inf)
        found.take(rows, part, start)
    where = found.where
    if behind is not None:
        where = torch.where(behind == found.scores, classes, where)
    if settings.background not in SCALED:
        return None, where
    return found.scores if total is None else (settings.logit_scale * found.scores - total).exp(), where


def _joined(whole: Tensor | None, rows: slice, part: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A canvas with some rows joined with a part; the part itself where there is none yet."""
    if whole is None:
        return part
    whole[rows] = join(whole[rows], part)
    return whole


def _too_small(where: Tensor, positions: int, classes: int, share: float) -> Tensor:
    """By position, whether it is a class that is best at no more than that share of the pixels where a class is
    (SCLIP)."""
    areas = tallied(where, positions).double()
    small = areas <= share * areas[:classes].sum()
    small[classes:] = False
    return small


def _is_class(best: Tensor, settings: ProtocolSettings) -> Tensor:
    """Where the background's score, a function of the best scaled score, is not above it (iSeg: power, FTTM: hinge);
    not where that has overflowed."""
    if settings.background == "power":
        return (1 - best).clamp(min=0) ** settings.power <= best
    if settings.background == "hinge_power":
        return (2 * settings.threshold - best) ** 2 <= best
    return best >= settings.threshold


def _voted(planes: Planes, size: tuple[int, int]) -> Tensor:
    """The position with most votes per pixel, the first of equals; no class where nobody votes."""
    found = Best(size, planes.positions, planes.device, 0.0, NO_CLASS)
    for start, rows, part, _ in planes.stripes(size):
        found.take(rows, part, start)
    return found.where


def _checked_scores(answer: Any, positions: int, planes: int) -> Tensor:
    """Scores as a float32 tensor, where they are; MethodError when their form is wrong."""
    import torch

    if isinstance(answer, np.ndarray) and answer.dtype.kind not in "fiub":
        raise MethodError(f"the method gave scores of type {answer.dtype}; expected floating point")
    scores = answer if isinstance(answer, torch.Tensor) else torch.as_tensor(answer, device="cpu")
    if scores.layout != torch.strided or scores.is_meta:
        kind = "without memory (meta)" if scores.is_meta else "that is sparse"
        raise MethodError(f"the method gave a tensor {kind} as scores; give a plain one (`.to_dense()`)")
    if scores.shape[0] != planes or 0 in scores.shape:
        words = f" with {planes} words, and it gives a plane a word" if planes != positions else ""
        shape = tuple(scores.shape)
        raise MethodError(f"the method gave scores of shape {shape}; it was offered {_classes(positions)}{words}")
    if not torch.is_floating_point(scores):
        raise MethodError(f"the method gave scores of type {scores.dtype}; expected floating point")
    if scores.dtype == torch.float64:
        _check_not_lost(scores.detach())
    return scores.detach().to(torch.float32)


def _check_not_lost(scores: Tensor) -> None:
    """MethodError where the best score of a pixel is too small for float32: all would be 0 there, and the first class
    would win. Products of many likelihoods look like that; what loses may become 0."""
    import torch

    best = scores.amax(dim=0).abs()
    if bool(((best > 0) & (best < torch.finfo(torch.float32).tiny)).any()):
        raise MethodError(
            "the method gave scores in double precision that are too small for the single precision in which they are "
            "decided, so that their order would be lost; scale them, or give their logarithms"
        )


def _check_finite(scores: Tensor, later: list[Tensor] | None) -> None:
    import torch

    edges = torch.aminmax(scores)
    if later is not None and scores.device.type != "cpu":
        later += edges
    elif not all_finite([float(edge) for edge in edges]):
        raise MethodError(NOT_FINITE)


def _checked_map(answer: Any, positions: int, size: tuple[int, int]) -> NDArray[np.int64]:
    """A label map as int64 positions; MethodError when size, type or range is wrong."""
    labels = np.asarray(answer.cpu() if hasattr(answer, "cpu") else answer)
    if labels.shape != size:
        raise MethodError(f"the method gave a label map of {labels.shape}; the image is {size} (height, width)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise MethodError(f"the method gave a label map of type {labels.dtype}; expected integers")
    low, high = int(labels.min()), int(labels.max())
    if low < NO_CLASS or high >= positions:
        raise MethodError(
            f"the method gave labels from {low} to {high}; it was offered {_classes(positions)} (0 to {positions - 1}, "
            f"or {NO_CLASS} for no class)"
        )
    return labels.astype(np.int64)


def _classes(number: int) -> str:
    return several(number, "class", "classes")


def _describe(answer: Any) -> str:
    shape = answer.shape if _is_array(answer) else None
    return f"a {type(answer).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
