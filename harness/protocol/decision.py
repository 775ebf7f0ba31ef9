"""Answers of a method flow in, of an image or of its windows; a predicted map flows out, the same way for all methods.

Scores are enlarged bilinearly to the truth's size and decided there; min-max is taken at the resolution they come in
(at that of the resized image under windows). Where a method gives a plane a word, a class's best word counts, after
the softmax over all words. Classes go through in slices, so that memory does not grow with the vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from harness.contracts import BACKGROUND, NO_CLASS, WIDE_IGNORED, MethodError, ProtocolSettings, Scores, WideTruth
from harness.contracts.scales import extremes, stretched
from harness.protocol.offering import Offer
from harness.protocol.rules import SCALED, scale_of
from harness.protocol.views import Cut, Window

if TYPE_CHECKING:
    from torch import Tensor

Labels: TypeAlias = NDArray[np.int64]
Extremes: TypeAlias = "tuple[Tensor, Tensor]"  # (positions, 1, 1) each: what min-max makes 0 and 1
Answer: TypeAlias = "Tensor | Labels"  # of a method, checked: scores in float32, or positions

_SLICE_ELEMENTS = 2**24  # scores are enlarged in slices of classes of about this many numbers
_BELOW = -2  # a position that stands for the background in what `_decided` returns


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
    """The checked answers for every window of an image -> a predicted map of `size` in the numbering of truths.

    Scores are enlarged to their windows and averaged where windows overlap. Label maps of windows, and of an image that
    was resized, count as votes: scores that are 1 at the label and 0 elsewhere. planes: how many planes of the scores
    belong to each position, one if not given.
    """
    if len({answer.ndim for answer in answers}) > 1:
        raise MethodError("the method gave scores for one window of the image and a label map for another")
    if answers[0].ndim == 3:
        positions = _decided(Planes(answers, cut, planes or offered.planes()), size, settings, offered.numbers)
    elif len(answers) == 1 and answers[0].shape == size:
        positions = cast(Labels, answers[0])
    else:
        positions = _voted(Planes(answers, cut, offered.planes()), size)
    # The last two stand for _BELOW and NO_CLASS.
    numbers = np.array([*offered.numbers, BACKGROUND, _abstained(settings)], np.uint16)
    return numbers[positions]


def merged_planes(answers: Sequence[Answer], cut: Cut, planes: Sequence[int], size: tuple[int, int]) -> Tensor:
    """The checked scores of all windows of an image as planes (planes, height, width) of `size`, averaged where windows
    overlap. MethodError for label maps."""
    import torch

    if any(answer.ndim != 3 for answer in answers):
        raise MethodError("the method finishes scores, and it gave a label map")
    return torch.cat([words for _, _, words in Planes(answers, cut, planes).slices(size)])


def gives_planes_a_word(method: object) -> bool:
    """Whether a method declares that its scores have a plane a word (see harness.contracts)."""
    return bool(getattr(method, "plane_a_word", False))


def nothing_offered(size: tuple[int, int], settings: ProtocolSettings) -> WideTruth:
    """The predicted map where no class is offered: background where it is scored, else no class."""
    return np.full(size, _abstained(settings), np.uint16)


def _abstained(settings: ProtocolSettings) -> int:
    """What no class is: where the background is scored, the background."""
    return WIDE_IGNORED if settings.background == "ignored" else BACKGROUND


def checked_answer(answer: object, positions: int, size: tuple[int, int], planes: int | None = None) -> Answer:
    """A method's answer for an image of `size`: scores as a float32 tensor, or a label map as int64 positions.

    numpy's arrays may have any strides and byte order. MethodError when the form is wrong, a number is not finite, or
    a label is outside the vocabulary. planes: how many the scores have, where it is more than one a position.
    """
    found = plain(answer)
    axes = cast(Scores, found).ndim if _is_array(found) else None
    if axes == 3:
        return _checked_scores(found, positions, positions if planes is None else planes)
    if axes == 2:
        return _checked_map(found, positions, size)
    raise MethodError(
        f"the method gave {_describe(found)}; expected a label map (height, width) of integers or scores "
        "(classes, height, width) of floats"
    )


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


class Slice(NamedTuple):
    """Some positions, from the first on: their best planes and those of all their words, (.., height, width)."""

    start: int
    best: Tensor
    words: Tensor


class Planes:
    """Scores, or votes of label maps, of all windows as planes of the whole image, a slice of positions at a time.

    planes: how many planes of a score belong to each position; of several, which are its words', the best one counts.
    """

    def __init__(self, pieces: Sequence[Tensor | Labels], cut: Cut, planes: Sequence[int]) -> None:
        import torch  # in here, so that planning does without it

        self._pieces, self._cut, self._ends = pieces, cut, (0, *accumulate(planes))
        self.device = "cpu" if isinstance(pieces[0], np.ndarray) else pieces[0].device
        self._count = torch.zeros(cut.size if len(pieces) > 1 else (0, 0), dtype=torch.float32, device=self.device)
        for box in cut.boxes:
            _place(self._count, box).add_(1)

    def slices(self, size: tuple[int, int], minmax: bool = False, between: Extremes | None = None) -> Iterator[Slice]:
        """Every slice at `size`. minmax: the best planes of positions, each scaled to 0..1 before they are enlarged.

        between: the extremes that become 0 and 1, if they are not those of these planes.
        """
        from torch.nn.functional import interpolate

        for start, stop in self._steps(size):
            part = self._joined(start, stop)
            if minmax:
                part = self._best(part, start, stop)
                part = stretched(part, between=between and (between[0][start:stop], between[1][start:stop]))
            words = interpolate(part[None], size=size, mode="bilinear", align_corners=False)[0]
            yield Slice(start, words if minmax else self._best(words, start, stop), words)

    def extremes(self) -> Extremes:
        """The least and the largest score of every position, at the scores' own resolution."""
        import torch

        steps = self._steps(self._cut.size)
        found = [extremes(self._best(self._joined(start, stop), start, stop)) for start, stop in steps]
        low, high = (torch.cat(one) for one in zip(*found, strict=True))
        return low, high

    def _steps(self, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """First position and end of every slice of planes that are brought to a size."""
        largest = max(size[0] * size[1], self._cut.size[0] * self._cut.size[1])
        step, start, ends = max(1, _SLICE_ELEMENTS // largest), 0, self._ends
        for stop in range(1, len(ends)):
            if stop == len(ends) - 1 or ends[stop + 1] - ends[start] > step:
                yield start, stop
                start = stop

    def _best(self, words: Tensor, start: int, stop: int) -> Tensor:
        """Of every position from start to stop its best plane."""
        import torch

        bounds = [end - self._ends[start] for end in self._ends[start : stop + 1]]
        if len(words) == stop - start:
            return words
        return torch.stack([words[first:last].amax(dim=0) for first, last in pairwise(bounds)])

    def _joined(self, start: int, stop: int) -> Tensor:
        """Planes of some positions at the scores' own resolution, or, of several windows, their mean on the resized
        image."""
        from torch.nn.functional import interpolate

        start, stop = self._ends[start], self._ends[stop]
        if len(self._pieces) == 1:
            return self._part(self._pieces[0], start, stop)
        total = self._count.new_zeros((stop - start, *self._cut.size))
        for piece, box in zip(self._pieces, self._cut.boxes, strict=True):
            part, inside = self._part(piece, start, stop), (box.height, box.width)
            _place(total, box).add_(interpolate(part[None], size=inside, mode="bilinear", align_corners=False)[0])
        return total / self._count

    def _part(self, piece: Tensor | Labels, start: int, stop: int) -> Tensor:
        """Some planes of one window; those of a label map are 1 at the label and 0 elsewhere."""
        import torch

        if isinstance(piece, np.ndarray):
            numbered = torch.arange(start, stop, device="cpu")[:, None, None]
            return (torch.from_numpy(piece)[None] == numbered).to(torch.float32)
        return piece[start:stop].to(self.device)


def _place(canvas: Tensor, box: Window) -> Tensor:
    return canvas[..., box.top : box.top + box.height, box.left : box.left + box.width]


def _decided(planes: Planes, size: tuple[int, int], settings: ProtocolSettings, numbers: Sequence[int]) -> Labels:
    """Best position per pixel, or _BELOW where the background's score is better."""
    import torch

    around = [position for position, number in enumerate(numbers) if number == BACKGROUND]
    best, where = _best_of(planes, size, settings, around)
    if settings.area_thd and (small := _too_small(where, numbers, settings.area_thd)):
        best, where = _best_of(planes, size, settings, around, small)
    if settings.background in SCALED:
        where = torch.where(_is_background(best, settings), _BELOW, where)
    found: Labels = where.cpu().numpy()
    return found


def _best_of(
    planes: Planes,
    size: tuple[int, int],
    settings: ProtocolSettings,
    around: Sequence[int],
    without: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """The best scaled score of every pixel and its position, the first of equals, but the background before all.

    around: positions of the background. without: positions that are given nothing; what they are worth stays in a
    softmax's denominator.
    """
    import torch

    scale = scale_of(settings)
    best = torch.full(size, -torch.inf, dtype=torch.float32, device=planes.device)
    where = torch.zeros(size, dtype=torch.int64, device=planes.device)
    total, behind = best.clone(), best.clone()  # logarithm of the softmax's denominator; the background's best
    for start, part, words in planes.slices(size, minmax=scale == "minmax"):
        if scale == "softmax":
            total = torch.logaddexp(total, (settings.logit_scale * words).logsumexp(dim=0))
        if out := _within(without, start, part):
            part = part.index_fill(0, torch.tensor(out, device=part.device), -torch.inf)
        if near := _within(around, start, part):
            behind = behind.maximum(part[near].amax(dim=0))
        top, index = part.max(dim=0)
        better = top > best
        best = torch.where(better, top, best)
        where = torch.where(better, index + start, where)
    if around:
        where = torch.where(behind == best, around[0], where)
    if scale == "softmax":
        best = (settings.logit_scale * best - total).exp()
    return best, where


def _within(positions: Sequence[int], start: int, part: Tensor) -> list[int]:
    """The places in a slice of those positions that are in it."""
    return [position - start for position in positions if start <= position < start + len(part)]


def _too_small(where: Tensor, numbers: Sequence[int], share: float) -> list[int]:
    """The positions of classes that are best at no more than that share of the pixels where a class is (SCLIP)."""
    areas = where.flatten().bincount(minlength=len(numbers)).tolist()
    classes = [position for position, number in enumerate(numbers) if number != BACKGROUND]
    least = share * sum(areas[position] for position in classes)
    return [position for position in classes if areas[position] <= least]


def _is_background(best: Tensor, settings: ProtocolSettings) -> Tensor:
    """Where the background's score, a function of the best scaled score, is above it (iSeg: power, FTTM: hinge)."""
    if settings.background == "power":
        return (1 - best).clamp(min=0) ** settings.power > best
    if settings.background == "hinge_power":
        return (2 * settings.threshold - best) ** 2 > best
    return best < settings.threshold


def _voted(planes: Planes, size: tuple[int, int]) -> Labels:
    """The position with most votes per pixel, the first of equals; no class where nobody votes."""
    import torch

    best = torch.zeros(size, dtype=torch.float32, device="cpu")
    where = torch.full(size, NO_CLASS, dtype=torch.int64, device="cpu")
    for start, part, _ in planes.slices(size):
        top, index = part.max(dim=0)
        better = top > best
        best = torch.where(better, top, best)
        where = torch.where(better, index + start, where)
    found: Labels = where.numpy()
    return found


def _checked_scores(answer: Any, positions: int, planes: int) -> Tensor:
    """Scores as a float32 tensor, where they are; MethodError when their form is wrong or a number is not finite."""
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
        raise MethodError(f"the method gave scores of shape {shape}; {positions} classes were offered{words}")
    if not torch.is_floating_point(scores):
        raise MethodError(f"the method gave scores of type {scores.dtype}; expected floating point")
    scores = scores.detach().to(torch.float32)
    if not bool(torch.isfinite(scores).all()):
        raise MethodError("the method gave scores that are not finite (NaN or infinity)")
    return scores


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
            f"the method gave labels from {low} to {high}; {positions} classes were offered (0 to {positions - 1}, "
            f"or {NO_CLASS} for no class)"
        )
    return labels.astype(np.int64)


def _describe(answer: Any) -> str:
    shape = answer.shape if _is_array(answer) else None
    return f"a {type(answer).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
