"""Parquet files whose rows hold the bytes of an image and of a mask flow in; pictures and truths by id flow out.

Needs pyarrow. A column is named as `image`, or with what is inside it: `objects.masks.0` is the first entry of the list
`masks` of the struct `objects`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults import BrokenList, DataError, MissingFile, UnreadableFile
from benchmarks.listing import unique_sorted
from benchmarks.masks import Meaning, RawLabels, read_labels
from benchmarks.pictures import Blob, decode
from benchmarks.sources import DecodedPicture, file_size
from harness.contracts import Truth

_log = logging.getLogger(__name__)


class ParquetPlace(NamedTuple):
    """Where an image lies: file, row group, row in the group."""

    path: Path
    group: int
    row: int


class Columns(NamedTuple):
    """Where the bytes of an image and of its mask are in a row, and its id; without one the number of the row is."""

    image: str
    mask: str
    key: str = ""

    @property
    def tops(self) -> tuple[str, ...]:
        """The columns themselves."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in (self.key, self.image, self.mask) if name))


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """One row an image."""

    cells: Mapping[str, ParquetPlace]
    columns: Columns
    table: Meaning
    read: Callable[[Blob], RawLabels] = read_labels
    formats: tuple[str, ...] = ("JPEG", "PNG")  # of images

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.cells))

    def picture(self, image_id: str) -> DecodedPicture:
        blob = self._blob(image_id, self.columns.image)
        return DecodedPicture(decode(blob, self.formats), blob.where)

    def truth(self, image_id: str) -> Truth:
        blob = self._blob(image_id, self.columns.mask)
        return self.table.apply(self.read(blob), blob.where)

    def files(self, image_id: str) -> tuple[Path, ...]:
        return (self.cells[image_id].path,)

    def manifest(self) -> Iterator[str]:
        sizes = {path: file_size(path) for path in {cell.path for cell in self.cells.values()}}
        for image_id in self.ids():
            cell = self.cells[image_id]
            yield "\t".join((image_id, cell.path.name, str(cell.group), str(cell.row), sizes[cell.path]))

    def _blob(self, image_id: str, column: str) -> Blob:
        cell = self.cells[image_id]
        where = f"{cell.path}, image {image_id}, column {column}"
        top, *inner = column.split(".")
        with _sound(cell.path):
            rows = _row_group(cell.path, cell.group, self.columns._replace(key="").tops)
            value = _inside(rows[top][cell.row].as_py(), inner)
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise MissingFile(f"{where} holds no bytes; fetch the file anew, with its images inside.")
        return Blob(data, where)


def cells_of(files: Sequence[Path], columns: Columns, key_of: Callable[[Any, str], str]) -> dict[str, ParquetPlace]:
    """Image id -> place, of all rows. key_of: the id from what the column of ids holds, with a name for messages."""
    cells: list[tuple[str, ParquetPlace]] = []
    for path in files:
        cells += _cells(path, columns, key_of, len(cells))
    unique_sorted([key for key, _ in cells], f"{files[0].parent}/{files[0].name.partition('-')[0]}*")
    if not columns.key:
        _log.warning("%s: no column of ids is named, so images are called by their row.", files[0].parent)
    return dict(cells)


def plain_key(value: Any, where: str) -> str:
    """An id as it is, numbers with zeros in front, so that text order is number order."""
    if not isinstance(value, int | str):
        raise BrokenList(f"{where} holds {type(value).__name__}; ids are texts or numbers.")
    return f"{value:08d}" if isinstance(value, int) else value


def _cells(
    path: Path, columns: Columns, key_of: Callable[[Any, str], str], before: int
) -> Iterator[tuple[str, ParquetPlace]]:
    with _sound(path):
        file = _open(path)
        missing = [name for name in columns.tops if name not in file.schema_arrow.names]
        if missing:
            has = ", ".join(file.schema_arrow.names)
            raise BrokenList(f"{path} lacks the columns {', '.join(missing)}; it has {has}.")
        groups = [_ids_of(file, group, columns.key) for group in range(file.num_row_groups)]
    for group, values in enumerate(groups):
        for row, value in enumerate(values):
            yield key_of(before if value is None else value, f"{path}, column id"), ParquetPlace(path, group, row)
            before += 1


def _ids_of(file: Any, group: int, key: str) -> list[Any]:
    if not key:
        return [None] * file.metadata.row_group(group).num_rows
    top, *inner = key.split(".")
    return [_inside(value, inner) for value in file.read_row_group(group, columns=[top])[top].to_pylist()]


def _inside(value: Any, steps: Sequence[str]) -> Any:
    """What is at the end of a way into structs and lists; None where it leads nowhere."""
    for step in steps:
        if isinstance(value, list):
            value = value[int(step)] if step.isdecimal() and int(step) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _open(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError("Parquet files need the package pyarrow; install pyarrow.") from None
    return ParquetFile(path)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """UnreadableFile for whatever pyarrow says about a damaged file (its own errors derive from these)."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UnreadableFile(f"{path} is not a sound parquet file ({reason}); fetch it again.") from None


@lru_cache(maxsize=2)
def _row_group(path: Path, group: int, columns: tuple[str, ...]) -> Any:
    """One row group with its images; the hub writes about a hundred rows to a group, and batches ask in order."""
    return _open(path).read_row_group(group, columns=list(columns))
