"""Strangers' modules flow in, as they are now; what a plug-in changed of their variables that is not its own flows out.

A module changes its own variables as it likes (a cache, a counter), and so does a plug-in those of the modules that it
alone rests on. What another plug-in rests on too may be filled in (None, a new entry), not changed from outside.
"""

from __future__ import annotations

import argparse
import ast
import dis
import operator
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from harness.foreign.foundations import OURS, codes_of, is_function, is_strangers
from harness.foreign.heavy import Heavy, is_heavy
from harness.foreign.held import MAPPINGS
from harness.foreign.structure import alike
from harness.foreign.watch import Trace

MOST, LARGEST, WIDEST = 200, 1000, 1 << 16  # containers of a module, entries of one, bytes of an array
STAYS = "too large to be put back"
TABLED, SAMPLED = 1_000_000, 256  # entries of a table that is looked at by a sample of so many after a call
TRIES = 100  # to copy what another thread is changing
_GONE = object()
_PLAIN_OBJECTS = (SimpleNamespace, argparse.Namespace)
_STORES = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_ATTR", "DELETE_ATTR"})
_CHANGES = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "fill", "insert", "move_to_end", "pop", "popitem",
    "remove", "reverse", "setdefault", "sort", "update",
    "cpu", "cuda", "double", "eval", "float", "half", "load_state_dict", "to", "train",  # of networks
})  # fmt: skip
_MAKERS = ("__init__", "__new__", "__post_init__", "__setattr__")


@dataclass(frozen=True)
class _Inside:
    """A container that hangs on a variable, and what it held. attributes: it is those of an object."""

    variable: str
    held: Any
    was: Any
    attributes: bool = False

    @classmethod
    def of(cls, variable: str, held: Any, attributes: bool = False) -> _Inside:
        return cls(variable, held, _copied(held), attributes)

    def same(self, wholly: bool = False) -> bool:
        held, was = self.held, self.was
        if isinstance(held, np.ndarray):
            return bool(held.shape == was.shape and held.tobytes() == was.tobytes())
        if len(held) != len(was):
            return False
        if len(was) > LARGEST and not wholly:
            return all(now is one for now, one in zip(_sampled(held, was), _sampled(was, was), strict=True))
        held = _copied(held)  # another thread may be filling it
        if isinstance(held, set):
            return all(map(operator.is_, held, was)) or bool(held == was)
        if isinstance(held, dict):
            return all(map(operator.is_, held, was)) and all(map(operator.is_, held.values(), was.values()))
        return all(map(operator.is_, held, was))

    lost = False

    @property
    def large(self) -> bool:
        """Whether it is looked at by a sample after a call."""
        return len(self.was) > LARGEST and not isinstance(self.was, np.ndarray)

    def fill(self, was: Any = _GONE) -> None:
        """Make it hold what it held, or something else."""
        held, was = self.held, self.was if was is _GONE else was
        if isinstance(held, np.ndarray):
            held[...] = was
        elif isinstance(held, list):
            held[:] = was
        else:
            held.clear()
            held.update(was)

    def now(self) -> Any:
        """What it holds, to be filled in again."""
        return _copied(self.held)

    def filled(self) -> bool:
        """Whether what was there still is, or is equal, or was None."""
        held = _copied(self.held)
        if isinstance(held, dict):
            return all(one is None or alike(one, held.get(key, _GONE)) for key, one in self.was.items())
        if isinstance(held, list):
            return len(held) == len(self.was) and all(map(alike, self.was, held))
        return isinstance(held, set) and self.was <= held


class _Module:
    """A stranger's module as it was."""

    def __init__(self, name: str, place: ModuleType, before: _Module | None = None, wholly: bool = False) -> None:
        """before: what was known of what is large, and is as it was, goes on to be known. wholly: not by samples."""
        self.name, self.place = name, place
        held = {key: one for key, one in list(vars(place).items()) if _counts(key, one)}
        self.values = held
        self._names, self._were = tuple(held), tuple(held.values())
        parts = before.inside if before else ()
        known = {id(part.held): part for part in parts if part.large and (part.lost or part.same(wholly))}
        self.inside: tuple[_Inside | Heavy, ...] = tuple(_hanging(held, known))

    def same(self, wholly: bool = False) -> bool:
        now = map(vars(self.place).get, self._names)
        return all(map(operator.is_, now, self._were)) and all([one.same(wholly) for one in self.inside])


