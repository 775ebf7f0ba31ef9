"""What our modules rest on flows in, as it is now; what of it somebody replaced later flows out: names, functions."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np

from harness.foreign.foundations import OURS, Foundations, is_function, strangers
from harness.foreign.made import Made, made_of, remake
from harness.foreign.untouched import Untouched
from harness.foreign.variables import Variables
from harness.foreign.watch import Trace

_GONE = object()
_PATCHES = {("inspect", "getfile", "torch.package.package_importer")}  # (module, function, who puts another one there)
_KINDS = ("dtype", "layout", "memory_format")  # of numbers and tensors, by which torch is asked for them
_FILLED = (dict, list, set, np.ndarray)
_VERBS = (FunctionType, staticmethod, classmethod, property)
Whose: TypeAlias = Literal["ours", "theirs", "a library's"]


@dataclass(frozen=True)
class _Known:
    """The functions of a module or class; of ours, and of a stranger's class, all that it names.

    size: how many entries a class had; modules grow. Of ours and strangers' besides, made: the code and defaults of
    functions. Of ours, filled: copies of tables (names in capitals).
    """

    place: Any
    whose: Whose
    names: tuple[str, ...]
    values: tuple[Any, ...]
    size: int | None
    functions: tuple[FunctionType, ...]
    made: tuple[tuple[Any, ...], ...]
    filled: tuple[tuple[str, Any, Any], ...]

    @classmethod
    def of(cls, place: Any, whose: Whose) -> _Known:
        held = dict(vars(place))
        names = tuple([name for name, value in held.items() if _counts(place, whose, name, value)])
        size = len(held) if isinstance(place, type) else None
        values = tuple([held[name] for name in names])
        bare = [*map(_bare, values)] if whose != "a library's" else []
        functions = tuple([one for one in bare if isinstance(one, FunctionType)])
        constants = [(name, held[name]) for name in names if whose == "ours" and name.isupper()]
        filled = tuple([(name, one, one.copy()) for name, one in constants if type(one) in _FILLED])
        return cls(place, whose, names, values, size, functions, tuple([*map(made_of, functions)]), filled)

    @property
    def stays(self) -> bool:
        """Whether it is to stay the module of its name; research code loads its own helpers under others' names."""
        return self.whose != "theirs"

    def same(self) -> bool:
        now = vars(self.place)
        if self.size is not None and self.size != len(now):
            return False
        if not all(map(operator.is_, map(now.get, self.names), self.values)):
            return False
        made = tuple([*map(made_of, self.functions)])
        return made == self.made and all(_alike(one, was) for _, one, was in self.filled)

    def traces(self, name: str) -> Iterator[Trace]:
        """What was replaced, or changed inside."""
        replaced = [*self._replaced()]
        if replaced and self.whose == "theirs":  # then what it filled in goes too: a mark that all is done, say
            replaced = [*self._replaced(filled=True)]
        for key, was, held in replaced:
            put_back, put_on = partial(_set, self.place, key, was), partial(_set, self.place, key, held)
            yield Trace(f"{name}.{key} replaced", put_back, put_on)
        for function, made in zip(self.functions, self.made, strict=True):
            if (now := made_of(function)) != made:
                words = f"the code or defaults of {function.__module__}.{function.__qualname__} replaced"
                yield Trace(words, partial(remake, function, made), partial(remake, function, now))
        for key, one, was in self.filled:
            if not _alike(one, was):
                yield Trace(f"{name}.{key} changed", partial(_fill, one, was), partial(_fill, one, one.copy()))

    def _replaced(self, filled: bool = False) -> Iterator[tuple[str, Any, Any]]:
        """Name, what was there and what is there now; _GONE for nothing. filled: also what a class fills in itself."""
        now = dict(vars(self.place))
        known = dict(zip(self.names, self.values, strict=True))
        inherited: dict[str, Any] = {}
        for base in reversed(getattr(self.place, "__mro__", ())[1:]):
            inherited |= vars(base)
        new = [name for name in now.keys() - known.keys() if self._does(name, now[name], inherited, filled)]
        for name in (*self.names, *sorted(new)):
            was, held = known.get(name, _GONE), now.get(name, _GONE)
            if (
                was is not held
                and not (was is None and self.whose == "theirs" and not filled)  # what a class fills in at first use
                and not _wraps(held, known.get(name, inherited.get(name)), self.whose == "theirs")
                and not _librarys(self.place, name, held)
            ):
                yield name, was, held

    def _does(self, name: str, held: Any, inherited: Mapping[str, Any], filled: bool) -> bool:
        """Whether a new name of a class does something: it hides a parent class's, or is a verb that was not there.

        filled: or is anything that was not there.
        """
        if not isinstance(self.place, type):
            return False
        if filled and name[:2] != "__":
            return True
        if name in inherited and (is_function(held) or (self.whose != "a library's" and name[:2] != "__")):
            return True
        return self.whose != "a library's" and isinstance(held, _VERBS)


