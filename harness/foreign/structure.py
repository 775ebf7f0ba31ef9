"""Objects flow in; what each of them holds flows out, one level deep, and what of it somebody put something else for.

What an object fills in once is lawful: a key that was not there, a slot that was empty, an attribute that was None.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from types import MemberDescriptorType
from typing import Any, TypeAlias

Contents: TypeAlias = dict[int, tuple[Any, type, dict[Any, Any]]]  # id -> the object, its class, what it holds by key
Place: TypeAlias = tuple[int, Any]  # the id of an object, and a key of it
_PLAIN = frozenset({str, bytes, int, float, bool, complex})
_GONE = object()
_CLASS = "__class__"


def structure(holders: Iterable[Any], apart: Collection[Place] = ()) -> Contents:
    """What objects hold. apart: places that are not looked at."""
    known = {id(one): (one, type(one), _held(one)) for one in holders}
    for number, key in apart:
        if number in known:
            known[number][2].pop(key, None)
    return known


def moved(was: Contents, now: Contents) -> list[Place]:
    """Where something else is held, of the objects that are in both."""
    return [
        (number, key)
        for number, (_, kind, held) in was.items()
        if number in now
        for key in _moved(kind, held, *now[number][1:])
    ]


def restore(was: Contents, places: Iterable[Place]) -> None:
    """Make these places hold what they held, where that can be done."""
    for number, key in places:
        thing, kind, held = was[number]
        with suppress(Exception):
            if key == _CLASS:
                object.__setattr__(thing, _CLASS, kind)
            elif isinstance(thing, list):
                thing[:] = held.values()
            elif isinstance(thing, set):
                thing.update(held.values())
            else:
                _put(thing, key, held.get(key, _GONE))


def _moved(kind: type, was: Mapping[Any, Any], kind_now: type, now: Mapping[Any, Any]) -> list[Any]:
    found = [] if kind is kind_now else [_CLASS]
    if len(was) == len(now) and all(map(operator.is_, was.values(), now.values())):
        return found
    found += [key for key, one in was.items() if one is not None and not alike(one, now.get(key, _GONE))]
    return found + [key for key in now if key not in was and _hides(kind, key)]


def alike(was: Any, now: Any) -> bool:
    """Whether one is the other, or an equal plain value of its kind."""
    if was is now:
        return True
    if type(was) is not type(now):
        return False
    if isinstance(was, tuple):
        return len(was) == len(now) and all(map(alike, was, now))
    return type(was) in _PLAIN and bool(was == now or was != was)


def _hides(kind: type, key: Any) -> bool:
    """Whether a new entry changes what an object of this class does: lists grow, attributes hide those of the class."""
    if issubclass(kind, list):
        return True
    if issubclass(kind, dict | set) or not isinstance(key, str):
        return False
    own = next((vars(base)[key] for base in kind.__mro__ if key in vars(base)), None)
    return own is not None and not isinstance(own, cached_property | MemberDescriptorType)


def _held(thing: Any) -> dict[Any, Any]:
    if isinstance(thing, dict):
        return dict(dict.items(thing))
    if isinstance(thing, list):
        return dict(enumerate(list.__iter__(thing)))
    if isinstance(thing, set):
        return {id(one): one for one in set.__iter__(thing)}
    found = {}
    kind: Any = type(thing)
    for name, slot in _slots(kind):
        with suppress(AttributeError):  # an empty one
            found[name] = slot.__get__(thing)
    with suppress(AttributeError):
        found |= object.__getattribute__(thing, "__dict__")
    return found


@cache
def _slots(kind: Any) -> tuple[tuple[str, Any], ...]:
    found = [pair for base in kind.__mro__ for pair in vars(base).items() if isinstance(pair[1], MemberDescriptorType)]
    return tuple(found) if kind.__flags__ & 1 << 9 else ()  # of classes that are made by Python code


def _put(thing: Any, key: Any, value: Any) -> None:
    held = thing if isinstance(thing, dict) else object.__getattribute__(thing, "__dict__")
    kind: Any = type(thing)
    slot = dict(_slots(kind)).get(key)
    if value is _GONE:
        held.pop(key, None)
    elif slot is not None:
        slot.__set__(thing, value)
    else:
        held[key] = value
