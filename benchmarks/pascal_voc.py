"""A Pascal VOC 2012 folder flows in; images with 20 classes and background flow out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.classnames import catalogue
from benchmarks.dataset import DataSet
from benchmarks.listing import check_allowed, find_base, read_keys
from benchmarks.masks import RawLabels, decode_mask, offset_table, void_to_ignored
from benchmarks.pictures import Blob
from benchmarks.sources import Pair, PairedFiles

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PascalVOC(DataSet):
    """Raw 0 background, 1 to 20 classes, 255 the void border (ignored).

    split: the name of a list in ImageSets/Segmentation. masks: SegmentationClass (palette PNG, as downloaded) or
    SegmentationClassAug (grey PNG, SBD's masks for the list trainaug).
    """

    split: str = "val"
    masks: str = "SegmentationClass"

    names_file: ClassVar[str] = "pascal_voc"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "train": (1464,), "val": (1449,), "trainval": (2913,), "trainaug": (10582,),
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_allowed("masks", self.masks, ("SegmentationClass", "SegmentationClassAug"), "Pascal VOC 2012")

    def open_source(self) -> PairedFiles:
        name = self.catalogue.data_set
        base = find_base(self.root, name, ("VOC2012", "VOCdevkit/VOC2012"), "ImageSets/Segmentation")
        table = offset_table(name, len(self.classes), first=1, also={0: 0, **void_to_ignored()})
        keys = read_keys(base / "ImageSets" / "Segmentation" / f"{self.split}.txt")
        images, masks = base / "JPEGImages", base / self.masks
        return PairedFiles(
            {key: Pair(images / f"{key}.jpg", masks / f"{key}.png", table) for key in keys}, read_palette_labels
        )


def read_palette_labels(blob: Blob) -> RawLabels:
    """The raw labels; logs when a class is painted in another colour than VOC's: programs that save a palette anew
    may renumber it, and then the indices are no longer the classes."""
    mask = decode_mask(blob)
    labels: RawLabels = np.asarray(mask)
    if mask.mode == "P":
        palette = np.asarray(mask.getpalette() or (), dtype=np.int64).reshape(-1, 3)
        for index, colour in enumerate(catalogue("pascal_voc").facts["palette"], start=1):
            if index < len(palette) and tuple(palette[index]) != tuple(colour) and np.any(labels == index):
                _log.warning("%s paints class %d in %s, VOC in %s.", blob.where, index, palette[index].tolist(), colour)
                break
    return labels
