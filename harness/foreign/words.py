"""Addresses in the memory of this process flow in; the words of 8 bytes that stand there flow out, all read at once.

numpy gathers thousands of them in a few microseconds, many times as fast as Python asks one object after the other. Who
asks has to hold what lives there: it must go on to live.
"""

from __future__ import annotations

import ctypes
import operator
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 8  # bytes
FEW = 8  # words that are read one by one: for so few numpy is the slower way
_value: Callable[[Any], int] = operator.attrgetter("value")
_map = map  # Python's own: this is asked before it is known whether somebody put another one there


class _Memory:
    """All memory from an address on, as an array that nobody can write to."""

    def __init__(self, first: int, words: int) -> None:
        self.__array_interface__ = {"version": 3, "typestr": "=u8", "shape": (words,), "data": (first, True)}


class Addresses:
    """The words at some addresses, all of them multiples of a word. now: what stands there, one after the other; by
    verbs that nobody can replace, and 8 bytes a word."""

    def __init__(self, addresses: Iterable[int]) -> None:
        places = [*addresses]
        self.now: Callable[[], bytes] = _one_by_one(places) if len(places) <= FEW else _at_once(places)


def _one_by_one(places: list[int]) -> Callable[[], bytes]:
    cells = [ctypes.c_uint64.from_address(place) for place in places]
    return lambda: array("Q", _map(_value, cells)).tobytes()


def _at_once(places: list[int]) -> Callable[[], bytes]:
    found = np.array(places, np.int64)
    first = int(found.min())
    numbers = (found - first) // WORD
    memory: NDArray[np.uint64] = np.asarray(_Memory(first, int(numbers.max()) + 1))
    take = partial(memory.take, numbers)
    return lambda: take().tobytes()


def as_numbers(words: bytes) -> list[int]:
    """One of each."""
    return memoryview(words).cast("Q").tolist()