class Variables:
    """Those of strangers' modules in this process; looked at after every call of a stranger's plug-in."""

    def __init__(self) -> None:
        self._known: dict[str, _Module] = {}
        self._met: set[str] = set()  # modules of plug-ins
        self._near: dict[str, frozenset[str]] = {}
        self._inside: Counter[str] = Counter()
        self._since: set[str] = set()  # plug-ins that were in a call since all was looked at
        self._called: set[str] = set()  # and since all was taken for right
        self._lock = threading.RLock()

    def meet(self, use: str) -> None:
        """A stranger's plug-in, by its address."""
        self._met.add(use.partition(":")[0])

    def take(self, theirs: Mapping[str, Any]) -> None:
        """The modules of strangers, by name: those that are loaded now."""
        with self._lock:
            self._near = {}
            modules = {name: one for name, one in theirs.items() if isinstance(one, ModuleType)}
            kept = {name: one for name, one in self._known.items() if modules.get(name) is one.place}
            self._known = {name: kept.get(name) or _Module(name, one) for name, one in modules.items()}

    def settle(self) -> None:
        """Take what is there for right, unless a call goes on."""
        with self._lock:
            if not self._inside:
                self._adopt()
                self._called.clear()

    def begins(self, who: str) -> None:
        """The plug-in has its turn."""
        with self._lock:
            self._inside[who] += 1
            self._since.add(who)
            self._called.add(who)

    def ends(self, who: str) -> None:
        """Its turn is over, and what it left was looked at."""
        with self._lock:
            self._inside[who] -= 1
            self._inside = +self._inside
            self._since = set(self._inside)

    def traces(self, who: str | None, wholly: bool = False) -> list[Trace]:
        """What was changed that is nobody's own among those who had a turn; the rest is taken for right.

        who: whose turn is over; None where all of a batch are. wholly: not by samples alone.
        """
        changed = [one for one in list(self._known.values()) if not one.same(wholly)]
        if not changed:
            return []
        with self._lock:
            turns = {who, *self._since} if who else {*self._called}
            found = [trace for one in changed for trace in self._of_module(one, turns, wholly)]
            if not found:
                self._adopt(wholly)
        return found

    def _adopt(self, wholly: bool = False) -> None:
        for name, one in list(self._known.items()):
            if not one.same(wholly):
                self._known[name] = _Module(name, one.place, one, wholly)

    def _of_module(self, one: _Module, turns: set[str], wholly: bool) -> Iterator[Trace]:
        if any(self._is_own(one.name, use) for use in turns):
            return
        now, own = vars(one.place), _own_of(str(getattr(one.place, "__file__", "")))
        if own is None:
            return
        for key, was in one.values.items():
            held = now.get(key, _GONE)
            if not (was is None or key in own.assigned or alike(was, held)):
                put = partial(self._put, one.name, now, key)
                yield Trace(f"{one.name}.{key} changed", partial(put, was), partial(put, held))
        for part in one.inside:
            if part.same(wholly) or part.variable in own.filled:
                continue
            words = f"what {one.name}.{part.variable} holds changed"
            if isinstance(part, Heavy) and not part.kept:
                part.lost = True  # whoever comes next meets it as well, and is told too
                yield Trace(f"{words}, which is {STAYS}", _nothing, _nothing)
            elif isinstance(part, Heavy) or not (part.filled() or _changes_itself(now.get(part.variable))):
                fill = partial(self._fill, one.name, part)
                yield Trace(words, fill, partial(fill, part.now()))

    def _is_own(self, name: str, use: str) -> bool:
        """Whether no plug-in but this one rests on a module. Of ours one knows only that it calls a stranger's."""
        home = use.partition(":")[0]
        others = [other for other in tuple(self._met) if other != home and name in self._reach(other)]
        if home.partition(".")[0] in OURS:
            return len(others) < 2
        return name in self._reach(home) and not others

    def _reach(self, home: str) -> frozenset[str]:
        """The strangers' modules that a module rests on, itself included, as far as they show in what is loaded."""
        if home not in self._near:
            seen, queue = set[str](), [home]
            while queue:
                if (name := queue.pop()) not in seen and name in self._known:
                    seen.add(name)
                    queue += _names_in(self._known[name].place, self._known)
            self._near[home] = frozenset(seen)
        return self._near[home]

    def _put(self, name: str, holder: dict[str, Any], key: str, value: Any) -> None:
        if value is _GONE:
            holder.pop(key, None)
        else:
            holder[key] = value
        self._again(name)

    def _fill(self, name: str, part: _Inside | Heavy, *was: Any) -> None:
        part.fill(*was)
        self._again(name)

    def _again(self, name: str) -> None:
        with self._lock:
            self._known[name] = _Module(name, self._known[name].place, self._known[name])


def _counts(key: str, value: Any) -> bool:
    """Whether a name of a module is a variable; functions and classes are watched elsewhere."""
    return key[:2] != "__" and not isinstance(value, ModuleType | type | FunctionType | BuiltinFunctionType)


def _nothing() -> None:
    """It can neither be put back nor put on."""


