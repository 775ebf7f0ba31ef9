"""Answers of a method flow in, as arrays; whether they fit the contract and equal each other flows out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import ProtocolSettings, Query, WideTruth
from harness.protocol.decision import gives_planes_a_word, plain, predict
from harness.protocol.offering import Offer

SAME_SHAPE = 1e-6  # scores of equal calls may differ by this share of the largest one
OTHER_SHAPE = 1e-3  # and those of calls of another batch size by this; beyond it the label maps decide
FEW_PIXELS = 0.01  # share of pixels whose label may hang on the last bits of a score


class Off(Exception):
    """A promise is not kept; the message is the sentence."""


def array_of(answer: Any) -> NDArray[Any]:
    """An answer as an array of its own, so that nobody can change it later; tensors come from their device."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        answer = answer.float() if answer.is_floating_point() else answer
    return np.array(plain(answer))


def decided(answer: NDArray[Any], query: Query, method: object) -> WideTruth:
    """The label map after the harness's own decision on a method's answer; MethodError says what is wrong with it."""
    height, width, _ = query.image.shape
    offered = Offer(query.vocabulary, tuple(range(1, len(query.vocabulary) + 1)))
    return predict(answer, offered, (height, width), ProtocolSettings(), gives_planes_a_word(method))


def expect_equal(one: NDArray[Any], other: NDArray[Any], when: str) -> None:
    if found := difference(one, other, SAME_SHAPE):
        raise Off(f"{when}, it gives another answer: {found}")


def difference(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> str:
    """What differs between two answers, in words; empty when nothing does."""
    if one.shape != other.shape:
        return f"the shape is {one.shape} and then {other.shape}"
    if one.dtype.kind in "iub":
        count = int((one != other).sum())
        return f"{count} of {one.size} pixels have another label" if count else ""
    gap = gap_between(one, other)
    return "" if gap <= tolerance else f"scores differ by up to {gap:.1e} of the largest"


def gap_between(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference, as a share of the largest number; NaN where there is one."""
    if not one.size:
        return 0.0
    largest = float(np.abs(one).max())
    return float(np.abs(one.astype(np.float64) - other).max()) / (largest or 1.0)


def described(answer: NDArray[Any]) -> str:
    kind = "scores" if answer.ndim == 3 else "label map"
    return f"{kind} {'x'.join(map(str, answer.shape))} {answer.dtype}"
