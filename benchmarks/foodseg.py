"""A FoodSeg103 folder, unpacked or as the hub's parquet files, flows in; images with 103 ingredients flow out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.dataset import DataSet
from benchmarks.faults import BrokenList
from benchmarks.listing import check_allowed, find_base, keys_of_files, read_lines
from benchmarks.masks import LabelTable, offset_table
from benchmarks.sources import Pair, PairedFiles, Source, compare_names, numbered_names

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FoodSeg(DataSet):
    """Raw 0 background, 1 to 103 ingredients; nothing is ignored. split: train or test.

    layout: `folders` (Images/img_dir, Images/ann_dir, ImageSets) or `parquet` (the hub's files train-*.parquet and
    validation-*.parquet, whose validation is the official test split).
    """

    split: str = "test"
    layout: str = "folders"

    names_file: ClassVar[str] = "foodseg"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"train": (4983,), "test": (2135,)}

    def __post_init__(self) -> None:
        check_allowed("split", self.split, self.official, "FoodSeg103")
        check_allowed("layout", self.layout, ("folders", "parquet"), "FoodSeg103")

    def open_source(self) -> Source:
        table = offset_table(self.catalogue.data_set, len(self.classes), first=1, also={0: 0})
        if self.layout == "folders":
            return self._folders(table)
        from benchmarks.foodseg_parquet import open_parquet

        return open_parquet(Path(self.root), self.split, table)

    def _folders(self, table: LabelTable) -> PairedFiles:
        base = find_base(self.root, self.catalogue.data_set, ("FoodSeg103",), f"Images/img_dir/{self.split}")
        images, masks = (base / "Images" / folder / self.split for folder in ("img_dir", "ann_dir"))
        pictured, labelled = keys_of_files(images, ".jpg"), keys_of_files(masks, ".png")
        keys = pictured & labelled
        if not keys:
            raise BrokenList(f"{images} and {masks} have no image name in common; both must hold the split.")
        _note(logging.WARNING, pictured ^ labelled, "have an image or a mask and not both", str(base))
        listed = base / "ImageSets" / f"{self.split}.txt"
        if listed.is_file():
            entries = frozenset(Path(line).stem for line in read_lines(listed))
            _note(logging.INFO, entries - pictured - labelled, "are listed and have no files", str(listed))
        names = base / "category_id.txt"
        compare_names(names, numbered_names(names), self.classes)
        return PairedFiles({key: Pair(images / f"{key}.jpg", masks / f"{key}.png", table) for key in keys})


def _note(level: int, keys: frozenset[str], what: str, where: str) -> None:
    """The official list names images that do not exist, so the folders decide; what they lack goes to the log."""
    if keys:
        _log.log(level, "%s: %d names %s: %s.", where, len(keys), what, ", ".join(sorted(keys)[:5]))
