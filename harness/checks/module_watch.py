"""Objects flow in; the networks' modules that can be reached from them, and what hangs on each of them, flow out.

Knows torch modules by their shape (`named_modules`, hook dictionaries), so that it need not import torch.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

DEPTH = 6  # attributes of attributes of ... that are looked into
WIDTH = 256  # entries of one list or mapping that are looked into

State = Mapping[str, Any]  # what hangs on one module, by a word for it


def open_lazily(*things: object) -> None:
    """Evaluate cached properties, where networks that open at first use are kept; whatever they raise passes."""
    for thing in things:
        names = {name for cls in type(thing).__mro__ for name, value in vars(cls).items() if _is_lazy(value)}
        for name in sorted(names):
            getattr(thing, name)


def watched(*roots: object) -> dict[str, State]:
    """What hangs on every module: hooks, attention processors, replaced forwards, training mode; by the module's path.

    Looks through attributes, lists and mappings of the objects, their classes' attributes and their files' globals.
    """
    return {path: _hanging(module) for path, module in _modules(roots).items()}


def left_behind(before: Mapping[str, State], after: Mapping[str, State]) -> list[str]:
    """What is different, one clause each: `forward hooks of Network.unet.mid_block (0 before, 1 after)`."""
    clauses = []
    for path, now in after.items():
        for word, held in now.items():
            former = before.get(path, now).get(word)
            if not _same(former, held):
                clauses.append(f"{word} of {path}{_counts(former, held)}")
    return clauses


def _is_lazy(value: object) -> bool:
    return isinstance(value, cached_property)


def _is_module(thing: object) -> bool:
    return not isinstance(thing, type) and hasattr(thing, "named_modules") and hasattr(thing, "_forward_hooks")


def _modules(roots: Sequence[object]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen: set[int] = set()
    queue: deque[tuple[str, Any, int]] = deque((type(root).__name__, root, 0) for root in roots)
    queue.extend(place for root in roots for place in _around(type(root)))
    while queue:
        path, thing, depth = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if _is_module(thing):
            inner = {f"{path}.{name}" if name else path: module for name, module in thing.named_modules()}
            seen |= {id(module) for module in inner.values()}
            found |= inner
        elif depth < DEPTH:
            queue.extend((f"{path}.{name}", value, depth + 1) for name, value in _inside(thing))
    return found


def _around(cls: type) -> Iterator[tuple[str, Any, int]]:
    """Modules kept as a class's attribute or as a global of its file, without looking into anything else there."""
    file = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    places = [(cls.__name__, vars(cls)), (cls.__module__, file)]
    for path, held in places:
        yield from ((f"{path}.{name}", value, DEPTH) for name, value in list(held.items()) if _is_module(value))


def _inside(thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, str | bytes | int | float | type | ModuleType) or hasattr(thing, "__array__"):
        return []
    if isinstance(thing, Mapping):
        return [(str(name), value) for name, value in list(thing.items())[:WIDTH]]
    if isinstance(thing, list | tuple | set | frozenset):
        names = getattr(thing, "_fields", range(WIDTH))
        return [(str(name), value) for name, value in zip(names, thing, strict=False)]
    return list(getattr(thing, "__dict__", {}).items())


def _hanging(module: Any) -> dict[str, Any]:
    """By a word: the tuple of hooks of every kind, the processor, the forward if it was replaced, the mode."""
    held = vars(module)
    hooks = {
        name.strip("_").replace("_", " "): tuple(value.values())
        for name, value in held.items()
        if name.endswith("_hooks") and isinstance(value, Mapping)
    }
    processor = held.get("processor", held.get("_modules", {}).get("processor"))
    return {**hooks, "attention processor": processor, "forward": held.get("forward"), "training mode": module.training}


def _same(then: Any, now: Any) -> bool:
    if isinstance(now, tuple) and isinstance(then, tuple):
        return len(then) == len(now) and all(one is other for one, other in zip(then, now, strict=True))
    return then is now


def _counts(then: Any, now: Any) -> str:
    return f" ({len(then)} before, {len(now)} after)" if isinstance(now, tuple) and isinstance(then, tuple) else ""
