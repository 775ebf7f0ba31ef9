"""An ADE20K SceneParse150 folder (ADEChallengeData2016) flows in; images with 150 classes flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.dataset import DataSet
from benchmarks.faults import BrokenList
from benchmarks.listing import check_allowed, contents, find_base, keys_of_files
from benchmarks.masks import offset_table, void_to_ignored
from benchmarks.sources import Pair, PairedFiles


@dataclass(frozen=True, kw_only=True)
class ADE20K(DataSet):
    """Raw 0 (other) is ignored, 1 to 150 are classes; there is no background. split: training or validation.

    255 does not occur in the download: it is the mark of masks that a converter has shifted by one, and an error.
    """

    split: str = "validation"

    names_file: ClassVar[str] = "ade20k"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"training": (20210,), "validation": (2000,)}

    def __post_init__(self) -> None:
        check_allowed("split", self.split, self.official, "ADE20K SceneParse150")

    def open_source(self) -> PairedFiles:
        name = self.catalogue.data_set
        base = find_base(self.root, name, ("ADEChallengeData2016",), f"annotations/{self.split}")
        images, masks = base / "images" / self.split, base / "annotations" / self.split
        # the union, so that an image without mask (or the reverse) is an error of that image and does not vanish
        keys = keys_of_files(images, ".jpg") | keys_of_files(masks, ".png")
        if not keys:
            raise BrokenList(f"{images} and {masks} hold no .jpg and .png files; {contents(masks)}.")
        table = offset_table(name, len(self.classes), first=1, also=void_to_ignored(0))
        return PairedFiles({key: Pair(images / f"{key}.jpg", masks / f"{key}.png", table) for key in keys})
