"""Numbered images flow in, and scores of their classes flow out, as fast as a file says: others act meanwhile.

TOY_PACE names the file: an image takes as many hundredths of a second as it has bytes, and none without it. The last
images wait until it is gone. Beside it, in `computed`, every process writes down what it has computed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contracts import Image, Sample, Vocabulary

CLASSES = ("red", "green", "blue")
LOOK = 0.05  # seconds between two looks at the file


@dataclass(frozen=True)
class Numbered:
    """Colours that tell classes, and a last pixel that tells the image's number."""

    version: ClassVar[int] = 1
    images: int = 100

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def ids(self) -> Sequence[str]:
        return [f"{number:05d}" for number in range(self.images)]

    def load(self, image_id: str) -> Sample:
        truth = np.random.default_rng(int(image_id)).integers(0, 4, (8, 12)).astype(np.uint8)
        image = np.zeros((8, 12, 3), np.uint8)
        for number in (1, 2, 3):
            image[truth == number, number - 1] = 255
        image[-1, -1] = int(image_id) // 256, int(image_id) % 256, int(int(image_id) + 4 >= self.images)
        truth[-1, -1] = 255
        return Sample(image_id, image, truth)


@dataclass(frozen=True)
class Paced:
    """Right but for the rows whose number its own divides."""

    version: ClassVar[int] = 1
    wrong: int = 2

    def segment(self, image: Image, vocabulary: Vocabulary) -> Any:
        high, low, last = (int(value) for value in image[-1, -1])
        _take_time(last=bool(last))
        _write_down(f"{self.wrong} {256 * high + low}")
        scores = np.stack([image[..., CLASSES.index(word)].astype(np.float32) for word in vocabulary.words])
        scores[:, :: self.wrong] = np.roll(scores[:, :: self.wrong], 1, axis=0)
        return scores


def _take_time(last: bool) -> None:
    path, start = Path(os.environ.get("TOY_PACE") or "/nowhere"), time.monotonic()
    with suppress(FileNotFoundError):
        while time.monotonic() - start < path.stat().st_size / 100 or last:
            time.sleep(LOOK)


def _write_down(what: str) -> None:
    if place := os.environ.get("TOY_PACE"):
        file = Path(place).parent / "computed" / f"{socket.gethostname()}-{os.getpid()}"
        with suppress(OSError), file.open("a", encoding="utf-8") as lines:
            lines.write(f"{time.time():.3f} {what}\n")
