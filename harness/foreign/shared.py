"""Networks and methods that many rely on flow in; whether somebody changed them flows out, and then they are mended.

A change is found by what their weights are (bytes, not counts of writes) and by what hangs on their modules. What an
object changes in itself while it is called is its own affair.
"""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from harness.foreign.held import digests, hanging

_TABLES = ("_parameters", "_buffers", "_modules")
_GONE = object()
CLAUSE = "other weights, or other hooks, in networks that others use too"


class Shared:
    """What is open in this process, by any key."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Known] = {}
        self._restless: set[Hashable] = set()  # they change by themselves: no change of them tells anything

    def note(self, opened: Mapping[Any, tuple[str, Any]]) -> None:
        """Take in what is new, each with the address of its plug-in."""
        for key, (use, thing) in opened.items():
            if key not in self._known and key not in self._restless:
                self._known[key] = _Known(use, thing)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """These are no longer open."""
        for key in keys:
            self._known.pop(key, None)

    def ripen(self, key: Hashable) -> None:
        """It has run for the first time: what it opened only then belongs to it, before anybody else has its turn."""
        if (one := self._known.get(key)) is not None and not one.ripe:
            one.ripe = True
            one.changed()

    def keep(self) -> None:
        """Copy everything, so that a change can be undone."""
        for one in self._known.values():
            one.keep()

    def changed(self, who: str = "") -> list[Hashable]:
        """The keys of what is not as it was, undone where there is a copy. who: the plug-in that had its turn."""
        found = []
        for key, one in list(self._known.items()):
            if not one.changed():
                continue
            if one.use == who:
                del self._known[key]
                self._restless.add(key)
                continue
            one.put_back()
            found.append(key)
        return found


class _Known:
    """One open object as it was when it was first seen, and what it took in since."""

    def __init__(self, use: str, thing: Any) -> None:
        self.use, self.thing = use, thing
        self._digests: dict[int, tuple[Callable[[], Any], Any]] = {}
        self._copies: dict[int, Any] = {}
        self._modules: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._keeping = self.ripe = False
        self.changed()

    def keep(self) -> None:
        self._keeping = True
        for number, (thing, _) in self._digests.items():
            if number not in self._copies and (held := thing()) is not None:
                self._copies[number] = _copy(held)

    def changed(self) -> bool:
        """Whether anything that was there is other than it was; what is new is taken in if nothing is."""
        things, modules = hanging(self.thing, modules=True)
        bytes_now = dict(zip(map(id, things), digests(things), strict=True))
        hangs = {id(module): (module, _state(module)) for module in modules}
        held = {number: known for number, known in self._digests.items() if known[0]() is not None}
        wrong = any(bytes_now.get(number, digest) != digest for number, (_, digest) in held.items())
        known = [(state, hangs[number][1]) for number, (_, state) in self._modules.items() if number in hangs]
        wrong |= not all(_same(was, now) for was, now in known)
        if not wrong:
            self._digests = {id(one): (weakref.ref(one), bytes_now[id(one)]) for one in things}
            self._modules |= hangs
            self._copies = {number: copy for number, copy in self._copies.items() if number in bytes_now}
            if self._keeping:
                self.keep()
        return wrong

    def put_back(self) -> None:
        """Undo the changes, where there are copies."""
        if not self._keeping:
            return
        for module, state in self._modules.values():
            _put(module, state)
        for number, copy in self._copies.items():
            if (held := self._digests[number][0]()) is not None:
                with suppress(Exception):  # what cannot be written to was told all the same
                    _write(held, copy)


def _state(module: Any) -> dict[str, Any]:
    """What decides what a module computes, besides its weights' bytes: by attribute, tables as they are filled."""
    held = vars(module)
    found = {
        name: (value, dict(value)) for name, value in held.items()
        if type(value) in (dict, OrderedDict) and (name in _TABLES or name.endswith("_hooks"))
    }  # fmt: skip
    return {**found, **{name: held.get(name, _GONE) for name in ("training", "forward", "processor")}}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    for name, was in one.items():
        now = other.get(name, _GONE)
        if not isinstance(was, tuple):
            if was is not now:
                return False
        elif not isinstance(now, tuple) or was[0] is not now[0] or not _filled_alike(was[1], now[1]):
            return False
    return True


def _filled_alike(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return len(one) == len(other) and all(other.get(name, _GONE) is value for name, value in one.items())


def _put(module: Any, state: dict[str, Any]) -> None:
    held = vars(module)
    for name, was in state.items():
        if was is _GONE:
            held.pop(name, None)
        elif isinstance(was, tuple):
            table, filled = was
            if held.get(name) is not table or not _filled_alike(filled, table):
                table.clear()
                table.update(filled)
                held[name] = table
        else:
            held[name] = was


def _copy(thing: Any) -> Any:
    """Of a tensor on the host, so that a GPU's memory is left to the networks."""
    return thing.copy() if isinstance(thing, np.ndarray) else thing.detach().clone().cpu()


def _write(thing: Any, copy: Any) -> None:
    if isinstance(thing, np.ndarray):
        locked = not thing.flags.writeable
        thing.flags.writeable = True
        thing[...] = copy
        thing.flags.writeable = not locked
        return
    with sys.modules["torch"].no_grad():
        if thing.shape == copy.shape and thing.dtype == copy.dtype:
            thing.data.copy_(copy)
        else:
            thing.data = copy.to(thing.device)
