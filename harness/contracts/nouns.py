"""What plug-ins are given and give back: recipes, samples, vocabularies, queries and the types of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.contracts.spelling import exact_text

BACKGROUND = 0  # in a truth: no class of the benchmark
IGNORED = 255  # in a truth of 8 bits: not scored
WIDE_IGNORED = 65535  # the same in 16 bits, as the house counts; in stored overlaps, as a prediction: no class
TRUTH_TYPE = np.uint8  # of truths with up to 254 classes; of others np.uint16
MOST_CLASSES = WIDE_IGNORED - 1  # what a truth can number besides background and ignored
NO_CLASS = -1  # in a label map: the method gives no class to this pixel

Image: TypeAlias = NDArray[np.uint8]  # (height, width, 3), RGB
Truth: TypeAlias = NDArray[np.unsignedinteger[Any]]  # (height, width), uint8 or uint16: 0 background,
# k = classes[k - 1]; ignored is the largest number of the type: 255 in 8 bits, 65535 in 16
LabelMap: TypeAlias = NDArray[np.integer[Any]]  # (height, width) of the image; positions in the vocabulary, or NO_CLASS
Features: TypeAlias = object  # what a pass leaves for one image; a reader names its backbone's own type
Words: TypeAlias = tuple[tuple[str, ...], ...]  # per class, in order, one or more words; the first is the usual name
Parts: TypeAlias = frozenset[str]  # which parts of a pass are read; a backbone documents their names


class Scores(Protocol):
    """Evidence (positions, rows, columns) of one image: a float array or torch tensor, of any resolution, anywhere."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...


class FrozenDict(dict[Any, Any]):
    """A mapping as a setting holds it: it can be hashed, and not changed; a copy can be: `dict(it)`.

    `freeze` sorts its keys, so that what stands in no id, the order in which they were written, is not to be seen.
    """

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[Any, Any]]]:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a mapping that is a setting cannot be changed; change a copy: dict(it)")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


def freeze(value: Any) -> Any:
    """Lists become tuples and mappings FrozenDicts, all the way down, so that settings can be hashed; others pass."""
    if isinstance(value, list | tuple):
        return tuple([freeze(item) for item in value])
    if isinstance(value, Mapping):
        return FrozenDict((key, freeze(value[key])) for key in sorted(value, key=_by_text))
    return value


def _by_text(key: object) -> tuple[str, str]:
    return str(key), type(key).__name__


@dataclass(frozen=True)
class Recipe:
    """An address `module:Class` with settings; travels between processes in place of the object it describes.

    Two are equal if they are spelled alike: settings of 1, 1.0 and True make three recipes, as they have three ids.
    """

    use: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipe):
            return NotImplemented
        return self is other or (self.use == other.use and self._spelled() == other._spelled())

    def __hash__(self) -> int:
        return hash((self.use, self._spelled()))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.use, self.settings)

    def _spelled(self) -> str:
        """The text of its settings, remembered for the settings that it was made from."""
        held: tuple[Any, str] | None = vars(self).get("_told")
        if held is None or held[0] is not self.settings:
            held = vars(self)["_told"] = self.settings, exact_text(self.settings)
        return held[1]

    @classmethod
    def of(cls, use: str, /, **settings: Any) -> Recipe:
        """The recipe with its settings frozen and sorted by name."""
        return cls(use, tuple(sorted((name, freeze(value)) for name, value in settings.items())))

    def as_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return dict(self.settings)


@dataclass(frozen=True)
class Sample:
    """One image of a benchmark with its truth; both have the same height and width."""

    image_id: str
    image: Image
    truth: Truth


@dataclass(frozen=True)
class Vocabulary:
    """The classes offered to a method for one image. Positions in `names` are what label maps and scores refer to.

    names: per position one or more words for the class, the first one the usual name.
    others: the benchmark's classes that are not offered, in order (controls use them as wrong prompts).
    templates: sentences with one `{}` into which a name is put.
    background: the position of the background, when the protocol offers it as a class like any other.
    context: the positions of context words, each of which stands for the background.
    everywhere: whether every image is offered these, since the protocol offers all classes; not where an image happens
    to hold them all. A network may lay out its calls for it.
    """

    names: tuple[tuple[str, ...], ...]
    others: tuple[tuple[str, ...], ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}",)
    background: int | None = None
    context: tuple[int, ...] = ()
    everywhere: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def words(self) -> tuple[str, ...]:
        """The usual name of every position."""
        return tuple([synonyms[0] for synonyms in self.names])


@dataclass(frozen=True)
class Query:
    """What a backbone is given of one image: no truth. A filler (empty id) only keeps a batch's shape.

    A window of an image is a query of its own, whose id is `image@top,left`.
    """

    image_id: str
    image: Image
    vocabulary: Vocabulary
