"""An image and a protocol flow in; what networks are shown of it flows out: resized, whole or in sliding windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from harness.contracts import Image, ProtocolSettings, Query, Vocabulary


class Window(NamedTuple):
    """A window in pixels of the resized image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Cut:
    """How an image is cut: its size (height, width) once resized, and its windows, row by row."""

    size: tuple[int, int]
    boxes: tuple[Window, ...]


def tiling(size: tuple[int, int], settings: ProtocolSettings) -> Cut:
    """The windows over an image of `size` (height, width).

    As mmseg slides: a window every `stride` pixels from the upper left corner, the last of a row or column moved back
    so that it ends at the border; a side shorter than the window is one window.
    """
    height, width = resized_size(size, settings)
    if not settings.window:
        return Cut((height, width), (Window(0, 0, height, width),))
    rows, columns = (_starts(side, settings.window, settings.stride) for side in (height, width))
    tall, wide = min(settings.window, height), min(settings.window, width)
    return Cut((height, width), tuple([Window(top, left, tall, wide) for top in rows for left in columns]))


def resized_size(size: tuple[int, int], settings: ProtocolSettings) -> tuple[int, int]:
    """(height, width) after the resize rule; with `short` both sides are rounded half up, as mmcv does."""
    if settings.resize == "none":
        return size
    if not isinstance(settings.size, int):
        return settings.size
    if settings.resize == "stretch":
        return settings.size, settings.size
    short = min(size)
    height, width = (max(1, (2 * side * settings.size + short) // (2 * short)) for side in size)
    return height, width


def queries(image_id: str, image: Image, vocabulary: Vocabulary, cut: Cut) -> tuple[Query, ...]:
    """One query a window. The only window of an image keeps the image's id; others add where they are."""
    pixels = resized_image(image, cut.size)
    if len(cut.boxes) == 1:
        return (Query(image_id, pixels, vocabulary),)
    return tuple(
        [
            Query(
                f"{image_id}@{box.top},{box.left}",
                np.ascontiguousarray(pixels[box.top : box.top + box.height, box.left : box.left + box.width]),
                vocabulary,
            )
            for box in cut.boxes
        ]
    )


def resized_image(image: Image, size: tuple[int, int]) -> Image:
    """The image at (height, width): bilinear, over as many pixels as are joined where it shrinks (pillow)."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Pillow.Resampling.BILINEAR))


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = max(length - window, 0)
    return [min(place * stride, last) for place in range(-(-last // stride) + 1)]
