"""The hub's parquet files of FoodSeg103 flow in; pictures and truths by image id flow out. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults import BrokenList, DataError, MissingFile, UnreadableFile, WrongRoot
from benchmarks.listing import check_key, contents, unique_sorted
from benchmarks.masks import LabelTable, read_labels
from benchmarks.pictures import Blob, decode
from benchmarks.sources import DecodedPicture, file_size
from harness.contracts import Truth

FILES: Mapping[str, str] = {"train": "train", "test": "validation"}  # the hub calls the official test split validation
_COLUMNS = ("id", "image", "label")


class ParquetPlace(NamedTuple):
    """Where an image lies: file, row group, row in the group."""

    path: Path
    group: int
    row: int


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """One row per image with the columns id, image and label; the last two hold the bytes of a JPEG and a PNG."""

    cells: Mapping[str, ParquetPlace]
    table: LabelTable

    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.cells))

    def picture(self, image_id: str) -> DecodedPicture:
        blob = self._blob(image_id, "image")
        return DecodedPicture(decode(blob), blob.where)

    def truth(self, image_id: str) -> Truth:
        blob = self._blob(image_id, "label")
        return self.table.apply(read_labels(blob), blob.where)

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
        with _sound(cell.path):
            value = _row_group(cell.path, cell.group)[column][cell.row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise MissingFile(f"{where} holds no bytes; fetch the file anew, with its images inside.")
        return Blob(data, where)


def open_parquet(root: Path, split: str, table: LabelTable) -> ParquetRows:
    """The rows of a split, from `root` or `root/data`."""
    files = sorted([*root.glob(f"{FILES[split]}-*.parquet"), *root.glob(f"data/{FILES[split]}-*.parquet")])
    if not files:
        raise WrongRoot(
            f"{str(root)!r} holds no parquet files of FoodSeg103 {split}: looked for {FILES[split]}-*.parquet in it "
            f"and in data/; {contents(root)}."
        )
    cells: list[tuple[str, ParquetPlace]] = [entry for path in files for entry in _cells(path)]
    keys = [key for key, _ in cells]
    unique_sorted(keys, f"{files[0].parent}/{FILES[split]}-*.parquet")
    return ParquetRows(dict(cells), table)


def _cells(path: Path) -> Iterator[tuple[str, ParquetPlace]]:
    with _sound(path):
        file = _open(path)
        missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if missing:
            has = ", ".join(file.schema_arrow.names)
            raise BrokenList(f"{path} lacks the columns {', '.join(missing)}; it has {has}.")
        ids = [file.read_row_group(group, columns=["id"])["id"].to_pylist() for group in range(file.num_row_groups)]
    for group, values in enumerate(ids):
        for row, value in enumerate(values):
            key = f"{value:08d}" if isinstance(value, int) else str(value)  # so that text order is number order
            yield check_key(key, f"{path}, column id"), ParquetPlace(path, group, row)


def _open(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError("FoodSeg103 with layout parquet needs the package pyarrow; install pyarrow.") from None
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
def _row_group(path: Path, group: int) -> Any:
    """One row group with its images; the hub writes about a hundred rows to a group, and batches ask in order."""
    return _open(path).read_row_group(group, columns=["image", "label"])
