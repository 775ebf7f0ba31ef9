"""Python's own names flow in (len, print, open ...); whether a call replaced one flows out, and they are back.

Looked at first of all after a call, because everything else is written with them: here only what was bound before.
"""

from __future__ import annotations

import builtins
import operator
from functools import partial

from harness.foreign.untouched import KEPT, versions_of
from harness.foreign.watch import Trace

_HELD = vars(builtins)
_kept = [dict(_HELD)]
_all, _map, _is, _get, _set = all, map, operator.is_, _HELD.get, _HELD.__setitem__
_version = versions_of([_HELD])
_was = [b""]  # the version when all was last in order


def settle() -> None:
    """Take what is there for right: whoever calls us may have names of their own."""
    _was[0] = _version() if KEPT else b""
    _kept[0] = {**_kept[0], **{name: _HELD[name] for name in _kept[0] if name in _HELD}}


def mend() -> tuple[Trace, ...]:
    """Put back what was replaced or taken away; a trace for each."""
    now = _version() if KEPT else b""
    if KEPT and now == _was[0]:  # nobody touched them
        return ()
    kept = _kept[0]
    if _all(_map(_is, _map(_get, kept), kept.values())):
        _was[0] = now
        return ()
    found = [(name, value, _get(name)) for name, value in kept.items() if _get(name) is not value]
    for name, value, _ in found:
        _set(name, value)
    return tuple(
        [
            Trace(f"builtins.{name} replaced", partial(_set, name, was), partial(_set, name, held))
            for name, was, held in found
        ]
    )
