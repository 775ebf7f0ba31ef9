"""What of a process can change another plug-in's numbers, and how each of it is looked at, told and put back.

One list for the sweep and for the gates. What belongs to torch is in `torch_watch`, functions are in `replaced`.
"""

from __future__ import annotations

import ctypes
import gc
import locale
import logging
import operator
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from harness.foreign import strays, streams
from harness.foreign.foundations import loaded

Tell = Callable[[Any, Any], str]
SIGNALS = tuple([
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGALRM", "SIGCHLD")
    if hasattr(signal, name)
])  # fmt: skip
_filters: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [((), ())]  # of warnings, and those that speak of all
_numpys = getattr(sys.modules.get("numpy._core.umath"), "_extobj_contextvar", None)  # where numpy keeps what is set
_numpys_own: Callable[[], Any] = getattr(_numpys, "get", lambda: None)
_numpy: list[tuple[Any, tuple[Any, Any, int]]] = [(None, (None, None, 0))]  # what was set last, and what it says
_handler_of: Callable[[int], Any] = vars(signal)["_signal"].getsignal  # to look for a name for it is what costs


@dataclass(slots=True, eq=False)  # made anew for every batch: a frozen one takes three times as long to make
class Watched:
    """One thing that is looked at. put: make it as a look said it was. gentle: importing and opening may change it.

    fresh: what it is in a process that has just begun, where that is known. rare: dear to look at and seldom touched:
    looked at once a batch.
    """

    words: str
    look: Callable[[], Any]
    put: Callable[[Any], object]
    tell: Tell | None = None
    gentle: bool = False
    fresh: tuple[Any, ...] = ()
    rare: bool = False

    def told(self, before: Any, now: Any) -> str:
        """The clause for a person: `torch's default dtype at torch.float64`."""
        return self.tell(before, now) if self.tell else f"{self.words} at {now}"


@dataclass(frozen=True)
class Trace:
    """One thing that was left: told in a clause; can be put back, and put on again where it belongs."""

    clause: str
    put_back: Callable[[], object]
    put_on: Callable[[], object]
    gentle: bool = False


