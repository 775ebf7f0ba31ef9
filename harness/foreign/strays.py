"""The threads of this process flow in; those that a plug-in left at work flow out, and are asked to end.

A thread that a library keeps for itself (a pool that waits for work, a progress bar) is no stray.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import thread as pools
from pathlib import Path
from typing import Any

from harness.foreign.untouched import Untouched

OURS = ("harness", "results", "concurrent", "multiprocessing")
PATIENCE = 0.05  # seconds that a thread has to end by itself once its call is over
_LIBRARIES = tuple({str(Path(sysconfig.get_path(name))) for name in ("purelib", "platlib")})
_known: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_awaited: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # they had their time to end
_tables: list[tuple[tuple[Any, Any], Untouched]] = [((None, None), Untouched(()))]
_left: dict[threading.Thread, str] = {}  # those that were asked to end, with who began them


def settle_strays() -> None:
    """Whatever runs now is nobody's stray."""
    _known.update(threading.enumerate())


def adopt() -> None:
    """This thread is the house's own, whenever it begins."""
    _known.add(threading.current_thread())


def look_for_strays() -> tuple[threading.Thread, ...]:
    """The strays; nothing, at once, where no thread began."""
    tables = _tables_now()
    touched, now = tables.touched()
    if not touched:
        return ()
    new = [one for one in threading.enumerate() if one not in _known]
    if not new:
        tables.take(now)
        return ()
    found = [one for one in new if _stray(one)]
    _known.update(one for one in new if one not in found)
    return tuple(found)


def _tables_now() -> Untouched:
    """Those that `enumerate` tells of, though somebody put others in their place."""
    now: tuple[Any, Any] = (threading._active, threading._limbo)  # type: ignore[attr-defined]
    (were, known), *_ = _tables
    if were[0] is not now[0] or were[1] is not now[1]:
        known = Untouched(now)
        _tables[0] = now, known
    return known


def end(was: Sequence[threading.Thread]) -> None:
    """Ask strays to end, at the next line of Python that they come to; from then on they are known."""
    for one in look_for_strays():
        if one not in was and one.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(one.ident), ctypes.py_object(SystemExit))
            _known.add(one)
            _left[one] = ""


def lay_to(who: str) -> None:
    """Strays that were just asked to end are this plug-in's."""
    _left.update({one: owner or who for one, owner in _left.items() if one.is_alive()})


def suspicion(who: str) -> str:
    """A clause where somebody else's thread did not end: what is found now may be its doing."""
    owners = sorted({owner for one, owner in _left.items() if owner not in ("", who) and one.is_alive()})
    return f" (or a thread did that {owners[0]} left and that does not end)" if owners else ""


def strays_told(before: Any, now: Sequence[threading.Thread]) -> str:
    """`a thread at work (Thread-3 (f))`."""
    return f"a thread at work ({', '.join(one.name for one in now[:3])})"


def _stray(one: threading.Thread) -> bool:
    function = getattr(one, "_target", None) if type(one).run is threading.Thread.run else type(one).run
    module = getattr(function, "__module__", None) or ""
    if function is pools._worker:
        return _busy(one)
    if type(one) is threading._DummyThread or module.partition(".")[0] in OURS:  # begun outside Python, or by us
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not file.startswith(_LIBRARIES) and _alive(one)


def _busy(one: threading.Thread) -> bool:
    """Whether a pool's thread is at work, still after a moment."""
    until = time.monotonic() + _patience(one)
    while True:
        frame = sys._current_frames().get(one.ident or 0)
        if frame is None or frame.f_code is pools._worker.__code__:
            return False
        if time.monotonic() >= until:
            return True
        time.sleep(0.001)


def _alive(one: threading.Thread) -> bool:
    one.join(_patience(one))
    return one.is_alive()


def _patience(one: threading.Thread) -> float:
    first = one not in _awaited
    _awaited.add(one)
    return PATIENCE if first else 0.0
