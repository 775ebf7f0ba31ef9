"""Functions flow in; whether somebody gave one of them other code or defaults flows out.

Asking a function for its code is dear, and is told to every audit hook. So what is looked at first is where its code
and defaults lie: the addresses that it holds. Where this Python does not show them, it is all that hangs on functions.
Defaults of arguments that are named lie in a dictionary, which can be written to: that is looked at too.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeAlias

from harness.foreign.untouched import Untouched
from harness.foreign.words import WORD, Addresses, as_numbers

Parts: TypeAlias = tuple[Any, Any, Any]
_parts: Callable[[FunctionType], Parts] = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__")


def made_of(function: FunctionType) -> Parts:
    """Its code and defaults, those of named arguments as a copy."""
    code, defaults, named = _parts(function)
    return code, defaults, named and {**named}


def remake(function: FunctionType, made: Parts) -> None:
    """Give it this code and these defaults."""
    code, defaults, named = made
    function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, named and {**named}


def _places() -> tuple[int, ...]:
    """How far behind a function's address those of its code and defaults stand; nothing where they do not."""
    if sys.implementation.name != "cpython":
        return ()

    def one(_held: object = (1,), *, _named: object = (2,)) -> None: ...
    def other(_held: object = (3,), *, _named: object = (4,)) -> None: ...

    functions: tuple[Any, Any] = one, other
    inside = range(0, FunctionType.__basicsize__ - WORD + 1, WORD)
    words = as_numbers(Addresses(id(one) + place for place in inside).now())
    if not all(words.count(id(part)) == 1 for part in _parts(functions[0])):
        return ()
    found = tuple([inside[words.index(id(part))] for part in _parts(functions[0])])
    functions[0].__code__, functions[0].__defaults__, functions[0].__kwdefaults__ = _parts(functions[1])
    now = as_numbers(Addresses(id(one) + place for place in found).now())
    return found if now == [*map(id, _parts(functions[1]))] else ()


PLACES = _places()


class Made:
    """Functions, and what each is to be made of."""

    def __init__(self, functions: Sequence[FunctionType] = (), made: Sequence[Parts] = ()) -> None:
        self._were: Any = None
        self._hold([*functions], [*made], [*map(_parts, functions)])
        self.same()

    def and_also(self, functions: Sequence[FunctionType], made: Sequence[Parts]) -> Made:
        """These too."""
        both, more = Made(), Made(functions, made)
        both._hold(self._functions + more._functions, self._made + more._made, self._parts + more._parts)
        both._were = None if self._were is None or more._were is None else self._were + more._were
        return both

    def same(self) -> bool:
        """Whether all are made of what they are to be made of, or of its equal."""
        now = self._now()
        if self._were is not None and now == self._were:
            return self._named_same()
        parts, made = [*map(_parts, self._functions)], [*map(made_of, self._functions)]
        same = made == self._made
        if same:
            self._hold(self._functions, self._made, parts)
            self._were = now
        return same

    def _hold(self, functions: list[FunctionType], made: list[Parts], parts: list[Parts]) -> None:
        """parts: what they are made of, which has to live as long as its address is compared."""
        self._functions, self._made, self._parts = functions, made, parts
        addresses = (id(function) + place for function in functions for place in PLACES)
        self._words = Addresses(addresses) if PLACES else None
        self._naming = [number for number, (_, _, named) in enumerate(parts) if named is not None]
        self._named = Untouched(parts[number][2] for number in self._naming)

    def _named_same(self) -> bool:
        numbers, now = self._named.touched()
        touched = [self._naming[number] for number in numbers]
        same = all([self._parts[number][2] == self._made[number][2] for number in touched])
        if same:
            self._named.take(now)
        return same

    def _now(self) -> Any:
        return gc.get_referents(*self._functions) if self._words is None else self._words.now()
