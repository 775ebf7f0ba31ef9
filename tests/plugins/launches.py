"""Work on a pretended GPU, or on tensors without memory, flows in; how it would keep a card waiting flows out.

Three numbers, exact on any machine: operations (what torch dispatches, without views and without memory that is only
taken), copies to the card, and waits of the host for it. Beside them the copies that hold the host up, since they come
from memory that is not pinned: until the card has done all that it was asked before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

FREE = {"_unsafe_view", "detach", "alias", "lift_fresh", "empty", "empty_like", "new_empty", "empty_strided"}
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_unique2", "unique_dim", "is_nonzero",
    "repeat_interleave",
}  # fmt: skip


@dataclass
class Launches:
    """What was counted, by name."""

    operations: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Operations, copies to the card, waits."""
        return self.operations.total(), self.uploads.total(), self.waits.total()

    def clear(self) -> None:
        """Begin anew."""
        for one in (self.operations, self.uploads, self.waits, self.held):
            one.clear()


class Dispatched(TorchDispatchMode):
    """Counts what is dispatched while `there` says so."""

    def __init__(self, found: Launches, there: Callable[[], bool]) -> None:
        super().__init__()
        self._found, self._there = found, there

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if self._there() and not func.is_view and name not in FREE:
            self._found.operations[name] += 1
            if name in WAITING or (name.startswith("index") and _by_mask(args)):
                self._found.waits[name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(args: Any) -> bool:
    """Whether places are chosen by a mask: how many there are is known on the card alone."""
    places = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in places)


@contextmanager
def without_memory() -> Iterator[Launches]:
    """While it is open, all operations are counted: for tensors of the device `meta`."""
    found = Launches()
    with Dispatched(found, lambda: True):
        yield found
