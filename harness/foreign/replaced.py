"""Our loaded modules flow in; what they rest on flows out: their own names, and functions; and what somebody replaced.

What they rest on is read from themselves: the modules that their globals hold or their functions import, of those all
functions and classes, and of the classes that they name the methods. Besides, what libraries rest on: Python's own
functions, numpy's, torch's with its tensors and layers, the layers of what networks are made from, and Pillow's images.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from harness.foreign.watch import Trace

ALWAYS = ("builtins", "numpy")
NETWORKS = ("torch", "torch.nn.functional", "torch.nn")
LIBRARIES = ("diffusers", "transformers", "open_clip", "segmentation_models_pytorch", "timm")  # of layers
PICTURES = ("PIL.Image", "PIL.ImageFile")  # watched before any of ours names them: one of ours may be imported late
OURS = ("harness", "methods", "benchmarks")
_GONE = object()
_PATCHES = {("inspect", "getfile", "torch.package.package_importer")}  # (module, function, who puts another one there)
_MADE = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__")
_FILLED = (dict, list, set, np.ndarray)


@dataclass(frozen=True)
class _Known:
    """The functions of a module or class, of ours all that it names. size: how many entries a class had; modules grow.

    Of ours besides, made: the code and defaults of functions; filled: copies of tables (names in capitals).
    """

    place: Any
    names: tuple[str, ...]
    values: tuple[Any, ...]
    size: int | None
    functions: tuple[FunctionType, ...]
    made: tuple[tuple[Any, ...], ...]
    filled: tuple[tuple[str, Any, Any], ...]

    @classmethod
    def of(cls, place: Any, wholly: bool) -> _Known:
        """wholly: it is ours."""
        held = dict(vars(place))
        names = tuple([name for name, value in held.items() if _is_function(value) or (wholly and name[:2] != "__")])
        size = len(held) if isinstance(place, type) else None
        values = tuple([held[name] for name in names])
        bare = [getattr(value, "__func__", value) for value in values]
        functions = tuple([one for one in bare if wholly and isinstance(one, FunctionType)])
        constants = [(name, held[name]) for name in names if wholly and name.isupper()]
        filled = tuple([(name, one, one.copy()) for name, one in constants if type(one) in _FILLED])
        return cls(place, names, values, size, functions, tuple([*map(_MADE, functions)]), filled)

    def same(self) -> bool:
        now = vars(self.place)
        if self.size is not None and self.size != len(now):
            return False
        if not all(map(operator.is_, map(now.get, self.names), self.values)):
            return False
        made = tuple([*map(_MADE, self.functions)])
        return made == self.made and all(_alike(one, was) for _, one, was in self.filled)

    def traces(self, name: str) -> Iterator[Trace]:
        """What was replaced, or changed inside."""
        for key, was, held in self._replaced():
            put_back, put_on = partial(_set, self.place, key, was), partial(_set, self.place, key, held)
            yield Trace(f"{name}.{key} replaced", put_back, put_on)
        for function, made in zip(self.functions, self.made, strict=True):
            if (now := _MADE(function)) != made:
                words = f"the code or defaults of {function.__module__}.{function.__qualname__} replaced"
                yield Trace(words, partial(_make, function, made), partial(_make, function, now))
        for key, one, was in self.filled:
            if not _alike(one, was):
                yield Trace(f"{name}.{key} changed", partial(_fill, one, was), partial(_fill, one, one.copy()))

    def _replaced(self) -> Iterator[tuple[str, Any, Any]]:
        """Name, what was there and what is there now; _GONE for nothing."""
        now = dict(vars(self.place))
        known = dict(zip(self.names, self.values, strict=True))
        inherited = {name for base in getattr(self.place, "__mro__", ())[1:] for name in vars(base)}
        new = (now.keys() - known.keys()) & inherited  # what hides a parent class's; others replace nothing
        for name in (*self.names, *sorted(one for one in new if _is_function(now[one]))):
            was, held = known.get(name, _GONE), now.get(name, _GONE)
            if was is not held and not _wraps(held, was) and not _librarys(self.place, name, held):
                yield name, was, held


class Functions:
    """The functions that this process rests on, as they were when they were last taken for right."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._words: dict[str, set[str]] = {}  # what the code of each of our modules names
        self._modules = 0

    def settle(self) -> None:
        """Take what is there for right, and take in what was loaded since the last time."""
        for name in [name for name, one in self._known.items() if _moved(name, one.place)]:
            del self._known[name]
            self._modules = 0
        for name in [name for name, one in self._known.items() if not one.same()]:
            self._known[name] = _known(name, self._known[name].place)
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        for name, place in self._places().items():
            if name not in self._known:
                self._known[name] = _known(name, place)

    def traces(self) -> list[Trace]:
        """What was replaced, added to a class, or taken away."""
        found = [trace for name, one in self._known.items() if not one.same() for trace in one.traces(name)]
        return found + [
            Trace(f"sys.modules[{name!r}] replaced", partial(_load, name, one.place),
                  partial(_load, name, sys.modules.get(name)))
            for name, one in self._known.items() if _moved(name, one.place)
        ]  # fmt: skip

    def _places(self) -> dict[str, Any]:
        """Modules and classes whose functions matter, by name."""
        ours = {name: one for name, one in list(sys.modules.items()) if name.partition(".")[0] in OURS}
        found: dict[str, Any] = dict(ours)
        for name, module in ours.items():
            if name not in self._words:
                self._words[name] = {word for one in list(vars(module).values()) for word in _words(one)}
            found |= {one.__name__: one for one in list(vars(module).values()) if isinstance(one, ModuleType)}
        words = set().union(*self._words.values())
        modules = {word for word in words if word in sys.modules}
        parted = ((name, name.rpartition(".")) for name in list(sys.modules))
        inner = {name for name, (outer, _, last) in parted if outer in modules and last in words}
        loaded = {name for name in NETWORKS if hasattr(sys.modules.get("torch"), "compile")}
        found |= {name: sys.modules[name] for name in modules | inner | loaded | {*ALWAYS}}
        pictures = [sys.modules[name] for name in PICTURES if name in sys.modules]
        found |= {one.__name__: one for one in pictures}
        held = (vars(place) for place in list(found.values()))
        named = [one for names in held for word in names.keys() & words if isinstance(one := names[word], type)]
        own = [one for module in ours.values() for one in list(vars(module).values()) if isinstance(one, type)]
        layers = [one for name in loaded for one in _layers(sys.modules[name])]
        layers += _layers_of_libraries() if loaded else []
        drawn = [one.Image for one in pictures if isinstance(vars(one).get("Image"), type)]
        classes = [one for one in (*named, *own, *layers, *drawn) if one.__module__ != "builtins"]
        return found | {f"{one.__module__}.{one.__qualname__}": one for one in classes}


