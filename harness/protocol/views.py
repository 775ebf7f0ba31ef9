"""An image and a protocol flow in; what networks are shown of it flows out: resized, whole or in sliding windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import Image, ProtocolSettings, Query, Vocabulary

Places: TypeAlias = "NDArray[np.int64]"


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

    def is_whole(self, size: tuple[int, int]) -> bool:
        """Whether an image of that size is shown as it is."""
        return self.size == size and len(self.boxes) == 1


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
    """(height, width) after the resize rule; where the aspect is kept both sides are rounded half up, as mmcv does."""
    if settings.resize == "none":
        return size
    small, large = (settings.size,) * 2 if isinstance(settings.size, int) else settings.size
    if settings.resize == "stretch":
        return small, large
    short, long = min(size), max(size)
    part, whole = small, short  # as many pixels for so many
    if settings.resize == "long" or (settings.resize == "box" and large * short < small * long):
        part, whole = large, long
    elif settings.longest and settings.longest * short < small * long:
        part, whole = settings.longest, long
    height, width = (max(1, (2 * side * part + whole) // (2 * whole)) for side in size)
    return height, width


def queries(
    image_id: str, image: Image, vocabulary: Vocabulary, cut: Cut, resampling: str = "pillow"
) -> tuple[Query, ...]:
    """One query a window. The only window of an image keeps the image's id; others add where they are."""
    pixels = resized_image(image, cut.size, resampling)
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


def resized_image(image: Image, size: tuple[int, int], resampling: str = "pillow") -> Image:
    """The image at (height, width), bilinear: over as many pixels as are joined where it shrinks (pillow), or between
    the nearest four, however much is skipped (as cv2 does; enlarging, to a grey level)."""
    if image.shape[:2] == size:
        return image
    if resampling == "cv2":
        return _between_four(image, size)
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Pillow.Resampling.BILINEAR))


def _between_four(image: Image, size: tuple[int, int]) -> Image:
    """Centres of pixels fall between four others; weights have 11 bits and bits are dropped where OpenCV drops them."""
    (top, above), (bottom, below) = _neighbours(image.shape[0], size[0])
    (left, before), (right, behind) = _neighbours(image.shape[1], size[1])
    pixels = image.astype(np.int64)
    rows = (pixels[:, left] * before[:, None] + pixels[:, right] * behind[:, None]) >> 4
    upper, lower = (rows[top] * above[:, None, None]) >> 16, (rows[bottom] * below[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _neighbours(old: int, new: int) -> tuple[tuple[Places, Places], tuple[Places, Places]]:
    """Along a line of `old` pixels, for each of `new`: the pixel before and the one behind, each with 2048 times its
    weight; each weight is rounded by itself."""
    at = np.clip(((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32), 0, old - 1)
    low = np.floor(at)
    part = at - low
    before, behind = (np.rint(share * np.float32(2048)).astype(np.int64) for share in (np.float32(1) - part, part))
    place = low.astype(np.int64)
    return (place, before), (np.minimum(place + 1, old - 1), behind)


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = max(length - window, 0)
    return [min(place * stride, last) for place in range(-(-last // stride) + 1)]
