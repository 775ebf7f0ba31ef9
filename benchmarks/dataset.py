"""Settings of a data set on disk flow in; ids and samples flow out: what all readers have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from benchmarks.classnames import OWN, Catalogue, Words, catalogue
from benchmarks.faults import MissingFile
from benchmarks.orientation import upright
from benchmarks.pictures import to_rgb
from benchmarks.sources import Source
from harness.contracts import Sample


class OnDisk(ABC):
    """A benchmark that lies on disk. Nothing is read before classes, ids or samples are asked for.

    Truth: 0 background, k = classes[k - 1]; ignored is 255, or 65535 with more than 254 classes. Wrong settings raise
    ValueError; files that are not as promised raise DataError.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)  # where the files lie changes no pixel: see harness.contracts
    loads_in_threads: ClassVar[bool] = True

    @property
    @abstractmethod
    def called(self) -> str:
        """The name of the data set, for sentences."""

    @abstractmethod
    def open_source(self) -> Source:
        """The layout on disk that the settings name."""

    @cached_property
    def _source(self) -> Source:
        return self.open_source()

    def ids(self) -> Sequence[str]:
        """Image names of the split, sorted as text."""
        return self._source.ids()

    def load(self, image_id: str) -> Sample:
        """The image uint8 (height, width, 3) and its truth (height, width), the truth exactly as stored."""
        try:
            truth = self._source.truth(image_id)
        except KeyError:
            raise MissingFile(f"{self.called} has no image {image_id!r}.") from None
        pixels, where = self._source.picture(image_id)
        height, width = truth.shape
        return Sample(image_id, to_rgb(upright(pixels, (height, width), where), where), truth)

    def files(self, image_id: str) -> Sequence[Path]:
        """The files that hold an image and its truth."""
        return self._source.files(image_id)

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for line in self._source.manifest():
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()[:16]

    def fingerprint(self) -> str:
        """16 hex digits that stand for the manifest: ids, mask names and file sizes, not the bytes of the files."""
        return self._digest


@dataclass(frozen=True, kw_only=True)
class DataSet(OnDisk):
    """A data set that is known by name: its classes and name sets come from a file of `names/`.

    root: the folder of the data set, or one above it.
    """

    root: str
    split: str

    names_file: ClassVar[str]
    official: ClassVar[Mapping[str, tuple[int, ...]]]  # images of a split, then other counts in circulation

    @property
    def called(self) -> str:
        return f"{self.catalogue.data_set} {self.split}"

    @property
    def catalogue(self) -> Catalogue:
        return catalogue(self.names_file)

    @property
    def classes(self) -> tuple[str, ...]:
        """Foreground names in order, in the data set's own spelling."""
        return self.catalogue.classes

    @property
    def expected_images(self) -> int | None:
        """The official number of images of this split, None when there is no official number."""
        counts = self.official.get(self.split)
        return counts[0] if counts else None

    @property
    def accepted_images(self) -> tuple[int, ...]:
        """Other numbers of images that published work reports for this split."""
        return self.official.get(self.split, ())[1:]

    def names(self, name_set: str = OWN) -> Words:
        """The words for every class in a name set of this data set, or in a user's own file."""
        return self.catalogue.names(name_set)

    def background_words(self, name_set: str) -> tuple[str, ...]:
        """The words for the background that the origin of a name set published."""
        return self.catalogue.background_words(name_set)
