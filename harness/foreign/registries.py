"""What Python's own modules and Pillow keep for all who use them flows in; looks at it flow out, most of them rare.

A module is taken from the loaded ones, never imported. Tables to which libraries add themselves may grow; what was
there has to stay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from harness.foreign.foundations import is_strangers, loaded
from harness.foreign.watch import Watched

_STATUS = "/proc/self/status"  # asking os.umask would change it for a moment, for all threads
_BEGIN = 256  # bytes in which the line stands
# process -> the descriptor of its status, and of which file: to open it takes twenty times as long as to read it
_open: dict[int, tuple[int, tuple[int, int]]] = {}


class _Growing:
    """The entries of a table or list, in order; equal to those of one that has more, of libraries' own."""

    def __init__(self, held: Any, own: Callable[[Any, Any], bool]) -> None:
        self.held, self._own = held, own
        self.entries = [*held.items()] if isinstance(held, dict) else [(one, one) for one in held]

    def __eq__(self, now: object) -> bool:
        if not isinstance(now, _Growing) or self.held is not now.held:
            return False
        if len(self.entries) == len(now.entries):
            return all(_same(*pair) for pair in zip(self.entries, now.entries, strict=True))
        rest = iter(now.entries)
        if not all(any(_same(one, other) for other in rest) for one in self.entries):
            return False
        known = {id(key) for key, _ in self.entries}
        return all(id(key) in known or self._own(key, value) for key, value in now.entries)

    def __ne__(self, now: object) -> bool:
        return not self == now

    __hash__ = None  # type: ignore[assignment]

    def put_back(self) -> None:
        """Make it what it was."""
        if isinstance(self.held, dict):
            self.held.clear()
            self.held.update(self.entries)
        else:
            self.held[:] = [one for one, _ in self.entries]


def registries() -> Iterator[Watched]:
    """All that is looked at here, as far as it is loaded."""
    yield Watched("sys.argv", lambda: (sys.argv, tuple(sys.argv)), _put_argv, _plainly("sys.argv changed"),
                  gentle=True)  # fmt: skip
    yield Watched("the longest number that Python reads", sys.get_int_max_str_digits, sys.set_int_max_str_digits,
                  rare=True)  # fmt: skip
    yield _table("the finders of modules (sys.meta_path)", sys, "meta_path", _finds_for_libraries)
    if os.path.exists(_STATUS):
        yield Watched("the permissions of new files (umask)", _umask, os.umask, _umask_told, rare=True)
    if decimal := loaded("decimal"):
        context = decimal.getcontext
        yield Watched("the arithmetic of decimal numbers", partial(_decimals, context), partial(_put_decimals, context),
                      _plainly("the arithmetic of decimal numbers changed"))  # fmt: skip
    if copyreg := loaded("copyreg"):
        yield _table("how objects are copied (copyreg)", copyreg, "dispatch_table", _of_its_own)
    if socket := loaded("socket"):
        yield Watched("sockets' default timeout", socket.getdefaulttimeout, socket.setdefaulttimeout, rare=True)
    if tempfile := loaded("tempfile"):
        put = partial(setattr, tempfile, "tempdir")
        yield Watched("the folder of temporary files", partial(_temporary, tempfile), put, rare=True)
    if pillow := loaded("PIL.Image"):
        for name in ("OPEN", "ID", "DECODERS"):  # filled at first use, and by libraries for files of their own
            if isinstance(getattr(pillow, name, None), dict | list):
                yield _table(f"PIL.Image.{name}", pillow, name, lambda _key, _value: True)


def _temporary(tempfile: Any) -> Any:
    """Where temporary files lie; filled in where nobody had asked."""
    with suppress(OSError):
        return tempfile.gettempdir() if tempfile.tempdir is None else tempfile.tempdir
    return None


def _plainly(clause: str) -> Callable[[Any, Any], str]:
    return lambda before, now: clause


def _table(words: str, module: Any, name: str, own: Callable[[Any, Any], bool]) -> Watched:
    def put(was: _Growing) -> None:
        setattr(module, name, was.held)
        was.put_back()

    return Watched(words, lambda: _Growing(getattr(module, name), own), put, _plainly(f"{words} changed"), rare=True)


def _same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    return (one[0] is other[0] or one[0] == other[0]) and one[1] is other[1]


def _of_its_own(kind: Any, reduce: Any) -> bool:
    """Whether a library says how objects are copied, or a stranger's module how those of its own are."""
    tops = [str(getattr(one, "__module__", "")).partition(".")[0] for one in (kind, reduce)]
    return tops[0] == tops[1] or not is_strangers(reduce)


def _finds_for_libraries(finder: Any, _finder: Any) -> bool:
    return not is_strangers(finder if isinstance(finder, type) else type(finder))


def _put_argv(was: tuple[list[str], tuple[str, ...]]) -> None:
    sys.argv = was[0]
    sys.argv[:] = was[1]


def _umask() -> int:
    """Read from what stays open, unless somebody closed it or opened something else in its place. -1: nobody tells."""
    with suppress(OSError, KeyError):
        status, file = _open[os.getpid()]
        if _file(status) == file and (found := _umask_in(status)) >= 0:
            return found
    _open.clear()
    status = os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC)
    if (found := _umask_in(status)) >= 0:
        _open[os.getpid()] = status, _file(status)
    else:
        os.close(status)
    return found


def _file(status: int) -> tuple[int, int]:
    told = os.fstat(status)
    return told.st_dev, told.st_ino


def _umask_in(status: int) -> int:
    _, line, rest = os.pread(status, _BEGIN, 0).partition(b"\nUmask:")
    return int(rest.partition(b"\n")[0], 8) if line else -1


def _umask_told(before: int, now: int) -> str:
    return f"the permissions of new files (umask) at {now:03o}"


def _decimals(context: Callable[[], Any]) -> tuple[Any, ...]:
    held = context()
    limits = held.prec, held.rounding, held.Emin, held.Emax, held.capitals, held.clamp
    return limits, held.traps.copy()


def _put_decimals(context: Callable[[], Any], was: tuple[Any, ...]) -> None:
    held, (limits, traps) = context(), was
    held.prec, held.rounding, held.Emin, held.Emax, held.capitals, held.clamp = limits
    for kind, raises in traps.items():
        held.traps[kind] = raises
