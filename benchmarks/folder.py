"""A lab's own folder, described by settings, flows in; images with its classes flow out. See docs/data/folder.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from benchmarks.coco_json import CocoJson, Paint, PaintedScenes
from benchmarks.dataset import OnDisk
from benchmarks.faults import BrokenList
from benchmarks.mask_files import Channel, read_colours, read_values
from benchmarks.meanings import Meanings, Others, meanings
from benchmarks.pairing import by_folder, by_list, check_root, listed_in
from benchmarks.patterns import IMAGE_ENDINGS, MASK_ENDINGS, Pattern
from benchmarks.pictures import ANY_FORMAT
from benchmarks.sources import Pair, PairedFiles, Source
from benchmarks.written import CLASS_FILES, TABLE_FILES, read_classes, read_label_table


def _class_file(text: str) -> str:
    if not text.lower().endswith(CLASS_FILES):
        raise ValueError(f"Text should name a file that ends in {' or '.join(CLASS_FILES)}")
    return text


def _table_file(text: str) -> str:
    if not text.lower().endswith(TABLE_FILES):
        raise ValueError(f"Text should name a file that ends in {' or '.join(TABLE_FILES)}")
    return text


ClassFile = Annotated[str, AfterValidator(_class_file)]
TableFile = Annotated[str, AfterValidator(_table_file)]


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
        ignore: tuple[int | str, ...] = (),
        background: tuple[int | str, ...] = (),
        others: Others = "refused",
        reduce_zero_label: bool = False,
        channel: Channel = "none",
        unpaired: Literal["refused", "left_out"] = "refused",
        annotations: str = "",
        paint: Paint = "file",
        polygons: Literal["coco", "pillow"] = "coco",
        crowds: Literal["ignored", "painted"] = "ignored",
        expected: int | None = None,
    ) -> None:
        if reduce_zero_label and (labels is not None or first != 0 or ignore):
            raise ValueError(
                "reduce_zero_label means ignore: [0] and first: 1; give either it or labels, first, ignore"
            )
        if labels is not None and first != 0:
            raise ValueError("labels say which value is which class; leave out first")
        if classes is None and not annotations:
            raise ValueError("classes are needed: a list in order, or a file with one a line")
        self._root, self._split, self._classes, self._labels = Path(root), split, classes, labels
        self._images, self._masks = Pattern(images, IMAGE_ENDINGS), Pattern(masks, MASK_ENDINGS)
        if self._images.stars != self._masks.stars and not annotations:
            raise ValueError(f"images {images!r} and masks {masks!r} need as many stars, which stand for the id")
        self._first, self._others, self._channel = 1 if reduce_zero_label else first, others, channel
        self._ignore, self._background = (0,) if reduce_zero_label else ignore, background
        self._left_out, self._paint, self._rule, self._crowds = unpaired == "left_out", paint, polygons, crowds
        self._annotations = annotations
        self.expected_images = expected
        self._inline = not (annotations or isinstance(classes, str | None) or isinstance(labels, str))
        if self._inline:
            _ = self._meanings  # so that settings that contradict themselves are told at once

    @property
    def called(self) -> str:
        return f"the folder {self._root}"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names in order."""
        if self._classes is None:
            return tuple(self._coco.categories.values())
        return read_classes(self._find(self._classes)) if isinstance(self._classes, str) else self._classes

    def open_source(self) -> Source:
        check_root(self._root)
        if self._annotations:
            return self._scenes()
        pairs = (
            by_list(self._root, self._images, self._masks, self._find(self._split))
            if self._split
            else by_folder(self._root, self._images, self._masks, self._left_out)
        )
        colours = self._meanings.kind == "colour"
        if self._meanings.kind == "name":
            raise BrokenList(f"labels of {self.called} are names, which only annotations have; give values or colours.")
        table: Any = self._meanings.colours(self.called) if colours else self._meanings.values(self.called)
        files = {key: Pair(self._root / image, self._root / mask, table) for key, (image, mask) in pairs.items()}
        return PairedFiles(files, read_colours if colours else read_values(self._channel), ANY_FORMAT)

    def fingerprint(self) -> str:
        """16 hex digits that stand for the manifest, the classes, and what every label means."""
        table = sorted((str(key), true) for key, true in self._meanings.truths.items())
        text = repr((super().fingerprint(), self.classes, table, self._meanings.others))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _meanings(self) -> Meanings:
        labels = self._labels
        if isinstance(labels, str):
            labels = read_label_table(self._find(labels))
        elif labels is None and self._annotations:
            labels = {name: name for name in self._coco.categories.values() if name in self.classes}
        try:
            return meanings(self.classes, labels, self._first, self._ignore, self._background, self._others)
        except ValueError as error:
            if self._inline:
                raise
            raise BrokenList(f"Of {self.called}, {error}.") from None

    @cached_property
    def _coco(self) -> CocoJson:
        return CocoJson(self._find(self._annotations))

    def _scenes(self) -> PaintedScenes:
        known, names = self._meanings, self._coco.categories
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
        crowds = known.ignored if self._crowds == "ignored" else None
        folder = self._root / self._images.written
        return PaintedScenes(self._coco, folder, keys, truths, crowds, self._paint, self._rule, known.wide)

    def _listed(self, known: frozenset[str]) -> tuple[str, ...]:
        """The images of a split's list, or all."""
        if not self._split:
            return tuple(sorted(known))
        keys = listed_in(self._find(self._split))
        if strange := next((key for key in keys if key not in known), None):
            raise BrokenList(f"{self._find(self._split)} lists {strange!r}, which is no image of {self._coco.path}.")
        return keys

    def _find(self, name: str) -> Path:
        """A file that lies beside the grid, whose path is absolute by now, or below the root."""
        return self._root / name
