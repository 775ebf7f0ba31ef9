"""A Pascal Context folder with its full labels flows in; images with 459 classes flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.context_labels import list_of_split, read_label_map
from benchmarks.dataset import DataSet
from benchmarks.listing import check_allowed, find_base, read_keys
from benchmarks.mask_files import read_values
from benchmarks.masks import offset_table, void_to_ignored
from benchmarks.sources import Pair, PairedFiles
from harness.contracts import WIDE_IGNORED

NAME = "Pascal Context 459"


@dataclass(frozen=True, kw_only=True)
class PascalContextFull(DataSet):
    """459 classes; every pixel should have one, and what has none is ignored. split: train or val.

    layout: `mat` (the official trainval/*.mat: 1 to 459, 0 for none) or `converted`
    (annotations_detectron2/pc459_<split>/*.tif of CAT-Seg: 0 to 458, 65535 for none).
    """

    split: str = "val"
    layout: str

    names_file: ClassVar[str] = "pascal_context_full"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"train": (4996, 4998), "val": (5104, 5105)}

    def __post_init__(self) -> None:
        check_allowed("split", self.split, self.official, NAME)
        check_allowed("layout", self.layout, ("mat", "converted"), NAME)

    def open_source(self) -> PairedFiles:
        base = find_base(self.root, NAME, ("VOC2010", "VOCdevkit/VOC2010"), "JPEGImages")
        official = self.layout == "mat"
        first, void = (1, 0) if official else (0, WIDE_IGNORED)
        masks, ending = ("trainval", ".mat") if official else (f"annotations_detectron2/pc459_{self.split}", ".tif")
        table = offset_table(NAME, len(self.classes), first=first, also=void_to_ignored(void), bits=16)
        keys = read_keys(list_of_split(base, self.split))
        pairs = {key: Pair(base / "JPEGImages" / f"{key}.jpg", base / masks / f"{key}{ending}", table) for key in keys}
        return PairedFiles(pairs, read_label_map if official else read_values("none"))
