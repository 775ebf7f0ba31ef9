"""A call of a plug-in flows in and is made in a context of its own: what it sets there (`contextvars`) no other sees.

It finds its own values again at its next call in this thread. What numpy and decimal keep there is watched elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
_WATCHED = ("numpy", "decimal")  # beginnings of names
_GONE = object()
_held = threading.local()


def in_own_context(who: str, function: Callable[[], T]) -> T:
    """What the function gives. who: the plug-in's address."""
    before, context = copy_context(), copy_context()
    by_plug_in: dict[str, dict[ContextVar[Any], Any]] = vars(_held)
    kept = by_plug_in.get(who, {})

    def begin() -> T:
        for variable, value in kept.items():
            variable.set(value)
        return function()

    try:
        return context.run(begin)
    finally:
        by_plug_in[who] = {
            variable: value for variable, value in context.items()
            if before.get(variable, _GONE) is not value and not variable.name.startswith(_WATCHED)
        }  # fmt: skip
