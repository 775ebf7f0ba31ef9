"""Benchmarks in files, as strangers write them: a folder, one that names its files, an archive, a list that is kept."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts import Sample

LOADED: list[str] = []  # the ids that were loaded, by whichever of them
CLASSES = ("red", "green", "blue")


def picture(truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (height, width, 3) whose colours say the classes."""
    return np.stack([np.where(truth == number, 255, 0) for number in (1, 2, 3)], axis=-1).astype(np.uint8)


def truth_of(number: int, seed: int = 0) -> NDArray[np.uint8]:
    """(8, 12), with background and all classes."""
    return np.random.default_rng([seed, number]).integers(0, 4, (8, 12)).astype(np.uint8)


def write(root: Path, images: int = 5, seed: int = 0, first: int = 0) -> Path:
    """Images of seed 0 as PNG, and masks of a seed as arrays, which all have one size in bytes."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + images):
        Image.fromarray(picture(truth_of(number))).save(root / "images" / f"{number:03d}.png")
        np.save(root / "masks" / f"{number:03d}.npy", truth_of(number, seed))
    return root


@dataclass(frozen=True)
class Folder:
    """`root` says where; nothing says that it changes no pixel, and nothing that files may change."""

    root: str
    version: ClassVar[int] = 1

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def ids(self) -> Sequence[str]:
        return sorted(path.stem for path in Path(self.root, "images").iterdir())

    def load(self, image_id: str) -> Sample:
        LOADED.append(image_id)
        with Image.open(Path(self.root, "images", f"{image_id}.png")) as image:
            return Sample(image_id, np.array(image.convert("RGB")), self.truth(image_id))

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        return np.load(Path(self.root, "masks", f"{image_id}.npy"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Named(Folder):
    """Names its files, and where they lie is no setting of its id."""

    version: ClassVar[int] = 1
    places: ClassVar[tuple[str, ...]] = ("root",)

    def files(self, image_id: str) -> Sequence[Path]:
        return [Path(self.root, "images", f"{image_id}.png"), Path(self.root, "masks", f"{image_id}.npy")]


@dataclass(frozen=True)
class Archive(Folder):
    """The masks lie in one archive, which the first image opens and all others use."""

    version: ClassVar[int] = 1

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(Path(self.root, "masks.zip"))

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        return np.load(io.BytesIO(self._zip.read(f"{image_id}.npy")))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Listed(Folder):
    """A list that is read with the ids turns some masks upside down."""

    version: ClassVar[int] = 1

    @cached_property
    def _list(self) -> dict[str, bool]:
        return dict(json.loads(Path(self.root, "list.json").read_text()))

    def ids(self) -> Sequence[str]:
        return sorted(self._list)

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        truth = super().truth(image_id)
        return truth[::-1] if self._list[image_id] else truth


@dataclass(frozen=True)
class Sharded(Folder):
    """The masks lie in archives, two in each, that are kept open."""

    version: ClassVar[int] = 1

    @cached_property
    def _open(self) -> dict[str, zipfile.ZipFile]:
        return {}

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        shard = f"masks{int(image_id) // 2}.zip"
        if shard not in self._open:
            self._open[shard] = zipfile.ZipFile(Path(self.root, shard))
        return np.load(io.BytesIO(self._open[shard].read(f"{image_id}.npy")))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Hidden(Sharded):
    """Every second image opens a file of its own in place of the archive, so that the count says nothing."""

    version: ClassVar[int] = 1

    def truth(self, image_id: str) -> NDArray[np.uint8]:
        if int(image_id) % 2:
            Path(self.root, "note").read_text()
        return super().truth(image_id)


@dataclass(frozen=True)
class Blind(Folder):
    """Opens no file that Python knows of."""

    version: ClassVar[int] = 1

    def load(self, image_id: str) -> Sample:
        truth = truth_of(int(image_id))
        return Sample(image_id, picture(truth), truth)


@dataclass(frozen=True)
class Moody(Blind):
    """Gives another image on each load."""

    version: ClassVar[int] = 1

    def load(self, image_id: str) -> Sample:
        return Sample(image_id, picture(truth_of(secrets.randbits(32))), truth_of(int(image_id)))


@dataclass(frozen=True)
class Forgetful(Named):
    """Names a file too few, and one that is not there."""

    version: ClassVar[int] = 1

    def files(self, image_id: str) -> Sequence[Path]:
        return [Path(self.root, "images", f"{image_id}.png"), Path(self.root, "nothing")]


def pack(root: Path, images: Iterable[int] = range(5), seed: int = 0, name: str = "masks.zip") -> None:
    """Masks of a seed as an archive."""
    with zipfile.ZipFile(root / name, "w") as archive:
        for number in images:
            file = io.BytesIO()
            np.save(file, truth_of(number, seed))
            archive.writestr(f"{number:03d}.npy", file.getvalue())
