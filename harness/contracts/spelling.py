"""A value of a setting or a pass flows in; a text flows out that only the same value has.

Python holds 1, 1.0 and True for equal, with equal hashes, and -0.0 and 0.0; in ids and in what a plug-in makes of them
they differ. NaN, which Python holds unequal to itself, is the same as itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def exact_text(value: Any) -> str:
    """The text of a value, at any depth: a list is spelled as a tuple is, a mapping in the order of its keys' texts.

    Of another object, its class with its fields or attributes, of one without such with its `repr`.
    """
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if kind in (tuple, list):
        return f"({','.join(map(exact_text, value))})"
    if isinstance(value, frozenset | set):
        return f"{_name(kind)}{{{','.join(sorted(map(exact_text, value)))}}}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted([f"{exact_text(key)}:{exact_text(one)}" for key, one in value.items()])) + "}"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{_name(kind)}{exact_text([getattr(value, one.name) for one in fields(value)])}"
    if isinstance(value, tuple):
        return f"{_name(kind)}{exact_text(list(value))}"
    for plain in (str, bytes, int, float):  # of a class that refines it
        if isinstance(value, plain):
            return f"{_name(kind)}({plain.__repr__(value)})"
    held = {} if isinstance(value, type) else getattr(value, "__dict__", {})
    return f"{_name(kind)}{exact_text(held) if held else repr(value)}"


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
