"""A Pascal Context folder in one of its three layouts flows in; images with 59 classes and background flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.context_labels import NUMBERS, list_of_split, open_merged_json, read_label_map
from benchmarks.dataset import DataSet
from benchmarks.listing import check_allowed, find_base, read_keys
from benchmarks.masks import LabelTable, void_to_ignored
from benchmarks.sources import Pair, PairedFiles, Source

NAME = "Pascal Context"


@dataclass(frozen=True, kw_only=True)
class PascalContext(DataSet):
    """Classes are always the 59 in alphabetical order; what the files hold is said by the settings, never guessed.

    layout: `png` (converted masks), `json` (trainval_merged.json) or `mat` (the official trainval/*.mat).
    The other settings are for png only, and the first two have no default there, because no mask shows them:
    label_order: `alphabetical` (mmseg, MESS, CAT-Seg) or `voc_first` (59_labels.txt, OVSeg).
    label_offset: 1 when raw 0 is background and 1 to 59 are classes; 0 when 0 to 58 are classes and 255 is ignored.
    masks: the folder of the masks in VOC2010, SegmentationClassContext when not given.
    """

    layout: str
    split: str = "val"
    label_order: str | None = None
    label_offset: int | None = None
    masks: str = "SegmentationClassContext"

    names_file: ClassVar[str] = "pascal_context"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"train": (4996, 4998), "val": (5104, 5105)}

    def __post_init__(self) -> None:
        check_allowed("layout", self.layout, ("png", "json", "mat"), NAME)
        if self.layout == "png":
            check_allowed("label_order for layout png", self.label_order, ("alphabetical", "voc_first"), NAME)
            check_allowed("label_offset for layout png", self.label_offset, (0, 1), NAME)
            return
        if self.layout == "json":
            check_allowed("split for layout json", self.split, ("train", "val"), NAME)
        if self.label_order is not None or self.label_offset is not None:
            raise ValueError(
                f"{NAME} with layout {self.layout} numbers its labels itself; leave out label_order and label_offset."
            )

    def open_source(self) -> Source:
        base = find_base(self.root, NAME, ("VOC2010", "VOCdevkit/VOC2010"), "JPEGImages")
        images = base / "JPEGImages"
        if self.layout == "json":
            return open_merged_json(base / "trainval_merged.json", self.split, images, self._table())
        masks, ending = (base / "trainval", ".mat") if self.layout == "mat" else (base / self.masks, ".png")
        keys, table = read_keys(list_of_split(base, self.split)), self._table()
        pairs = {key: Pair(images / f"{key}.jpg", masks / f"{key}{ending}", table) for key in keys}
        return PairedFiles(pairs, read_label_map) if self.layout == "mat" else PairedFiles(pairs)

    def _table(self) -> LabelTable:
        """What a raw value means, as a position in the alphabetical classes plus 1."""
        place = {name: index + 1 for index, name in enumerate(self.classes)}
        if self.layout != "png":
            kept = dict(zip(self.catalogue.facts["numbers_of_459"], place.values(), strict=True))
            return LabelTable.of(NAME, {number: kept.get(number, 0) for number in range(NUMBERS + 1)}, bits=16)
        order = self.classes if self.label_order == "alphabetical" else self.catalogue.facts["voc_first"]
        first = self.label_offset or 0
        background = {0: 0} if first else {}
        classes = {first + index: place[name] for index, name in enumerate(order)}
        return LabelTable.of(NAME, {**background, **classes, **void_to_ignored()})
