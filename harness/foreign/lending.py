"""Images and features flow in; what plug-ins may look at but not write to flows out, and whether one did write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Query, Vocabulary
from harness.foreign.held import NOTHING, digests, hanging
from harness.foreign.structure import Contents, moved, structure


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


class LentValue:
    """A frozen value of the contract (a vocabulary, a query, the passes that are asked for), lent as a copy of its own.

    Who changes the copy by force changes nobody's but its own, and is found out.
    """

    def __init__(self, value: Any, words: str) -> None:
        self._value = value
        self.value: Any = _copied(value)
        self.clause = f"another {words} than it was lent"

    def written(self) -> bool:
        """Whether the copy is no longer equal to what it is a copy of."""
        try:
            return not _equal(self._value, self.value)
        except Exception:  # a foreign value in it may raise anything
            return True


def _copied(value: Any) -> Any:
    if isinstance(value, Query):
        return Query(value.image_id, value.image, _copied(value.vocabulary))
    if type(value) is Vocabulary:  # made of what is in it: to set all of a frozen one takes three times as long
        copy = object.__new__(Vocabulary)
        vars(copy).update(vars(value))
        return copy
    if isinstance(value, Vocabulary):
        return replace(value)
    if isinstance(value, Mapping):
        return {_copied(key): parts for key, parts in value.items()}
    if isinstance(value, list):
        return [_copied(one) for one in value]
    try:
        return deepcopy(value)
    except Exception:  # a pass of a stranger's that cannot be copied is lent itself
        return value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Query):  # whose image is an array, and looked after by itself
        same = one.image_id == other.image_id and one.image is other.image
        return same and bool(one.vocabulary == other.vocabulary)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


class LentFeatures:
    """What a pass left for one image. While it is lent, arrays are read-only and writes to tensors are counted.

    closely: their bytes and what they hold are compared too, which finds writes that torch does not count (`.data`,
    `.numpy()`, memory by force) and other objects put there. apart: what they share with the network, which is looked
    after by itself. trusted: they are read by ours alone, so they are lent as they are.
    """

    clause = "other numbers in the features that it reads, which others read after it"

    def __init__(self, features: Any, apart: Sequence[Any] = (), trusted: bool = False) -> None:
        self.features, self.damaged, self._closely = features, False, False
        hangs = NOTHING if trusted else hanging(features, apart)
        self._things, self._holders = hangs.things, hangs.holders
        self._arrays = [one for one in self._things if isinstance(one, np.ndarray)]
        self._tensors = [one for one in self._things if not isinstance(one, np.ndarray) and _writes(one) is not None]
        self._digests: tuple[list[Any], list[Any]] | None = None
        self._structure: Contents = {}
        self._locked: list[NDArray[Any]] = []

    def remember(self) -> None:
        """Take its bytes for right, if they were not before."""
        if self._digests is None:
            self._digests, self._structure = self._bytes(), structure(self._holders)

    def changed(self) -> bool:
        """Whether its bytes, or what it holds, are other than those remembered; it is damaged then."""
        if self._digests is not None and not self.damaged:
            self.damaged = self._digests != self._bytes() or bool(moved(self._structure, structure(self._holders)))
        return self.damaged

    def _bytes(self) -> tuple[list[Any], list[Any]]:
        return [(one.shape, one.dtype) for one in self._things], digests(self._things)

    @contextmanager
    def lent(self, closely: bool, locked: bool = True) -> Iterator[None]:
        """A reader looks at it. Afterwards arrays may be written to: they may be the backbone's, for its next pass."""
        self._closely = closely
        if closely:
            self.remember()
        self._locked = [one for one in self._arrays if locked and one.flags.writeable]
        self._counts = [one._version for one in self._tensors]
        for array in self._locked:
            array.flags.writeable = False
        try:
            yield
        finally:
            for array in self._locked:
                _unlock(array)

    def written(self) -> bool:
        """Whether a reader wrote into them, or made them writable; they are damaged then."""
        counts = [one._version for one in self._tensors]
        self.damaged |= counts != self._counts or any([one.flags.writeable for one in self._locked])
        return self.damaged or (self._closely and self.changed())


class LentBatch(Sequence[LentFeatures]):
    """What a pass left for a batch, lent image by image. whole: as its backbone gave it. apart, trusted: see above."""

    def __init__(self, whole: Sequence[Any], apart: Sequence[Any] = (), trusted: bool = False) -> None:
        self.whole, self._apart, self._trusted = whole, apart, trusted
        self._lent: dict[int, LentFeatures] = {}

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, place: Any) -> Any:
        if place not in self._lent:
            self._lent[place] = LentFeatures(self.whole[place], self._apart, self._trusted)
        return self._lent[place]


def _unlock(array: NDArray[Any]) -> None:
    """A view can be unlocked only while the array behind it is, which may be lent as well."""
    owner = array.base
    locked = isinstance(owner, np.ndarray) and not owner.flags.writeable
    with suppress(ValueError):
        if isinstance(owner, np.ndarray):
            owner.flags.writeable = True
        array.flags.writeable = True
        if isinstance(owner, np.ndarray) and locked:
            owner.flags.writeable = False


def _writes(tensor: Any) -> int | None:
    """How often a tensor was written to; None where torch does not count (tensors of inference mode)."""
    try:
        return int(tensor._version)
    except (AttributeError, RuntimeError):
        return None