def _known(name: str, place: Any) -> _Known:
    return _Known.of(place, name.partition(".")[0] in OURS)


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


def _make(function: FunctionType, made: tuple[Any, ...]) -> None:
    function.__code__, function.__defaults__, function.__kwdefaults__ = made


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


def _wraps(new: Any, old: Any) -> bool:
    """Whether a library put a shell of its own around a function of its own, as torch does around optimizers' steps."""
    if not isinstance(new, FunctionType) or getattr(new, "__wrapped__", None) is not old:
        return False
    home, owner = str(new.__globals__.get("__name__", "")), str(getattr(old, "__module__", ""))
    return home.partition(".")[0] == owner.partition(".")[0]


def _is_function(value: Any) -> bool:
    return callable(value) or type(value) in (staticmethod, classmethod, property)  # asking itself may warn


def _layers(module: ModuleType) -> list[type]:
    """Tensors, and the layers among a module's classes."""
    torch = sys.modules["torch"]
    classes = [one for one in list(vars(module).values()) if isinstance(one, type)]
    return [one for one in classes if one is torch.Tensor or issubclass(one, torch.nn.Module)]


def _layers_of_libraries() -> list[type]:
    """The layers that loaded modules of LIBRARIES define: research code likes to give them another `forward`."""
    modules = [(name, one) for name, one in list(sys.modules.items()) if name.partition(".")[0] in LIBRARIES]
    return [
        layer for name, module in modules if type(module) is ModuleType
        for layer in _layers(module) if layer.__module__ == name
    ]  # fmt: skip


def _words(value: Any) -> Iterator[str]:
    """All names in the code of a function or of a class's functions."""
    return (word for code in _codes(value) for word in code.co_names)


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, or of all functions of a class, with what is defined inside."""
    if isinstance(value, FunctionType):
        yield from _inner(value.__code__)
    elif isinstance(value, type):
        for one in list(vars(value).values()):
            inside = getattr(one, "__func__", getattr(one, "fget", getattr(one, "func", one)))
            if isinstance(inside, FunctionType):
                yield from _inner(inside.__code__)


def _inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _inner(one)
