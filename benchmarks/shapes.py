"""Settings flow in; a benchmark of drawn shapes flows out: every image made from its name, no file read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.shapes_world import CLASSES, OBJECTS, draw_scene, mark_border
from harness.contracts import DataError, Sample


@dataclass(frozen=True)
class Shapes:
    """Ten classes of drawn shapes on dull backgrounds; val images hold two or three objects of different classes.

    split: "train" (one to three objects) or "val"; images: how many, counted from 0; seed: another world of its kind.
    Truth: 0 background, k = classes[k - 1], 255 ignored (one pixel on each side of every object border).
    """

    split: str = "val"
    images: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in OBJECTS:
            raise ValueError(f"Shapes has no split {self.split!r}; it has {' and '.join(sorted(OBJECTS))}.")
        if not 1 <= self.images <= 10**6:
            raise ValueError(f"Shapes was asked for {self.images} images; ask for 1 to 1000000.")
        if self.seed < 0:
            raise ValueError(f"Shapes was given the seed {self.seed}; give a whole number of 0 or more.")

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def ids(self) -> Sequence[str]:
        """Names in the order of their index, for example `val-000007`."""
        return tuple(f"{self.split}-{index:06d}" for index in range(self.images))

    def load(self, image_id: str) -> Sample:
        """Draws the image (height, width, 3) and its truth (height, width), both uint8."""
        image, labels = draw_scene(self.split, self._index(image_id), self.seed)
        return Sample(image_id=image_id, image=image, truth=mark_border(labels))

    def files(self, image_id: str) -> Sequence[Path]:
        """None: an image is drawn."""
        return ()

    def _index(self, image_id: str) -> int:
        split, _, digits = image_id.rpartition("-")
        if split != self.split or not digits.isdecimal() or int(digits) >= self.images:
            raise DataError(f"Shapes has no image {image_id!r}; it has {self.split}-000000 to {self.ids()[-1]}.")
        return int(digits)


def write_voc(folder: Path, images: Mapping[str, int], seed: int = 0) -> None:
    """Writes the world as a tree in the form of Pascal VOC 2012: JPEG images, palette PNG masks, lists of splits.

    images: how many of each split, for example {"train": 40, "val": 10}. Masks hold 0, 1 to 10 and 255 as palette
    indices; `classes.txt` holds the class names in order. JPEG is lossy: masks are exact, pictures nearly so.
    """
    pictures, masks, lists = folder / "JPEGImages", folder / "SegmentationClass", folder / "ImageSets" / "Segmentation"
    for place in (pictures, masks, lists):
        place.mkdir(parents=True, exist_ok=True)
    for split, count in images.items():
        benchmark = Shapes(split=split, images=count, seed=seed)
        for image_id in benchmark.ids():
            sample = benchmark.load(image_id)
            Image.fromarray(sample.image).save(pictures / f"{image_id}.jpg", quality=95, subsampling=0)
            mask = Image.fromarray(sample.truth, mode="P")
            mask.putpalette(voc_palette())
            mask.save(masks / f"{image_id}.png")
        (lists / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in benchmark.ids()))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def voc_palette() -> list[int]:
    """The 256 colours of Pascal VOC, flat: the bits of an index are dealt out to red, green and blue in turn."""
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = (index >> (3 * level + channel)) & 1
            colours[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return [int(value) for value in colours.reshape(-1)]
