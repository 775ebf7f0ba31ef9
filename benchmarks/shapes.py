"""Settings flow in; a benchmark of drawn shapes flows out: every image made from its name, no file read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shapes_world import CLASSES, OBJECTS, draw_scene, mark_border
from harness.contracts import DataError, Sample


@dataclass(frozen=True)
class Shapes:
    """Ten classes of drawn shapes on dull backgrounds, each image with up to three objects of different classes.

    split: "mixed" (none to three objects, as real data have them), "val" (two or three) or "train" (one to three);
    images: how many, counted from 0; seed: another world of its kind.
    Truth: 0 background, k = classes[k - 1], 255 ignored (one pixel on each side of every object border).
    """

    split: str = "mixed"
    images: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in OBJECTS:
            raise ValueError(f"Shapes has no split {self.split!r}; it has {', '.join(sorted(OBJECTS))}.")
        if not 1 <= self.images <= 10**6:
            raise ValueError(f"Shapes was asked for {self.images} images; ask for 1 to 1000000.")
        if self.seed < 0:
            raise ValueError(f"Shapes was given the seed {self.seed}; give a whole number of 0 or more.")

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def ids(self) -> Sequence[str]:
        """Names in the order of their index, for example `mixed-000007`."""
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
