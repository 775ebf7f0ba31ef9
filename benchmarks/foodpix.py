"""A UECFoodPix Complete folder flows in; images with 102 dishes and background flow out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.dataset import DataSet
from benchmarks.faults import BrokenList, WrongRoot
from benchmarks.listing import check_allowed, contents, folders_in, read_keys
from benchmarks.masks import RawLabels, decode_mask, offset_table
from benchmarks.pictures import Blob
from benchmarks.sources import Pair, PairedFiles, compare_names, numbered_names

_log = logging.getLogger(__name__)
_INNER = "uecfoodpixcomplete"  # written in two ways, outside and inside
LISTS: Mapping[str, str] = {"train": "train9000.txt", "test": "test1000.txt"}


@dataclass(frozen=True, kw_only=True)
class FoodPix(DataSet):
    """The class number is the red channel of an RGB or RGBA mask: 0 background, 1 to 102 dishes; nothing is ignored.

    split: train or test. The inner folders are found in any case of their names, with or without `data/`.
    """

    split: str = "test"

    names_file: ClassVar[str] = "foodpix"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"train": (9000,), "test": (1000,)}

    def __post_init__(self) -> None:
        check_allowed("split", self.split, LISTS, "UECFoodPix Complete")

    def open_source(self) -> PairedFiles:
        name = self.catalogue.data_set
        trail = find_inner(Path(self.root), self.split)
        if not trail:
            raise WrongRoot(
                f"{self.root!r} is not a folder of {name}: looked for {self.split}/img in it and in folders named data "
                f"or UECFOODPIXCOMPLETE (in any case) inside it; {contents(Path(self.root))}."
            )
        inner = trail[-1] / self.split
        table = offset_table(name, len(self.classes), first=1, also={0: 0})
        keys = read_keys(_beside(trail, LISTS[self.split]))
        for folder in trail:
            compare_names(folder / "category.txt", numbered_names(folder / "category.txt"), self.classes)
        return PairedFiles(
            {key: Pair(inner / "img" / f"{key}.jpg", inner / "mask" / f"{key}.png", table) for key in keys}, read_red
        )


def find_inner(top: Path, split: str) -> tuple[Path, ...]:
    """The folders from the top down to the one that holds `<split>/img`; empty when there is none."""
    if (top / split / "img").is_dir():
        return (top,)
    for folder in folders_in(top):
        if folder.name.casefold() in ("data", _INNER):
            below = find_inner(folder, split)
            if below:
                return (top, *below)
    return ()


def _beside(trail: tuple[Path, ...], name: str) -> Path:
    """The list of a split, next to the images or in a folder above them."""
    for folder in reversed(trail):
        if (folder / name).is_file():
            return folder / name
    raise BrokenList(f"{name} was not found in {' or '.join(str(folder) for folder in trail)}; it lists the split.")


def read_red(blob: Blob) -> RawLabels:
    """The red channel (height, width) of an RGB or RGBA mask; logs when green or blue mark pixels that red does not."""
    channels = np.asarray(decode_mask(blob, ("RGB", "RGBA")))
    elsewhere = np.count_nonzero((channels[..., 0] == 0) & channels[..., 1:3].any(axis=-1))
    if elsewhere:
        _log.warning("%s: %d pixels are 0 in red and not in green or blue; they count as background.",
                     blob.where, elsewhere)  # fmt: skip
    return np.ascontiguousarray(channels[..., 0])