class _Glance:
    """All that is known laid end to end, so that one comparison tells, many times as fast, that nothing changed: only
    what somebody touched is looked at name by name."""

    def __init__(self) -> None:
        self._taking: list[Any] = []
        self._places: list[Any] = []
        self._values: list[tuple[Any, ...]] = []
        self._sizes: list[int | None] = []
        self._untouched = Untouched(())
        self._made = Made()
        self._filled: list[tuple[Any, Any]] = []
        self._modules: dict[str, Any] = {}

    def and_also(self, known: Mapping[str, _Known]) -> _Glance:
        """One that looks at these too; other threads go on with this one."""
        known, both = dict(known), _Glance()  # as it is now: another thread may be taking something in
        named = [one for one in known.values() if one.names or one.size is not None]
        # one name alone would give no tuple
        taking = [operator.itemgetter(one.names[0], *one.names) if one.names else _nothing_of for one in named]
        both._taking = self._taking + taking
        both._places = self._places + [vars(one.place) for one in named]
        both._values = self._values + [(*one.values[:1], *one.values) for one in named]
        both._sizes = self._sizes + [one.size for one in named]
        both._untouched = Untouched(both._places)
        functions = [function for one in known.values() for function in one.functions]
        both._made = self._made.and_also(functions, [made for one in known.values() for made in one.made])
        both._filled = self._filled + [(held, was) for one in known.values() for _, held, was in one.filled]
        staying = ((name, one.place) for name, one in known.items() if one.stays)
        both._modules = self._modules | {name: place for name, place in staying if sys.modules.get(name) is place}
        return both

    def same(self) -> bool:
        """Whether all of it is as it was."""
        same = self._names_same() and self._made.same()
        same = same and all([_alike(held, was) for held, was in self._filled])
        return same and all(map(operator.is_, map(sys.modules.get, self._modules), self._modules.values()))

    def _names_same(self) -> bool:
        numbers, now = self._untouched.touched()
        if not numbers:
            return True
        places = [self._places[number] for number in numbers]
        try:
            held = map(operator.call, [self._taking[number] for number in numbers], places)
            values = [self._values[number] for number in numbers]
            same = all(map(operator.is_, chain.from_iterable(held), chain.from_iterable(values)))
        except KeyError:  # a name was taken away
            return False
        sizes = [self._sizes[number] for number in numbers]
        same = same and all(size in (None, len(place)) for size, place in zip(sizes, places, strict=True))
        if same:
            self._untouched.take(now)
        return same


