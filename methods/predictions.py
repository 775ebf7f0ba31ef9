"""An image's id flows in; the label map, or the scores, that another program wrote for it flow out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts import NO_CLASS, Image, LabelMap, MethodError, ModelError, Scores, Vocabulary
from methods.stored_arrays import UNCOVERED, read_array
from methods.stored_files import StoredFiles

_LARGEST = 65535  # a number in a label map
_UNKNOWN = -2
_SHOWN = 6


@dataclass(frozen=True)
class Folder:
    """Method: predictions that any other program wrote, a file an image: label maps (PNG, TIFF, NPY, JSON)
    or scores (planes, rows, columns) of any resolution (NPY, NPZ). The image itself is not looked at.

    root: the folder; its content is in the run's id. files: the file of an image below it, with `*` where its id
    stands; without an ending, the one that is there. classes: names in order, or a file with one a line: number `first`
    is the first of them; without them and `labels`, the benchmark's. labels: number -> class, in place of classes;
    several numbers may be one class. nothing: numbers that are no class. Plane k of scores has the number k; the best
    plane of a class counts. A class that is not offered is no class in a label map. array: a name within NPZ files.
    """

    root: Path
    files: str = "*"
    classes: tuple[str, ...] | str = ()
    labels: Mapping[str, str] | None = None
    first: int = 0
    nothing: tuple[int, ...] = ()
    array: str = ""

    whole_image: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _ = self._files
        if self.labels is not None and (self.classes or self.first):
            raise MethodError("labels say which number is which class; leave out classes and first.")
        wrong = [key for key in self.labels or () if not (key.isascii() and key.isdecimal() and int(key) <= _LARGEST)]
        wrong += [str(number) for number in (self.first, *self.nothing) if abs(number) > _LARGEST]
        if wrong:
            raise MethodError(f"{wrong[0]!r} is no number of a label map; these go from 0 to {_LARGEST}.")

    def models_to_fetch(self) -> Sequence[str]:
        """None ever is; ModelError for a folder or a file that is not on this machine, told with all else."""
        self._files.check()
        if isinstance(self.classes, str) and not Path(self.classes).is_file():
            raise ModelError(f"There is no file {self.classes} with classes; give their names in order, or a file.")
        return ()

    def open_models(self) -> Sequence[str]:
        """See which files there are and how they stand. ModelError where a folder, or the classes, cannot be read."""
        _ = self._files.listed, self._names
        return ()

    def unanswered(self, image_ids: Sequence[str]) -> Sequence[str]:
        """The images that have no file, or several. ModelError where the folder cannot be read."""
        return self._files.missing(image_ids)

    def segment(self, image: Image, vocabulary: Vocabulary, image_id: str = "") -> LabelMap | Scores:
        """Label map (height, width) of the image, or scores. MethodError, with the file, for what does not fit."""
        path = self._files.of(image_id)
        found, numbers = read_array(path, self.array), self._positions(vocabulary)
        if path.suffix == ".json":
            numbers.setdefault(UNCOVERED, NO_CLASS)
        if found.ndim == 3 and found.dtype.kind == "f":
            return _scores(found, numbers, vocabulary, path)
        if found.ndim != 2 or found.dtype.kind not in "ui":
            raise MethodError(
                f"{path} holds {found.dtype} of shape {found.shape}; a label map is whole numbers (height, width), "
                "scores are floats (planes, rows, columns)"
            )
        if found.shape != image.shape[:2]:
            raise MethodError(
                f"{path} is {found.shape[0]} x {found.shape[1]}, and the image is {image.shape[0]} x {image.shape[1]} "
                "(height x width): label maps have the image's own size"
            )
        return _labels(found, numbers, path)

    @cached_property
    def _files(self) -> StoredFiles:
        return StoredFiles(self.root, self.files, "prediction")

    @cached_property
    def _names(self) -> dict[int, str]:
        """Number -> class, as the settings say."""
        if self.labels is not None:
            return {int(key): name for key, name in self.labels.items()}
        names: Sequence[str] = self.classes
        if isinstance(self.classes, str):
            try:
                lines = Path(self.classes).read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError) as error:
                raise ModelError(f"The classes in {self.classes} cannot be read: {error}.") from error
            names = [line.strip() for line in lines if line.strip()]
        return dict(enumerate(names, start=self.first))

    def _positions(self, vocabulary: Vocabulary) -> dict[int, int]:
        """Number -> position in what is offered, or NO_CLASS. MethodError for names that are no class."""
        if self._names:
            known = _known(vocabulary)
            found = {number: _position(name, known) for number, name in self._names.items()}
        elif vocabulary.others:
            raise MethodError("not all classes are offered: give `classes` or `labels`, so that numbers have names")
        else:
            around = {vocabulary.background, *vocabulary.context}
            found = dict(enumerate((place for place in range(len(vocabulary)) if place not in around), self.first))
        if both := next((number for number in self.nothing if number in found), None):
            raise MethodError(f"the number {both} is a class and under `nothing`; it can be one of them")
        return {**found, **dict.fromkeys(self.nothing, NO_CLASS)}


def _known(vocabulary: Vocabulary) -> dict[str, set[int]]:
    """Word -> positions; where a word is some class's usual name, those alone. NO_CLASS stands for what is not
    offered."""
    usual, other = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
    for place, words in (*enumerate(vocabulary.names), *((NO_CLASS, words) for words in vocabulary.others)):
        usual[words[0]].add(place)
        for word in words:
            other[word].add(place)
    return {**other, **usual}


def _position(name: str, known: Mapping[str, set[int]]) -> int:
    found = known.get(name, set())
    if len(found) != 1:
        near = get_close_matches(name, known, n=1)
        told = "a word of several classes; give the usual name of the one that is meant" if found else "no class"
        hint = "" if found else f"; did you mean {near[0]!r}?" if near else f" ({', '.join([*known][:_SHOWN])} ...)"
        raise MethodError(f"predictions are said to be of {name!r}, which is {told}{hint}")
    return next(iter(found))


def _labels(found: NDArray[Any], numbers: Mapping[int, int], path: Path) -> LabelMap:
    """Positions (height, width) of a map of numbers."""
    lowest = min(numbers, default=0)
    table = np.full(max(numbers, default=0) - lowest + 3, _UNKNOWN, np.int32)  # both ends stand for all beyond
    for number, position in numbers.items():
        table[number - lowest + 1] = position
    places = np.clip(found.astype(np.int64) - lowest + 1, 0, len(table) - 1)
    positions: LabelMap = table[places]
    if (bad := positions == _UNKNOWN).any():
        rows, columns = np.nonzero(bad)
        values = ", ".join(map(str, np.unique(found[bad])[:_SHOWN].tolist()))
        raise MethodError(
            f"{path} has the number {values} in {rows.size} pixels, first at row {rows[0]}, column {columns[0]}, and "
            f"numbers are {_shown(numbers)}; name it in `classes`, `labels` or `nothing`"
        )
    return positions


def _scores(found: NDArray[Any], numbers: Mapping[int, int], vocabulary: Vocabulary, path: Path) -> Scores:
    """The planes of what is offered, in order."""
    planes: list[list[int]] = [[] for _ in vocabulary.names]
    for number in range(len(found)):
        if number not in numbers:
            raise MethodError(
                f"{path} has {len(found)} planes, and numbers are {_shown(numbers)}: name the {number} too"
            )
        if numbers[number] != NO_CLASS:
            planes[numbers[number]].append(number)
    for words, own in zip(vocabulary.names, planes, strict=True):
        if not own:
            raise MethodError(f"{path} has no plane for {words[0]!r}, which the protocol offers")
    return np.stack([found[own].max(axis=0) for own in planes])


def _shown(numbers: Mapping[int, int]) -> str:
    known = sorted(numbers)
    return ", ".join(map(str, known[:_SHOWN])) + (f", ... {known[-1]}" if len(known) > _SHOWN else "")