def _hanging(held: Mapping[str, Any], known: Mapping[int, _Inside | Heavy]) -> Iterator[_Inside | Heavy]:
    """The containers, arrays, tensors and networks that hang on variables, each once. known: by id, as they are."""
    seen, todo = set[int](), list(held.items())
    while todo and len(seen) < MOST:
        variable, one = todo.pop()
        if id(one) in seen:
            continue
        if type(one) is tuple:
            todo += [(variable, inner) for inner in one[:LARGEST]]
        elif is_heavy(one):
            seen.add(id(one))
            with suppress(Exception):  # a network that was never made whole, a tensor of a kind of their own
                small = type(one) is np.ndarray and one.nbytes <= WIDEST
                yield _Inside.of(variable, one) if small else known.get(id(one)) or Heavy(variable, one)
        elif type(one) in (*MAPPINGS, list, set):
            seen.add(id(one))
            if len(one) <= TABLED:
                yield known.get(id(one)) or _Inside.of(variable, one)
            if len(one) <= LARGEST:
                held_now = _copied(one)
                todo += [(variable, inner) for inner in (held_now.values() if isinstance(one, dict) else held_now)]
        elif type(getattr(one, "__dict__", None)) is dict and _is_plain(type(one)):
            seen.add(id(one))
            if len(vars(one)) <= LARGEST:
                yield _Inside.of(variable, vars(one), attributes=True)
                todo += [(variable, inner) for inner in _copied(vars(one)).values()]


def _is_plain(kind: type) -> bool:
    """Whether objects of a class are looked into: those of strangers' own."""
    return kind in _PLAIN_OBJECTS or is_strangers(kind)


def _sampled(held: Any, was: Any) -> list[Any]:
    """Some of what a large table holds, at places that depend on what it held."""
    if isinstance(was, list):
        return [held[place] for place in range(0, len(was), len(was) // SAMPLED)]
    keys = islice(was, 0, None, len(was) // SAMPLED)
    return [key in held for key in keys] if isinstance(was, set) else [held.get(key, _GONE) for key in keys]


def _copied(held: Any) -> Any:
    """What a container holds at one moment: other threads may be changing it."""
    for _ in range(TRIES):
        with suppress(RuntimeError):  # it changed under the copying
            return dict(held) if isinstance(held, dict) else held.copy()
    return dict(held) if isinstance(held, dict) else held.copy()


@dataclass(frozen=True)
class _Own:
    """The variables of a module that its own functions assign, and those whose content they may change."""

    assigned: frozenset[str]
    filled: frozenset[str]


@cache
def _own_of(file: str) -> _Own | None:
    """What the source of a module says; None where there is none, and nothing is known."""
    try:
        nodes = list(ast.walk(ast.parse(Path(file).read_bytes())))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    assigned = {name for one in nodes if isinstance(one, ast.Global) for name in one.names}
    return _Own(frozenset(assigned), frozenset(filter(None, map(_root_of, _changed_in(nodes)))))


def _changed_in(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Expressions of which entries or attributes are set, on which changing methods are called, and that get a name."""
    for one in nodes:
        if isinstance(one, ast.Subscript | ast.Attribute):
            verb = getattr(one, "attr", "")
            in_place = verb[-1:] == "_" and verb[:1] != "_"  # as torch's verbs say it
            changes = not isinstance(one.ctx, ast.Load) or verb in _CHANGES or in_place
            yield from [one.value] if changes else []
        elif isinstance(one, ast.Assign | ast.Return | ast.NamedExpr | ast.AugAssign) and one.value is not None:
            yield from [one.value] if isinstance(one.value, ast.Name) else []


def _root_of(one: ast.AST) -> str:
    while isinstance(one, ast.Subscript | ast.Attribute):
        one = one.value
    return one.id if isinstance(one, ast.Name) else ""


def _changes_itself(value: Any) -> bool:
    """Whether the methods of an object's class, once it is made, change what it holds."""
    kind = type(value)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    methods = [one for name, one in vars(kind).items() if isinstance(one, FunctionType) and name not in _MAKERS]
    written = [one for one in methods if one.__code__.co_filename == file]  # not those that dataclasses makes
    return is_strangers(kind) and any(_changes(code) for one in written for code in codes_of(one))


def _changes(code: CodeType) -> bool:
    """Whether a function changes an entry, an attribute or a container, of whatever."""
    return not _CHANGES.isdisjoint(code.co_names) or any(step.opname in _STORES for step in dis.get_instructions(code))


def _names_in(module: ModuleType, known: Mapping[str, Any]) -> list[str]:
    """The modules among the known that one imports, as far as its variables, functions and classes show."""
    values = list(vars(module).values())
    found = {one.__name__ for one in values if isinstance(one, ModuleType)}
    found |= {str(getattr(one, "__module__", "")) for one in values if is_function(one)}
    words = {word for one in values for code in codes_of(one) for word in code.co_names}
    parents = {module.__name__.rpartition(".")[0]}
    return [name for name in known if name in found | words | parents or name.rpartition(".")[2] in words]
