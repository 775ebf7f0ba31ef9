"""A folder of another program's files flows in; the one file of an image flows out, by its id, and is never guessed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from harness.contracts import MethodError, ModelError
from methods.stored_arrays import ENDINGS


class State(NamedTuple):
    """Of a file; another one where its content changed."""

    size: int
    written: int
    changed: int
    inode: int


@dataclass(frozen=True)
class StoredFiles:
    """Files below a root, one an image. pattern: the file of an image, with `*` where its id stands; without an ending,
    the one that is there. kind: what they are, in a word that takes an s.
    """

    root: Path
    pattern: str
    kind: str

    def __post_init__(self) -> None:
        if self.pattern.count("*") != 1 or leads_out(self.pattern):
            raise MethodError(f"files is {self.pattern!r}; give a name below root with one * for the image's id.")

    def check(self) -> None:
        """ModelError where there is no such folder on this machine."""
        if not self.root.is_dir():
            raise ModelError(f"There is no folder {self.root} with {self.kind}s; write one, or give another root.")

    @cached_property
    def listed(self) -> Mapping[str, State | None]:
        """Every file below root as it was when this was opened. ModelError where the folder cannot be read."""
        try:
            return {name: _state(self.root / name) for name in _below(self.root)}
        except OSError as error:
            raise self._unreadable(error) from error

    def missing(self, image_ids: Sequence[str]) -> Sequence[str]:
        """The images that have no file now, or several. ModelError where the folder cannot be read."""
        try:
            there = set(_below(self.root))
        except OSError as error:
            raise self._unreadable(error) from error
        return [one for one in image_ids if sum(name in there for name in self.wanted(one)) != 1]

    def of(self, image_id: str) -> Path:
        """The file of an image. It is looked for among those that are there: an id is never a path. MethodError where
        there is not one, or it has changed."""
        if not image_id:
            raise MethodError(f"stored {self.kind}s are of the images of a benchmark; a changed image has none")
        if leads_out(image_id):
            raise MethodError(f"the image id {image_id!r} could lead out of {self.root}, so no file is read for it")
        wanted = self.wanted(image_id)
        there = [one for one in wanted if one in self.listed]
        if len(there) != 1:
            raise MethodError(
                f"{self.root} has several {self.kind}s of {image_id!r}: {' and '.join(there)} are both there; keep "
                f"one, or name the ending of those that are meant in `files`, such as '*{Path(there[0]).suffix}'"
                if there
                else f"{self.root} has no {self.kind} of {image_id!r}: there is no {' or '.join(wanted)} "
                f"({self._there()})"
            )
        if _state(self.root / there[0]) != self.listed[there[0]]:
            raise MethodError(f"{self.root / there[0]} was changed while the sweep ran; sweep again")
        return self.root / there[0]

    def wanted(self, image_id: str) -> list[str]:
        """The names that the file of an image may have."""
        name = self.pattern.replace("*", image_id)
        return [name] if "." in self.pattern.partition("*")[2] else [f"{name}{ending}" for ending in ENDINGS]

    def _there(self) -> str:
        """What lies in the folder, for a message."""
        return f"{len(self.listed)} files" + (f", such as {min(self.listed)}" if self.listed else "")

    def _unreadable(self, error: OSError) -> ModelError:
        return ModelError(f"The {self.kind}s in {self.root} cannot be read: {error.strerror or error}.")


def leads_out(name: str) -> bool:
    """Whether parts of a name mean other places, or those that stand for no content (hidden ones, caches)."""
    parts = name.split("/")
    return "\0" in name or "\\" in name or any(not part or part[0] == "." or part == "__pycache__" for part in parts)


def _below(root: Path, inner: str = "", above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Files below a folder, named from it. Links are followed, but not in a circle."""
    about = os.stat(root / inner)
    here = about.st_dev, about.st_ino
    if here in above:
        return
    with os.scandir(root / inner) as entries:
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_dir() and not leads_out(name):
                yield from _below(root, name, (*above, here))
            elif entry.is_file():
                yield name


def _state(path: Path) -> State | None:
    """None where there is no file any more."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return State(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
