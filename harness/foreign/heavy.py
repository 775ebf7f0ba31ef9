"""Arrays, tensors and networks of strangers' modules flow in; whether they changed flows out: by a sample, or wholly.

They are too heavy to be compared after every call: then some places are, and how often torch wrote to a tensor. All
bytes are compared once a batch, and after every call of a batch that is done again.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.foreign.held import digests
from harness.foreign.shared import copy_of, overwrite

WHOLE = 1 << 24  # bytes that are compared wholly, and kept so that they can be put back; networks are in any case
_PLACES = 256  # of an array


class Heavy:
    """What hangs on a variable, as it was. kept: it can be put back. lost: it changed, and could not be."""

    large, lost = True, False

    def __init__(self, variable: str, held: Any) -> None:
        self.variable, self.held = variable, held
        self._modules = [*held.modules()] if is_network(held) else []
        self._things = [*held.parameters()] if self._modules else [held]
        size = sum(thing.nbytes for thing in self._things)
        self.kept, self._looked_at = size <= WHOLE, size <= WHOLE or bool(self._modules)
        self._sample, self._all = self._sampled(), self._wholly()
        self._copies = [copy_of(thing) for thing in self._things] if self.kept else []

    def same(self, wholly: bool = False) -> bool:
        """Whether it is as it was, as far as a sample tells, or wholly."""
        return self._sampled() == self._sample and (not wholly or self._wholly() == self._all)

    def now(self) -> list[Any]:
        """What it holds, to be filled in again."""
        return [copy_of(thing) for thing in self._things] if self.kept else []

    def fill(self, copies: list[Any] | None = None) -> None:
        """Make it hold these; without them what it held, where that was kept."""
        for thing, copy in zip(self._things, self._copies if copies is None else copies, strict=False):
            overwrite(thing, copy)
        for module, training in zip(self._modules, self._sample[-1] if self._modules else (), strict=True):
            module.training = training

    def _sampled(self) -> tuple[Any, ...]:
        if self._modules:
            return [(one.data_ptr(), _writes(one)) for one in self._things], [one.training for one in self._modules]
        return (_sample(self.held),)

    def _wholly(self) -> list[Any]:
        if not self._looked_at:
            return []
        now = [*self.held.modules()] if self._modules else []
        things = [*self.held.parameters()] if now else self._things
        state = [(len(one._forward_hooks), len(one._forward_pre_hooks), vars(one).get("forward")) for one in now]
        return [*map(id, [*now, *things]), *state, *digests(things)]


def is_heavy(value: Any) -> bool:
    """Whether a value is a network, a tensor with memory, or an array of numbers."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "compile") and isinstance(value, torch.Tensor):
        return bool(value.layout is torch.strided and value.device.type != "meta")
    return is_network(value) or (type(value) is np.ndarray and not value.dtype.hasobject)


def is_network(value: Any) -> bool:
    """Whether a value is a module of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "compile") and isinstance(value, torch.nn.Module)


def _sample(thing: Any) -> tuple[Any, ...]:
    if not isinstance(thing, np.ndarray):
        shown = thing.detach().numpy() if thing.device.type == "cpu" and thing.dtype in _readable() else None
        place = thing.data_ptr(), _writes(thing), tuple(thing.shape), thing.dtype
        return place if shown is None else (*place, shown.flat[_places(shown.size)].tobytes())
    return thing.ctypes.data, thing.shape, thing.dtype, thing.flat[_places(thing.size)].tobytes()


def _writes(tensor: Any) -> int:
    """How often torch wrote to it; made under inference mode, it does not count."""
    return 0 if tensor.is_inference() else tensor._version


@lru_cache(maxsize=256)
def _places(size: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, size - 1, min(size, _PLACES)).astype(np.int64))


@lru_cache(maxsize=1)
def _readable() -> frozenset[Any]:
    """The kinds of numbers that numpy has too."""
    torch = sys.modules["torch"]
    names = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
    return frozenset(getattr(torch, name) for name in names)
