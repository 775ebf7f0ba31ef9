"""An object flows in; the arrays, tensors and networks' modules that hang on it, however deep, flow out, with digests.

What hangs on an object is asked of Python's garbage collector, so slots, closures and nested containers are seen alike.
"""

from __future__ import annotations

import gc
import sys
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

MOST = 50_000  # objects that are looked into
_ATOMS = frozenset(
    {str, bytes, int, float, bool, complex, type(None), type, ModuleType, CodeType, BuiltinFunctionType, np.dtype}
)
MAPPINGS = (dict, OrderedDict, defaultdict)
_FILLED = (list, set)
_MADE = 1 << 9  # the flag of classes that are made while Python runs
TABLES = ("_parameters", "_buffers", "_modules")
SMALL = 1 << 16  # bytes of an array that are kept and not weighed: faster, and exact
_WORDS = 1 << 20  # numbers of 8 bytes that are weighed at a time on a GPU
_weights: dict[Any, Any] = {}  # of every device


class Hanging(NamedTuple):
    """What can be reached from an object without evaluating anything.

    things: arrays and tensors. networks: torch's modules. holders: objects that hold others, modules among them.
    within: what else was looked into (tuples, closures, modules' tables).
    """

    things: list[Any]
    networks: list[Any]
    holders: list[Any]
    within: list[Any]


NOTHING = Hanging([], [], [], [])


def hanging(root: Any, apart: Iterable[Any] = (), modules: bool = False) -> Hanging:
    """What hangs on an object. apart: objects that are not looked into. modules: whether torch's modules are."""
    tensor, module = _kinds()
    seen = {id(one) for one in apart}
    things, networks, holders, within = found = Hanging([], [], [], [])
    todo = [root]
    while todo and len(seen) < MOST:
        thing = todo.pop()
        kind = type(thing)
        if kind in _ATOMS or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (np.ndarray, *tensor)):
            things.append(thing)
        elif isinstance(thing, type | ModuleType):
            continue
        elif isinstance(thing, module):
            if modules:
                networks.append(thing)
                holders.append(thing)
                todo += _inside_module(thing, within)
        elif isinstance(thing, FunctionType):
            within.append(thing)
            todo += (*(thing.__closure__ or ()), *(thing.__defaults__ or ()))
        elif kind in MAPPINGS:
            holders.append(thing)
            todo += thing.values()
        else:
            (holders if kind in _FILLED or kind.__flags__ & _MADE else within).append(thing)
            todo += gc.get_referents(thing)
    return found


def _kinds() -> tuple[Any, Any]:
    """torch's types of tensors and of modules; nothing where it is not loaded."""
    torch = sys.modules.get("torch")
    return ((torch.Tensor,), (torch.nn.Module,)) if torch is not None and hasattr(torch, "compile") else ((), ())


def is_table(name: str) -> bool:
    """Whether an attribute of a module is one of torch's own tables."""
    return name in TABLES or name.endswith("_hooks")


def _inside_module(module: Any, tables: list[Any]) -> list[Any]:
    """What a module holds, without its many tables, which are added to those given."""
    found: list[Any] = []
    for name, value in vars(module).items():
        if type(value) in MAPPINGS and (not value or is_table(name)):
            tables.append(value)
            found += value.values()
        elif type(value) not in _ATOMS:
            found.append(value)
    return found


def digests(things: Sequence[Any]) -> list[Any]:
    """A number for the bytes of every array or tensor, of a small one these bytes, None where it has none; one wait a
    device."""
    found: list[Any] = []
    waiting: dict[Any, list[tuple[int, Any]]] = {}
    for place, thing in enumerate(things):
        try:
            number = _of_array(thing) if isinstance(thing, np.ndarray) else _of_tensor(thing)
        except Exception:  # an array of objects, a tensor without memory of its own (sparse, meta)
            number = None
        if not (number is None or isinstance(number, int | bytes)):
            waiting.setdefault(number.device, []).append((place, number))
        found.append(number)
    for pairs in waiting.values():
        numbers = sys.modules["torch"].stack([number for _, number in pairs]).tolist()
        for (place, _), number in zip(pairs, numbers, strict=True):
            found[place] = number
    return found


def _of_array(array: np.ndarray[Any, Any]) -> int | bytes:
    if array.dtype.hasobject:
        raise TypeError("its bytes are addresses")
    if array.nbytes <= SMALL:
        return _bytes_of(array)
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return zlib.crc32(flat)


_bytes_of = np.ndarray.tobytes  # whatever class of its own an array has


def _of_tensor(tensor: Any) -> Any:
    """On the CPU a number, or its bytes; elsewhere a tensor of it on the device: a sum in which every place has its own
    odd weight, so that a changed, moved or swapped entry changes it."""
    torch = sys.modules["torch"]
    if tensor.device.type == "cpu":
        with suppress(TypeError, ValueError):  # a kind that numpy lacks, entries that do not lie in a row
            array = tensor.detach().numpy()
            return _bytes_of(array) if array.nbytes <= SMALL else zlib.crc32(array)
    flat = tensor.detach().reshape(-1)
    flat = (torch.view_as_real(flat) if flat.is_complex() else flat).reshape(-1).view(torch.uint8)
    if flat.device.type == "cpu":
        return zlib.crc32(flat.numpy())
    whole = len(flat) // 8 * 8
    words = (flat[:whole] if flat.data_ptr() % 8 == 0 else flat[:whole].clone()).view(torch.int64)
    if flat.device not in _weights:
        odd = np.random.Generator(np.random.PCG64(0)).integers(0, 1 << 62, _WORDS, np.int64) * 2 + 1
        _weights[flat.device] = torch.from_numpy(odd).to(flat.device)
    weights = _weights[flat.device]
    total = (flat[whole:].to(torch.int64) * weights[: len(flat) - whole]).sum()
    for part in words.split(_WORDS):
        total = total * 6364136223846793005 + (part * weights[: len(part)]).sum()
    return total