def things() -> tuple[Watched, ...]:
    """All that is watched of this process, without torch; cheap to look at."""
    found = [
        Watched("numpy's error state", lambda: _numpy_set()[:2], _put_numpy_errors),
        Watched("numpy's print options", np.get_printoptions, lambda was: np.set_printoptions(**was), rare=True),
        Watched("the mode in which floats are rounded", _rounding, _put_rounding, _plainly("floats' rounding changed")),
        Watched("the working directory", _folder, _put_folder),
        Watched("the environment", _environment, _put_environment, _environment_told, gentle=True),
        Watched("signal handlers", _handlers, _put_handlers, _plainly("signal handlers replaced")),
        Watched("blocked signals", _blocked, _put_blocked, _plainly("signals blocked or a timer set"), rare=True),
        Watched("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Watched("garbage collection", gc.isenabled, lambda was: gc.enable() if was else gc.disable()),
        Watched("the way numbers are spelled (LC_NUMERIC)", partial(locale.setlocale, locale.LC_NUMERIC), _put_locale),
        Watched("logging", _logging, _put_logging, _plainly("the root logger changed"), gentle=True),
        Watched("warnings", _warnings, _put_warnings, _plainly("the filters of all warnings changed"), gentle=True),
        Watched("standard streams", streams.look, streams.bring_back, streams.told),
        Watched("threads", strays.look_for_strays, strays.end, strays.strays_told),
        Watched("the trace and profile functions", _tracing, _put_tracing, _plainly("a trace or profile function")),
        Watched("the search path", _path, _put_path, _plainly("sys.path changed"), rare=True),
        Watched("numpy's buffer size", lambda: _numpy_set()[2], np.setbufsize),
        attribute("sys.excepthook", sys, "excepthook", rare=True),
        attribute("sys.unraisablehook", sys, "unraisablehook", rare=True),
        attribute("threading.excepthook", threading, "excepthook", rare=True),
    ]
    return (*found, *_pillow())


def differing(watched: Sequence[Watched], before: Sequence[Any]) -> list[Trace]:
    """What is no longer as it was."""
    now = [one.look() for one in watched]
    if before == now:
        return []
    changed = [entry for entry in zip(watched, before, now, strict=True) if entry[1] != entry[2]]
    return [
        Trace(one.told(was, held), partial(one.put, was), partial(one.put, held), one.gentle)
        for one, was, held in changed
    ]


def _plainly(clause: str) -> Tell:
    return lambda before, now: clause


def _numpy_set() -> tuple[Any, Any, int]:
    """Errors, who is called, size of buffers; asked only where something was set since: what numpy sets is an object of
    its own, which nobody changes."""
    held, (known, told) = _numpys_own(), _numpy[0]
    if held is None or held is not known:
        told = np.geterr(), np.geterrcall(), np.getbufsize()
        _numpy[0] = held, told
    return told


def _put_numpy_errors(was: tuple[Any, Any]) -> None:
    np.seterr(**was[0])
    np.seterrcall(was[1])


_ONE, _TINY, _SMALLEST = 1.0, 1e-17, sys.float_info.min  # names, so that nothing is computed when this is compiled


def _rounding() -> tuple[bool, ...]:
    """How this thread rounds sums, and whether it takes denormals for zero (then in comparisons too)."""
    return _ONE + _TINY == _ONE, _ONE - _TINY == _ONE, -_ONE - _TINY == -_ONE, _SMALLEST / 3.0 != 0.0


def _put_rounding(_was: tuple[bool, ...]) -> None:
    """To nearest, denormals kept: what every process begins with."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fesetround(0)  # FE_TONEAREST is 0 on every machine that torch knows
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was taken away
        return None


def _put_folder(was: str | None) -> None:
    with suppress(OSError):
        if was is not None:
            os.chdir(was)


_LIBRARIES_OWN = tuple(
    [
        os.fsencode(name)
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK")
    ]
)  # set by torch for itself, whoever uses it first


def _environment() -> dict[Any, Any]:
    """A copy of the variables, as the system has them where that can be had: ten times cheaper than their texts."""
    held = dict(getattr(os.environ, "_data", os.environ))
    for name in _LIBRARIES_OWN:
        held.pop(name, None)
    return held


def _put_environment(held: dict[Any, Any]) -> None:
    was = _texts(held)
    own = {os.fsdecode(name) for name in _LIBRARIES_OWN}
    for name in [name for name in os.environ if name not in was and name not in own]:
        del os.environ[name]
    os.environ.update({name: value for name, value in was.items() if os.environ.get(name) != value})


def _texts(held: dict[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in held.items()}


def _environment_told(before: dict[Any, Any], now: dict[Any, Any]) -> str:
    before, now = _texts(before), _texts(now)
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the environment changed ({', '.join(names[:3])}{more})"


def _handlers() -> tuple[Any, ...]:
    return tuple([*map(_handler_of, SIGNALS)])


def _put_handlers(was: tuple[Any, ...]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in zip(SIGNALS, was, strict=True):
        if handler is not None and _handler_of(number) is not handler:
            signal.signal(number, handler)


def _blocked() -> tuple[Any, ...]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _put_blocked(was: tuple[Any, ...]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, was[0])
    if not was[1]:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _put_locale(was: str) -> None:
    locale.setlocale(locale.LC_NUMERIC, was)


def _logging() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.level, tuple(root.handlers), root.manager.disable


def _put_logging(was: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    root.setLevel(was[0])
    root.handlers[:] = was[1]
    logging.disable(was[2])


def _warnings() -> tuple[Any, ...]:
    """Filters that speak of all warnings of one of Python's own kinds; libraries' filters about their own may stay."""
    held, (were, sweeping) = tuple(warnings.filters), _filters[0]
    if len(held) != len(were) or not all(map(operator.is_, held, were)):
        sweeping = tuple([*filter(_sweeping, held)])
        _filters[0] = held, sweeping
    return sweeping, warnings.showwarning


def _sweeping(one: Any) -> bool:
    return one[1] is None and one[3] is None and one[2].__module__ == "builtins"


def _put_warnings(was: tuple[Any, ...]) -> None:
    narrow = [one for one in warnings.filters if not _sweeping(one)]
    warnings.filters[:] = [*narrow, *was[0]]  # type: ignore[index]
    warnings.showwarning = was[1]


def _tracing() -> tuple[Any, ...]:
    return sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()


def _put_tracing(was: tuple[Any, ...]) -> None:
    sys.settrace(was[0])
    sys.setprofile(was[1])
    threading.settrace(was[2])
    threading.setprofile(was[3])


class _Path(tuple[str, ...]):
    """Places where modules are looked for; equal to one that has more: research code adds its own folders."""

    held: list[str]

    def __eq__(self, now: object) -> bool:
        rest = iter(now if isinstance(now, _Path) else ())
        return isinstance(now, _Path) and self.held is now.held and all(place in rest for place in self)

    def __ne__(self, now: object) -> bool:
        return not self == now

    __hash__ = None  # type: ignore[assignment]


def _path() -> _Path:
    found = _Path(sys.path)
    found.held = sys.path
    return found


def _put_path(was: _Path) -> None:
    sys.path = was.held
    sys.path[:] = [*was, *(place for place in sys.path if place not in was)]


def _pillow() -> list[Watched]:
    """Settings of Pillow that decide which files can be read, where it is loaded."""
    places = (("PIL.Image", "MAX_IMAGE_PIXELS"), ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES"))
    there = [(module, name) for place, name in places if (module := loaded(place)) is not None]
    return [attribute(f"{module.__name__}.{name}", module, name) for module, name in there]


def attribute(words: str, holder: Any, name: str, rare: bool = False) -> Watched:
    """An attribute that is set as it is read."""
    return Watched(words, partial(getattr, holder, name), partial(setattr, holder, name), rare=rare)
