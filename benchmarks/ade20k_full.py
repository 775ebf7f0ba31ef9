"""A folder of the full ADE20K, original or converted, flows in; images with 847 classes flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.dataset import DataSet
from benchmarks.faults import BrokenList
from benchmarks.listing import check_allowed, check_key, contents, find_base, keys_of_files, unique_sorted
from benchmarks.mask_files import read_colours, read_values
from benchmarks.masks import LabelTable, RawLabels, offset_table, void_to_ignored
from benchmarks.patterns import IMAGE_ENDINGS, Pattern
from benchmarks.pictures import Blob
from benchmarks.sources import Pair, PairedFiles
from harness.contracts import WIDE_IGNORED

NAME = "ADE20K full"
_MOST_IDS = 26 * 256  # what red and green can spell


@dataclass(frozen=True, kw_only=True)
class ADE20KFull(DataSet):
    """847 classes of some 3000 objects; all others, and what has none, are ignored. split: validation or training.

    layout: `converted` (annotations_detectron2/*.tif, 0 to 846 and 65535, with images_detectron2: images are reduced to
    a shorter side of 512 and saved anew as JPEG; published numbers are of these) or `original` (images/ADE, with masks
    in colours). Numbers of the two are of other pixels.
    """

    split: str = "validation"
    layout: str

    names_file: ClassVar[str] = "ade20k_full"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"training": (), "validation": (2000,)}

    def __post_init__(self) -> None:
        check_allowed("split", self.split, self.official, NAME)
        check_allowed("layout", self.layout, ("converted", "original"), NAME)

    def open_source(self) -> PairedFiles:
        return self._converted() if self.layout == "converted" else self._original()

    def _converted(self) -> PairedFiles:
        base = find_base(self.root, NAME, ("ADE20K_2021_17_01",), f"annotations_detectron2/{self.split}")
        images, masks = base / "images_detectron2" / self.split, base / "annotations_detectron2" / self.split
        # the union, so that an image without mask (or the reverse) is an error of that image and does not vanish
        keys = keys_of_files(images, ".jpg") | keys_of_files(masks, ".tif")
        if not keys:
            raise BrokenList(f"{images} and {masks} hold no .jpg and .tif files; {contents(masks)}.")
        table = offset_table(NAME, len(self.classes), first=0, also=void_to_ignored(WIDE_IGNORED), bits=16)
        pairs = {key: Pair(images / f"{key}.jpg", masks / f"{key}.tif", table) for key in keys}
        return PairedFiles(pairs, read_values("none"))

    def _original(self) -> PairedFiles:
        base = find_base(self.root, NAME, ("ADE20K_2021_17_01",), f"images/ADE/{self.split}")
        start = f"images/ADE/{self.split}/**/*"
        images = Pattern(f"{start}.jpg", IMAGE_ENDINGS).files(base)
        masks = Pattern(f"{start}_seg.png", IMAGE_ENDINGS).files(base)
        places = images.keys() | masks.keys()
        if not places:
            raise BrokenList(f"{base / start} leads to no .jpg and _seg.png files; {contents(base / 'images/ADE')}.")
        keys = [check_key(Path(place).name, str(base / "images/ADE")) for place in places]
        unique_sorted(keys, str(base / "images/ADE" / self.split))
        top = base / "images/ADE" / self.split
        pairs = {
            key: Pair(top / f"{place}.jpg", top / f"{place}_seg.png", self._table())
            for key, place in zip(keys, places, strict=True)
        }
        return PairedFiles(pairs, read_ade_ids)

    def _table(self) -> LabelTable:
        known = {number: place for place, number in enumerate(self.catalogue.facts["ade_id_of_index"], start=1)}
        return LabelTable.of(NAME, {**dict.fromkeys(range(_MOST_IDS), WIDE_IGNORED), **known}, 16, wide=True)


def read_ade_ids(blob: Blob) -> RawLabels:
    """The objects' numbers (height, width) of a mask in colours: tens of red, then green; blue tells objects apart."""
    colours = read_colours(blob)
    numbers: RawLabels = ((colours >> 16) // 10 * 256 + (colours >> 8 & 255)).astype(np.uint16)
    return numbers