class Functions:
    """The functions that this process rests on, as they were when they were last taken for right."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._glance = _Glance()
        self._foundations = Foundations()
        self._modules = 0
        self._tops: set[str] = set()
        self.variables = Variables()

    def meet(self, use: str) -> None:
        """The package of this plug-in, and what it brings along, is looked at from the next time on."""
        if (top := use.partition(":")[0].partition(".")[0]) not in self._tops:
            self._tops.add(top)
            self._modules = 0
        self.variables.meet(use)

    def settle(self, sure: bool = False) -> None:
        """Take what is there for right, and take in what was loaded since the last time. sure: nothing else changed."""
        self.variables.settle()
        loaded = len(sys.modules) != self._modules
        same = (sure and not loaded) or self._glance.same()
        if same and not loaded:
            return
        gone = [name for name, one in list(self._known.items()) if _moved(name, one.place)]
        for name in gone:
            del self._known[name]
        changed = [] if same else [(name, one) for name, one in list(self._known.items()) if not one.same()]
        for name, one in changed:
            self._known[name] = _Known.of(one.place, one.whose)
        new = self._new() if loaded or gone else {}
        anew = gone or not same or not new.keys().isdisjoint(self._known)
        self._known |= new
        self._glance = _Glance().and_also(self._known) if anew else self._glance.and_also(new)

    def _new(self) -> dict[str, _Known]:
        """What is not known yet, or was another one."""
        self._modules = len(sys.modules)
        theirs = strangers(self._tops) if self._tops else {}
        self.variables.take(theirs)
        found = {}
        for name, place in (self._foundations.places() | theirs).items():
            whose: Whose = "theirs" if name in theirs else _whose(name)
            known = self._known.get(name)
            if known is None or known.whose != whose or (name in theirs and known.place is not place):
                found[name] = _Known.of(place, whose)
        return found

    def traces(self) -> list[Trace]:
        """What was replaced, added to a class, or taken away. Where that is nothing, what differs is taken for right: a
        class that noted something at its first use, say, which else would cost a walk over everything every time."""
        if self._glance.same():
            return []
        different = [(name, one) for name, one in list(self._known.items()) if not one.same()]
        found = [trace for name, one in different for trace in one.traces(name)]
        found += [
            Trace(f"sys.modules[{name!r}] replaced", partial(_load, name, one.place),
                  partial(_load, name, sys.modules.get(name)))
            for name, one in list(self._known.items()) if one.stays and _moved(name, one.place)
        ]  # fmt: skip
        if not found:
            self._known |= {name: _Known.of(one.place, one.whose) for name, one in different}
            self._glance = _Glance().and_also(self._known)
        return found


def _whose(name: str) -> Whose:
    return "ours" if name.partition(".")[0] in OURS else "a library's"


def _counts(place: Any, whose: Whose, name: str, value: Any) -> bool:
    """Whether a name is looked at. What a stranger's module keeps besides its functions and classes is its own."""
    if whose == "theirs" and not isinstance(place, type):
        return isinstance(value, FunctionType | BuiltinFunctionType | type)
    return is_function(value) or type(value).__name__ in _KINDS or (whose != "a library's" and name[:2] != "__")


def _bare(value: Any) -> Any:
    """The function behind a class's attribute."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def _moved(name: str, place: Any) -> bool:
    """Whether a module is no longer the one that an import of its name gives; some go by another one anyway."""
    if not isinstance(place, ModuleType) or sys.modules.get(name) is place:
        return False
    return bool(name == place.__name__ == getattr(place.__spec__, "name", None))


def _load(name: str, module: Any) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


def _nothing_of(_held: object) -> tuple[Any, ...]:
    """What is looked at of a class that has no name to look at, but a number of entries."""
    return ()


def _alike(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def _fill(held: Any, was: Any) -> None:
    """Make what a constant holds what it was, in place: others hold it too."""
    if isinstance(held, list):
        held[:] = was
    elif isinstance(held, np.ndarray):
        held[...] = was
    else:
        held.clear()
        held.update(was)


def _set(place: Any, key: str, value: Any) -> None:
    if value is _GONE:
        delattr(place, key)
    else:
        setattr(place, key, value)


def _librarys(place: Any, name: str, held: Any) -> bool:
    """Whether this is what a library puts there when it is imported, whoever imports it first."""
    return (getattr(place, "__name__", ""), name, getattr(held, "__module__", "")) in _PATCHES


def _wraps(new: Any, old: Any, theirs: bool) -> bool:
    """Whether a library put a shell of its own around a function of its own, as torch does around optimizers' steps.

    theirs: the old one is a stranger's, around which only torch may do so.
    """
    if not isinstance(new, FunctionType) or getattr(new, "__wrapped__", None) is not old:
        return False
    home, owner = str(new.__globals__.get("__name__", "")), str(getattr(old, "__module__", ""))
    own = not theirs and home.partition(".")[0] == owner.partition(".")[0]
    return own or home == "torch.optim.optimizer"
