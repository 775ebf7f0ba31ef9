"""Where a data set's pictures and masks lie flows in; decoded pictures and truths by image id flow out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image as Pillow

from benchmarks.listing import read_lines
from benchmarks.masks import Meaning, RawLabels, read_labels
from benchmarks.pictures import Blob, decode, read_blob
from harness.contracts import Truth

_log = logging.getLogger(__name__)


class DecodedPicture(NamedTuple):
    """A decoded picture in its stored orientation, and its name for messages."""

    pixels: Pillow.Image
    where: str


class Source(Protocol):
    """One layout of a data set on disk. Ids are sorted; unknown ids raise KeyError."""

    def ids(self) -> tuple[str, ...]: ...

    def picture(self, image_id: str) -> DecodedPicture: ...

    def truth(self, image_id: str) -> Truth: ...

    def files(self, image_id: str) -> tuple[Path, ...]:
        """Those that picture and truth are read from."""
        ...

    def manifest(self) -> Iterator[str]:
        """One line for every image that changes when its files are exchanged: names and sizes, never the content."""
        ...


class Pair(NamedTuple):
    """The files of one image, and what the values of its mask mean."""

    image: Path
    mask: Path
    table: Meaning


@dataclass(frozen=True, eq=False)
class PairedFiles:
    """One image file and one mask file per image; `read` takes the raw labels from the mask's bytes."""

    pairs: Mapping[str, Pair]
    read: Callable[[Blob], RawLabels] = read_labels
    formats: tuple[str, ...] = ("JPEG", "PNG")  # of images

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.pairs))

    def picture(self, image_id: str) -> DecodedPicture:
        blob = read_blob(self.pairs[image_id].image, f"the image of {image_id!r}")
        return DecodedPicture(decode(blob, self.formats), blob.where)

    def truth(self, image_id: str) -> Truth:
        pair = self.pairs[image_id]
        blob = read_blob(pair.mask, f"the mask of {image_id!r}")
        return pair.table.apply(self.read(blob), blob.where)

    def files(self, image_id: str) -> tuple[Path, ...]:
        return self.pairs[image_id].image, self.pairs[image_id].mask

    def manifest(self) -> Iterator[str]:
        for image_id in self.ids():
            pair = self.pairs[image_id]
            yield "\t".join((image_id, pair.mask.name, file_size(pair.image), file_size(pair.mask)))


def file_size(path: Path) -> str:
    """Bytes of a file, or `-` when it is missing (its image fails when it is loaded, not before)."""
    try:
        return str(path.stat().st_size)
    except OSError:
        return "-"


def compare_names(path: Path, names: Mapping[int, str], classes: tuple[str, ...]) -> None:
    """Logs where a data set's own list of class names, if it lies there, differs from ours by number."""
    for number, name in names.items():
        ours = classes[number - 1] if 1 <= number <= len(classes) else "no class"
        if number != 0 and name.casefold() != ours.casefold():
            _log.warning("%s calls class %d %r; here it is %r. Is this another edition?", path, number, name, ours)
            return


def numbered_names(path: Path) -> dict[int, str]:
    """The rows `number<TAB>name` of a category file; rows that are not of this form (a header) are left out."""
    rows = (line.split("\t") for line in (read_lines(path) if path.is_file() else ()))
    return {int(row[0]): row[1].strip() for row in rows if len(row) == 2 and row[0].strip().isdecimal()}
