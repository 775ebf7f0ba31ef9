"""Functions flow in; whether somebody gave one of them other code or defaults flows out.

Asking a function for its code is dear, and is told to every audit hook. So what is looked at first is where its code
and defaults lie: the addresses that it holds. Where this Python does not show them, it is all that hangs on functions.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from harness.foreign.words import WORD, Addresses, as_numbers

MADE: Callable[[FunctionType], tuple[Any, ...]] = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__")


def _places() -> tuple[int, ...]:
    """How far behind a function's address those of its code and defaults stand; nothing where they do not."""
    if sys.implementation.name != "cpython":
        return ()

    def one(_held: object = (1,), *, _named: object = (2,)) -> None: ...
    def other(_held: object = (3,), *, _named: object = (4,)) -> None: ...

    functions: tuple[Any, Any] = one, other
    inside = range(0, FunctionType.__basicsize__ - WORD + 1, WORD)
    words = as_numbers(Addresses(id(one) + place for place in inside).now())
    if not all(words.count(id(part)) == 1 for part in MADE(functions[0])):
        return ()
    found = tuple([inside[words.index(id(part))] for part in MADE(functions[0])])
    functions[0].__code__, functions[0].__defaults__, functions[0].__kwdefaults__ = MADE(functions[1])
    now = as_numbers(Addresses(id(one) + place for place in found).now())
    return found if now == [*map(id, MADE(functions[1]))] else ()


PLACES = _places()


class Made:
    """Functions, and what each is to be made of."""

    def __init__(self, functions: Sequence[FunctionType] = (), made: Sequence[tuple[Any, ...]] = ()) -> None:
        self._functions, self._made = [*functions], [*made]
        addresses = (id(function) + place for function in self._functions for place in PLACES)
        self._words = Addresses(addresses) if PLACES else None
        self._were: Any = None
        self.same()

    def and_also(self, functions: Sequence[FunctionType], made: Sequence[tuple[Any, ...]]) -> Made:
        """These too."""
        both, more = Made(), Made(functions, made)
        both._functions, both._made = self._functions + more._functions, self._made + more._made
        addresses = (id(function) + place for function in both._functions for place in PLACES)
        both._words = Addresses(addresses) if PLACES else None
        both._were = None if self._were is None or more._were is None else self._were + more._were
        return both

    def same(self) -> bool:
        """Whether all are made of what they are to be made of, or of its equal."""
        now = self._now()
        if self._were is not None and now == self._were:
            return True
        made = [*map(MADE, self._functions)]
        same = made == self._made
        if same:  # what they are made of has to live as long as its address is compared
            self._made, self._were = made, now
        return same

    def _now(self) -> Any:
        return gc.get_referents(*self._functions) if self._words is None else self._words.now()
