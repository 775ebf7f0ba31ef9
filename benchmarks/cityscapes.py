"""A Cityscapes folder (leftImg8bit, gtFine) flows in; images with 19 classes flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.dataset import DataSet
from benchmarks.faults import BrokenList
from benchmarks.listing import check_allowed, check_key, contents, find_base, folders_in, keys_of_files
from benchmarks.masks import LabelTable, offset_table, void_to_ignored
from benchmarks.sources import Pair, PairedFiles
from harness.contracts import IGNORED

LABELS = ("any", "labelIds", "labelTrainIds")


@dataclass(frozen=True, kw_only=True)
class Cityscapes(DataSet):
    """Void classes are ignored, the 19 evaluated ones are classes; there is no background. split: train or val.

    labels: which masks are read. labelIds (0 to 33, as downloaded) go through the official table, labelTrainIds (0 to
    18 and 255, made by the official scripts) stand for themselves; `any` takes labelTrainIds where they lie, labelIds
    elsewhere. The file's suffix decides what its values mean, never the values.
    """

    split: str = "val"
    labels: str = "any"

    names_file: ClassVar[str] = "cityscapes"
    official: ClassVar[Mapping[str, tuple[int, ...]]] = {"train": (2975,), "val": (500,)}

    def __post_init__(self) -> None:
        check_allowed("split with public labels", self.split, self.official, "Cityscapes")
        check_allowed("labels", self.labels, LABELS, "Cityscapes")

    def open_source(self) -> PairedFiles:
        base = find_base(self.root, self.catalogue.data_set, ("cityscapes",), f"leftImg8bit/{self.split}")
        images, masks = base / "leftImg8bit" / self.split, base / "gtFine" / self.split
        tables = self._tables()
        kinds = [kind for kind in ("labelTrainIds", "labelIds") if self.labels in ("any", kind)]
        pairs: dict[str, Pair] = {}
        for city in sorted({folder.name for top in (images, masks) for folder in folders_in(top)}):
            check_key(city, str(images))
            labelled = {kind: keys_of_files(masks / city, f"_gtFine_{kind}.png") for kind in kinds}
            # the union, so that an image without mask (or the reverse) is an error of that image and does not vanish
            for key in keys_of_files(images / city, "_leftImg8bit.png").union(*labelled.values()):
                kind = next((kind for kind in kinds if key in labelled[kind]), kinds[-1])
                mask = masks / city / f"{key}_gtFine_{kind}.png"
                pairs[key] = Pair(images / city / f"{key}_leftImg8bit.png", mask, tables[kind])
        if not pairs:
            raise BrokenList(f"{images} holds no *_leftImg8bit.png in folders of cities; {contents(images)}.")
        return PairedFiles(pairs)

    def _tables(self) -> dict[str, LabelTable]:
        """What the values of each kind of mask mean, by the suffix of its name."""
        train_ids = self.catalogue.facts["train_id_of_label_id"]
        truths = {label: IGNORED if train == IGNORED else train + 1 for label, train in enumerate(train_ids)}
        return {
            "labelIds": LabelTable.of("Cityscapes labelIds", truths),
            "labelTrainIds": offset_table("Cityscapes labelTrainIds", 19, first=0, also=void_to_ignored()),
        }
