"""A COCO-Stuff164k folder, as downloaded or converted, flows in; images with 171 classes flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.coco_pixels import SPLITS, open_pixels
from benchmarks.dataset import DataSet
from benchmarks.listing import check_allowed
from benchmarks.masks import LabelTable, offset_table, void_to_ignored
from benchmarks.sources import PairedFiles

LAYOUTS = ("downloaded", "label_train_ids", "detectron2")


@dataclass(frozen=True, kw_only=True)
class COCOStuff(DataSet):
    """80 things, then 91 kinds of stuff; 255 (unlabelled) is ignored; there is no background.

    split: val2017 or train2017.
    layout: `downloaded` (<id>.png: 0 to 181, of which eleven numbers mean nothing), `label_train_ids` (mmseg's
    <id>_labelTrainIds.png beside it) or `detectron2` (CAT-Seg's annotations_detectron2): 0 to 170.
    """

    split: str = "val2017"
    layout: str = "downloaded"

    names_file: ClassVar[str] = "coco_stuff"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = SPLITS

    def __post_init__(self) -> None:
        check_allowed("split", self.split, SPLITS, "COCO-Stuff164k")
        check_allowed("layout", self.layout, LAYOUTS, "COCO-Stuff164k")

    def open_source(self) -> PairedFiles:
        return open_pixels(self.root, self.catalogue.data_set, self.split, self.layout, self._table())

    def _table(self) -> LabelTable:
        name = self.catalogue.data_set
        if self.layout != "downloaded":
            return offset_table(name, len(self.classes), first=0, also=void_to_ignored())
        raws = self.catalogue.facts["raw_of_index"]
        return LabelTable.of(name, {**{raw: place for place, raw in enumerate(raws, start=1)}, **void_to_ignored()})
