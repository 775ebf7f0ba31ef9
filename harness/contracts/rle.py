"""Run lengths in COCO's form flow in; boolean masks flow out.

Source: the COCO API's format. Runs go down the columns and alternate, first outside, then inside. In the text form
each run is a signed number in groups of five bits, lowest first: a character minus 48 has the five bits, 32 when more
follow, and in the last group 16 as the sign. From the fourth run on, it is the difference to the run two before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_OFFSET, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def decode_rle(counts: str | Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of run lengths, as text or as numbers. ValueError when they do not fill it exactly."""
    runs = np.asarray(runs_of_text(counts) if isinstance(counts, str) else list(counts), dtype=np.int64)
    if runs.size and runs.min() < 0:
        raise ValueError("a run is negative")
    if int(runs.sum()) != height * width:
        raise ValueError(f"the runs cover {int(runs.sum())} pixels, the image has {height * width}")
    inside = np.arange(runs.size) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def runs_of_text(text: str) -> list[int]:
    """The run lengths in COCO's text form. ValueError at a foreign character or an unfinished number."""
    runs: list[int] = []
    number, shift = 0, 0
    for character in text:
        group = ord(character) - _OFFSET
        if not 0 <= group < 2 * _MORE:
            raise ValueError(f"{character!r} is no character of run lengths")
        number |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError("the last run is unfinished")
    return runs
