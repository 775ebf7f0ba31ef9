"""Our loaded modules flow in; the modules and classes that they rest on flow out.

What they rest on is read from themselves: the modules that their globals hold or their functions import, of those all
functions and classes, and of the classes that they name the methods. Besides, what libraries rest on: Python's own
functions, numpy's, torch's with its tensors and layers, the layers of what networks are made from, and Pillow's images.
And the modules of strangers with their classes: benchmarks, methods, and the helpers that they bring along.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

ALWAYS = ("builtins", "numpy")
NETWORKS = ("torch", "torch.nn.functional", "torch.nn")
LIBRARIES = ("diffusers", "transformers", "open_clip", "segmentation_models_pytorch", "timm")  # of layers
PICTURES = ("PIL.Image", "PIL.ImageFile")  # watched before any of ours names them: one of ours may be imported late
OURS = ("harness", "methods", "benchmarks")
_SITES = ("site-packages", "dist-packages")
_PYTHON = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
# besides ours, packages that are no plug-ins'; whoever runs plug-ins in a process of other code may add to them
NOBODYS = {"__main__", "__mp_main__", "results"}


def loaded(name: str) -> Any:
    """A module that is here, wholly: None while another thread, say, is still importing it."""
    module = sys.modules.get(name)
    return None if half_loaded(module) else module


def half_loaded(module: object) -> bool:
    """Whether a module is being imported."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class Foundations:
    """What this process rests on. words: what the code of each of our modules names, read once."""

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = {}

    def places(self) -> dict[str, Any]:
        """Modules and classes whose functions matter, by name."""
        ours = {name: one for name, one in list(sys.modules.items()) if name.partition(".")[0] in OURS}
        found: dict[str, Any] = dict(ours)
        for name, module in ours.items():
            if name not in self._words:
                self._words[name] = {word for one in list(vars(module).values()) for word in _words(one)}
            found |= {one.__name__: one for one in list(vars(module).values()) if isinstance(one, ModuleType)}
        words = set().union(*list(self._words.values()))
        modules = {word for word in words if word in sys.modules}
        parted = ((name, name.rpartition(".")) for name in list(sys.modules))
        inner = {name for name, (outer, _, last) in parted if outer in modules and last in words}
        loaded = {name for name in NETWORKS if hasattr(sys.modules.get("torch"), "compile")}
        found |= {name: sys.modules[name] for name in modules | inner | loaded | {*ALWAYS}}
        pictures = [sys.modules[name] for name in PICTURES if name in sys.modules]
        found |= {one.__name__: one for one in pictures}
        held = (vars(place) for place in list(found.values()))
        named = [one for names in held for word in names.keys() & words if isinstance(one := names[word], type)]
        all_own = [one for module in ours.values() for one in list(vars(module).values())]
        own = _with_inner(one for one in all_own if isinstance(one, type))
        layers = [one for name in loaded for one in _layers(sys.modules[name])]
        layers += _layers_of_libraries() if loaded else []
        drawn = [one.Image for one in pictures if isinstance(vars(one).get("Image"), type)]
        classes = [one for one in (*named, *own, *layers, *drawn) if one.__module__ != "builtins"]
        return found | {f"{one.__module__}.{one.__qualname__}": one for one in classes}


def strangers(tops: Collection[str]) -> dict[str, Any]:
    """Loaded modules that lie in no library, and their classes, by name. tops: packages that count wherever they do."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if type(module) is not ModuleType or top in (*OURS, *NOBODYS) or (top not in tops and _of_a_library(module)):
            continue
        classes = _with_inner(one for one in list(vars(module).values()) if isinstance(one, type))
        classes = [one for one in classes if one.__module__ == name]
        found |= {name: module, **{f"{name}.{one.__qualname__}": one for one in classes}}
    return found


def _with_inner(classes: Iterable[type]) -> list[type]:
    """Classes, and those that are defined inside them."""
    found, todo = dict[int, type](), list(classes)
    while todo:
        one = todo.pop()
        if id(one) not in found:
            found[id(one)] = one
            todo += [
                inner for inner in list(vars(one).values())
                if isinstance(inner, type) and inner.__qualname__.startswith(f"{one.__qualname__}.")
            ]  # fmt: skip
    return list(found.values())


def is_strangers(one: Any) -> bool:
    """Whether a class or function is of a module that is in no library and none of ours."""
    name = getattr(one, "__module__", None)
    if not isinstance(name, str) or name.partition(".")[0] in OURS:  # what C made has none
        return False
    module = sys.modules.get(name)
    return module is None or not _of_a_library(module)


def _of_a_library(module: ModuleType) -> bool:
    file = vars(module).get("__file__")
    return not isinstance(file, str) or _in_a_library(file)


@cache
def _in_a_library(file: str) -> bool:
    """Parting a path costs more than all else that is looked at in thousands of loaded modules."""
    return file.startswith(_PYTHON) or not set(_SITES).isdisjoint(Path(file).parts)


def is_function(value: Any) -> bool:
    """Whether a module or class has this for others to call."""
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
    return (word for code in codes_of(value) for word in code.co_names)


def codes_of(value: Any) -> Iterator[CodeType]:
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
