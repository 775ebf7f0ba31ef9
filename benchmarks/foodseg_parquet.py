"""The hub's parquet files of FoodSeg103 flow in; pictures and truths by image id flow out. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults import WrongRoot
from benchmarks.listing import check_key, contents
from benchmarks.masks import LabelTable
from benchmarks.parquet_rows import Columns, ParquetRows, cells_of

FILES: Mapping[str, str] = {"train": "train", "test": "validation"}  # the hub calls the official test split validation
_COLUMNS = Columns("image", "label", "id")


def open_parquet(root: Path, split: str, table: LabelTable) -> ParquetRows:
    """The rows of a split, from `root` or `root/data`."""
    files = sorted([*root.glob(f"{FILES[split]}-*.parquet"), *root.glob(f"data/{FILES[split]}-*.parquet")])
    if not files:
        raise WrongRoot(
            f"{str(root)!r} holds no parquet files of FoodSeg103 {split}: looked for {FILES[split]}-*.parquet in it "
            f"and in data/; {contents(root)}."
        )
    return ParquetRows(cells_of(files, _COLUMNS, _key), _COLUMNS, table)


def _key(value: Any, where: str) -> str:
    return check_key(f"{value:08d}" if isinstance(value, int) else str(value), where)  # text order is number order
