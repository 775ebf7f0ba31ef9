"""Images and features flow in; what plug-ins may look at but not write to flows out, and whether one did write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

DEPTH = 4  # attributes of attributes of ... of features that are looked into
WIDTH = 256  # entries of one list or mapping that are looked into


class Lent(Protocol):
    """Something that a plug-in may look at. clause: what it left where it wrote to it."""

    clause: str

    def written(self) -> bool: ...


class LentImage:
    """An image (any shape and dtype) as an array that cannot be made writable.

    Its memory can still be reached by force (ctypes, torch.from_numpy): `written` finds that out, and mends it.
    """

    clause = "other pixels in the image that it was lent"

    def __init__(self, image: NDArray[Any]) -> None:
        self._kept = image.tobytes()
        self._memory = bytearray(self._kept)
        flat = np.frombuffer(memoryview(self._memory).toreadonly(), image.dtype) if self._kept else image.reshape(-1)
        self.image: NDArray[Any] = flat.reshape(image.shape)
        self.image.flags.writeable = False

    def written(self) -> bool:
        """Whether anybody wrote to it since it was last asked; afterwards it is as it was lent."""
        if self._memory == self._kept:
            return False
        self._memory[:] = self._kept
        return True


class LentFeatures:
    """What a pass left for one image. While it is entered a reader looks at it: arrays are read-only, tensors counted.

    A write to a tensor's memory that torch does not count (through `.data` or `.numpy()`) is not found.
    """

    clause = "other numbers in the features that it reads, which others read after it"

    def __init__(self, features: Any) -> None:
        self.features, self.damaged = features, False
        held = list(_held(features))
        self._arrays = [one for one in held if isinstance(one, np.ndarray)]
        self._tensors = [one for one in held if not isinstance(one, np.ndarray) and _writes(one) is not None]
        self._locked: list[NDArray[Any]] = []

    def __enter__(self) -> None:
        self._locked = [one for one in self._arrays if one.flags.writeable]
        self._counts = [one._version for one in self._tensors]
        for array in self._locked:
            array.flags.writeable = False

    def __exit__(self, *_: object) -> None:
        """The arrays may be the backbone's own, for its next pass."""
        for array in self._locked:
            array.flags.writeable = True

    def written(self) -> bool:
        """Whether a reader wrote into them, or made them writable; they are damaged then."""
        counts = [one._version for one in self._tensors]
        self.damaged |= counts != self._counts or any([one.flags.writeable for one in self._locked])
        return self.damaged


def _writes(tensor: Any) -> int | None:
    """How often a tensor was written to; None where torch does not count (tensors of inference mode)."""
    try:
        return int(tensor._version)
    except (AttributeError, RuntimeError):
        return None


def _held(thing: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Arrays and tensors in attributes, lists and mappings; nothing is evaluated to find them."""
    if isinstance(thing, np.ndarray) or hasattr(type(thing), "_version"):
        yield thing
    elif depth and not isinstance(thing, str | bytes | int | float | type | None):
        for inner in _inside(thing):
            yield from _held(inner, depth - 1)


def _inside(thing: Any) -> list[Any]:
    if isinstance(thing, Mapping):
        return list(thing.values())[:WIDTH]
    if isinstance(thing, list | tuple):
        return list(thing[:WIDTH])
    return list(getattr(thing, "__dict__", {}).values())[:WIDTH]
