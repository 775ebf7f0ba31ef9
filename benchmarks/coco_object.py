"""A COCO folder with the PNGs of COCO-Stuff flows in; images with the 80 things and all else as background flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.coco_pixels import LARGEST_STUFF, LARGEST_THING, SPLITS, UNLABELLED, open_pixels
from benchmarks.dataset import DataSet
from benchmarks.listing import check_allowed
from benchmarks.masks import LabelTable
from benchmarks.sources import PairedFiles
from harness.contracts import BACKGROUND, IGNORED

LAYOUTS = ("downloaded", "instance_train_ids")


@dataclass(frozen=True, kw_only=True)
class COCOObject(DataSet):
    """The 80 things; stuff, and what is unlabelled (255), is background, and nothing is ignored.

    split: val2017 or train2017.
    background: false for the form without it, in which all that is no thing is ignored (80 classes, COCO80).
    layout: `downloaded` (<id>.png of COCO-Stuff) or `instance_train_ids` (<id>_instanceTrainIds.png: 0 to 80).
    """

    split: str = "val2017"
    layout: str = "downloaded"
    background: bool = True

    names_file: ClassVar[str] = "coco_object"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = SPLITS

    def __post_init__(self) -> None:
        check_allowed("split", self.split, SPLITS, "COCO-Object")
        check_allowed("layout", self.layout, LAYOUTS, "COCO-Object")

    def open_source(self) -> PairedFiles:
        return open_pixels(self.root, self.catalogue.data_set, self.split, self.layout, self._table())

    def _table(self) -> LabelTable:
        rest = BACKGROUND if self.background else IGNORED
        numbers = range(1, len(self.classes) + 1)
        if self.layout == "instance_train_ids":
            return LabelTable.of(self.catalogue.data_set, {0: rest, **{number: number for number in numbers}})
        things = dict(zip(self.catalogue.facts["raw_of_index"], numbers, strict=True))
        stuff = dict.fromkeys((*range(LARGEST_THING + 1, LARGEST_STUFF + 1), UNLABELLED), rest)
        return LabelTable.of(self.catalogue.data_set, {**things, **stuff})
