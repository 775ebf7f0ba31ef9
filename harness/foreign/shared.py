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

from harness.contracts import Recipe
from harness.foreign.held import digests, hanging, is_table
from harness.foreign.still import Still
from harness.foreign.structure import Contents, Place, moved, restore, structure

_GONE = object()
_LEARNED = 2  # runs of a network in which it is learned what it moves by itself
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
                self._known[key] = _Known(use, thing, isinstance(key, Recipe))

    def forget(self, keys: Iterable[Hashable]) -> None:
        """These are no longer open."""
        for key in keys:
            self._known.pop(key, None)

    def begins(self, key: Hashable) -> None:
        """It is about to run."""
        if (one := self._known.get(key)) is not None and one.runs < _LEARNED:
            one.runs += 1
            one.before = one.look()

    def ripen(self, key: Hashable) -> None:
        """It has run: what it opened for the first time belongs to it, and what it moves by itself is no trace."""
        if (one := self._known.get(key)) is not None and one.before:
            one.learn(one.before)
            one.changed()

    def own(self, who: str) -> None:
        """The plug-in had its turn, and before it all was as it should be: what moved it moves by itself."""
        for one in self._known.values():
            if one.use == who:
                one.learn()

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
                one.learn()
                if not one.changed():
                    continue
                del self._known[key]
                self._restless.add(key)
                continue
            one.put_back()
            found.append(key)
        return found


class _Known:
    """One open object as it was when it was first seen, and what it took in since."""

    def __init__(self, use: str, thing: Any, deep: bool) -> None:
        """deep: it is a network: what it, its modules and what hangs on them hold is looked at too."""
        self.use, self.thing, self._deep = use, thing, deep
        self._structure: Contents = {}
        self._restless: set[Place] = set()  # what it moves by itself
        self.before: Contents = {}
        self.runs = 0
        self._digests: dict[int, tuple[Callable[[], Any], Any]] = {}
        self._copies: dict[int, Any] = {}
        self._modules: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._keeping = False
        self._still: Still | None = None
        self.changed()

    def keep(self) -> None:
        self._keeping = True
        for number, (thing, _) in self._digests.items():
            if number not in self._copies and (held := thing()) is not None:
                self._copies[number] = copy_of(held)

    def changed(self) -> bool:
        """Whether anything that was there is other than it was; what is new is taken in if nothing is."""
        if self._still is not None and self._still.same():
            return self._bytes_changed()
        things, modules, holders, within = hanging(self.thing, modules=True)
        structure_now = structure(holders if self._deep else (), self._restless)
        bytes_now = dict(zip(map(id, things), digests(things), strict=True))
        hangs = {id(module): (module, _state(module)) for module in modules}
        held = {number: known for number, known in self._digests.items() if known[0]() is not None}
        wrong = any(bytes_now.get(number, digest) != digest for number, (_, digest) in held.items())
        known = [(state, hangs[number][1]) for number, (_, state) in self._modules.items() if number in hangs]
        wrong |= not all(_same(was, now) for was, now in known)
        wrong |= bool(moved(self._structure, structure_now))
        if not wrong:
            self._still = Still([*holders, *within]) if self._deep else None
            self._structure = structure_now
            self._digests = {id(one): (weakref.ref(one), bytes_now[id(one)]) for one in things}
            self._modules |= hangs
            self._copies = {number: copy for number, copy in self._copies.items() if number in bytes_now}
            if self._keeping:
                self.keep()
        return wrong

    def _bytes_changed(self) -> bool:
        """The same, where all hangs where it hung."""
        known = [(thing(), digest) for thing, digest in self._digests.values()]
        return digests([thing for thing, _ in known]) != [digest for _, digest in known]

    def look(self) -> Contents:
        """What it, its modules and what hangs on them hold now."""
        return structure(hanging(self.thing, modules=True).holders if self._deep else (), self._restless)

    def learn(self, before: Contents | None = None) -> None:
        """What moved since then (else: since it was last in order), it moved by itself."""
        places = moved(self._structure if before is None else before, self.look())
        self._restless.update(places)
        for number, key in places:
            if number in self._structure:
                self._structure[number][2].pop(key, None)
        self.before = {}

    def put_back(self) -> None:
        """Undo the changes, where there are copies."""
        if not self._keeping:
            return
        restore(self._structure, moved(self._structure, self.look()))
        for module, state in self._modules.values():
            _put(module, state)
        for number, copy in self._copies.items():
            if (held := self._digests[number][0]()) is not None:
                with suppress(Exception):  # what cannot be written to was told all the same
                    overwrite(held, copy)


def _state(module: Any) -> dict[str, Any]:
    """What decides what a module computes, besides its weights' bytes: by attribute, tables as they are filled."""
    held = vars(module)
    found = {
        name: (value, dict(value)) for name, value in held.items()
        if type(value) in (dict, OrderedDict) and is_table(name)
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


def copy_of(thing: Any) -> Any:
    """A copy of an array or a tensor; of a tensor on the host, so that a GPU's memory is left to the networks."""
    return thing.copy() if isinstance(thing, np.ndarray) else thing.detach().clone().cpu()


def overwrite(thing: Any, copy: Any) -> None:
    """Make an array or a tensor what a copy of it holds."""
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
