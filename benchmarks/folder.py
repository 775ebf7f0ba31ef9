"""A lab's own folder, described by settings, flows in; images with its classes flow out. See docs/data/folder.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from benchmarks.coco_json import CocoJson, Paint, PaintedScenes
from benchmarks.dataset import OnDisk
from benchmarks.faults import BrokenList
from benchmarks.label_settings import ClassFile, Keys, LabelSettings, TableFile, Unpaired
from benchmarks.mask_files import Channel
from benchmarks.meanings import Others
from benchmarks.pairing import by_folder, by_list, check_root, listed_in
from benchmarks.patterns import IMAGE_ENDINGS, MASK_ENDINGS, Pattern
from benchmarks.pictures import ANY_FORMAT
from benchmarks.sources import Pair, PairedFiles, Source


class Folder(OnDisk):
    """Images with masks, or with annotations in COCO's form. Everything unexpected is an error, nothing is guessed.

    root: the folder. images, masks: patterns below it (see benchmarks.patterns); what the stars stand for is the id.
    split: a list of the images that are meant. classes: in order, or a file with one a line; of annotations the
    categories by id when not given. labels: raw value, colour (#ff0000, or 255 0 0) or category -> class, or a file of
    it; without it the values from `first` on are the classes. ignore, background: values, colours or categories that
    are not scored, or are no class. others: what all else is. reduce_zero_label: 0 is not scored, 1 the first class.
    channel: of masks in colours that is the label. unpaired: images and masks without partner. annotations: a JSON
    file in place of masks, painted in the order of the `file` or by `area`, polygons by the rule of `coco` or
    `pillow`, crowds `ignored` or `painted`. expected: how many images there should be.

    Files of split, classes, labels and annotations lie beside the grid or below the root.
    """

    inside: ClassVar[tuple[str, ...]] = ("images", "masks")

    def __init__(
        self,
        *,
        root: str,
        images: str = "images",
        masks: str = "masks",
        split: str = "",
        classes: ClassFile | tuple[str, ...] | None = None,
        labels: TableFile | Mapping[str, str] | None = None,
        first: int = 0,
        ignore: Keys = (),
        background: Keys = (),
        others: Others = "refused",
        reduce_zero_label: bool = False,
        channel: Channel = "none",
        unpaired: Unpaired = "refused",
        annotations: str = "",
        paint: Paint = "file",
        polygons: Literal["coco", "pillow"] = "coco",
        crowds: Literal["ignored", "painted"] = "ignored",
        expected: int | None = None,
    ) -> None:
        self._root, self._split = Path(root), split
        self._images, self._masks = Pattern(images, IMAGE_ENDINGS), Pattern(masks, MASK_ENDINGS)
        if self._images.stars != self._masks.stars and not annotations:
            raise ValueError(f"images {images!r} and masks {masks!r} need as many stars, which stand for the id")
        self._left_out, self._paint, self._rule, self._crowds = unpaired == "left_out", paint, polygons, crowds
        self._annotations, self.expected_images = annotations, expected
        self._labels = LabelSettings(
            root=self._root, called=self.called, written_classes=classes, written_labels=labels, first=first,
            ignore=ignore, background=background, others=others, reduce_zero_label=reduce_zero_label, channel=channel,
            categories=(lambda: tuple(self._coco.categories.values())) if annotations else None,
        )  # fmt: skip

    @property
    def called(self) -> str:
        return f"the folder {self._root}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in order."""
        return self._labels.classes

    def open_source(self) -> Source:
        check_root(self._root)
        if self._annotations:
            return self._scenes()
        read, table = self._labels.reading()
        if self._split:
            pairs = by_list(self._root, self._images, self._masks, self._root / self._split)
        else:
            pairs = by_folder(self._root, self._images, self._masks, self._left_out)
        files = {key: Pair(self._root / image, self._root / mask, table) for key, (image, mask) in pairs.items()}
        return PairedFiles(files, read, ANY_FORMAT)

    def fingerprint(self) -> str:
        """16 hex digits that stand for the manifest, the classes, and what every label means."""
        return hashlib.sha256((super().fingerprint() + self._labels.facts()).encode()).hexdigest()[:16]

    @cached_property
    def _coco(self) -> CocoJson:
        return CocoJson(self._root / self._annotations)

    def _scenes(self) -> PaintedScenes:
        known, names = self._labels.meanings, self._coco.categories
        if known.truths and known.kind != "name":
            raise BrokenList(f"{self._coco.path} has categories; give labels by their names, not by {known.kind}.")
        strange = [name for name in names.values() if name not in known.truths]
        if strange and known.others is None:
            raise BrokenList(
                f"{self._coco.path} has the category {strange[0]!r}, which is no class and under none of labels, "
                "ignore and background; name it there, or write others: ignored or background."
            )
        rest = known.ignored if known.others is None else known.others
        truths = {number: known.truths.get(name, rest) for number, name in names.items()}
        keys = self._listed(frozenset(self._coco.scenes))
        return PaintedScenes(
            source=self._coco, images=self._root / self._images.written, keys=keys, truths=truths,
            crowds=known.ignored if self._crowds == "ignored" else None, paint=self._paint, rule=self._rule,
            wide=known.wide,
        )  # fmt: skip

    def _listed(self, known: frozenset[str]) -> tuple[str, ...]:
        """The images of a split's list, or all."""
        if not self._split:
            return tuple(sorted(known))
        path = self._root / self._split
        keys = listed_in(path)
        if strange := next((key for key in keys if key not in known), None):
            raise BrokenList(f"{path} lists {strange!r}, which is no image of {self._coco.path}.")
        return keys
