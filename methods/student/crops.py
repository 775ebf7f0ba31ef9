"""An image and its pseudo mask flow in; a changed crop of both, decided by a seed alone, flows out as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from harness.contracts import Image, Truth

MEAN = (0.485, 0.456, 0.406)  # colours of ImageNet, on the scale 0..1
STD = (0.229, 0.224, 0.225)
MULTIPLE = 16  # sides of what enters the network: its encoder halves four times

Pixels: TypeAlias = NDArray[np.float32]  # (3, height, width), normalised

_VALUES = np.arange(256, dtype=np.float32)[:, None]
_COLOURS = np.ascontiguousarray(((_VALUES / 255.0 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).T)


@dataclass(frozen=True)
class Sides:
    """How large an image is at scale 1: its short side and its long side have so many pixels at most, None for its own.

    One of the two is what it has; so mmsegmentation reads its img_scale.
    """

    short_side: int | None = None
    long_side: int | None = None

    def factor(self, size: tuple[int, ...]) -> float:
        """By which the sides (height, width, ...) are multiplied."""
        shares = [(self.short_side, min(size[:2])), (self.long_side, max(size[:2]))]
        return min((wanted / side for wanted, side in shares if wanted is not None), default=1.0)

    def at_scale(self, image: Image, scale: float = 1.0) -> Image:
        """The image, resized bilinearly."""
        return _resized(image, _sides(image, scale * self.factor(image.shape)), Pictures.Resampling.BILINEAR)

    def mask(self, mask: Truth) -> Truth:
        """The mask at scale 1, by nearest neighbour."""
        return _resized(mask, _sides(mask, self.factor(mask.shape)), Pictures.Resampling.NEAREST)


AS_IT_IS = Sides()


@dataclass(frozen=True)
class Crops:
    """How a lesson is changed: side of the square crop, range of the scale, mirror, colours.

    size: (height, width). scale: the image is resized by a factor drawn between them, times that of `shown`. colours:
    brightness, contrast and saturation by up to this share each, 0 for none.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    colours: float
    shown: Sides = AS_IT_IS

    def cut(self, image: Image, rng: np.random.Generator) -> tuple[Image, Crop]:
        """A crop (height, width, 3) of the resized image, filled up with grey, and where it was cut."""
        sides = _sides(image, float(rng.uniform(*self.scale)) * self.shown.factor(image.shape))
        places = [int(rng.integers(abs(side - wanted) + 1)) for side, wanted in zip(sides, self.size, strict=True)]
        mirrored = self.flip and bool(rng.random() < 0.5)
        window = Crop(sides, (places[0], places[1]), self.size, mirrored)
        crop = window.of(_resized(image, window.sides, Pictures.Resampling.BILINEAR), 127)
        return _coloured(crop, self.colours, rng) if self.colours else crop, window


@dataclass(frozen=True)
class Crop:
    """Where a crop was cut: the size before cutting, the offset of the smaller in the larger side, the crop's size."""

    sides: tuple[int, int]
    offsets: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool

    def mask(self, mask: Truth) -> Truth:
        """The same crop of a mask, by nearest neighbour; what lies outside is unsure."""
        return self.of(_resized(mask, self.sides, Pictures.Resampling.NEAREST), unsure(mask))

    def of(self, array: Truth, fill: int) -> Truth:
        """The window of an array that has the size before cutting."""
        out = np.full((*self.size, *array.shape[2:]), fill, array.dtype)
        inner, outer = [], []
        for side, wanted, offset in zip(self.sides, self.size, self.offsets, strict=True):
            extent = min(side, wanted)
            inner.append(slice(offset, offset + extent) if side > wanted else slice(0, extent))
            outer.append(slice(0, extent) if side > wanted else slice(offset, offset + extent))
        out[tuple(outer)] = array[tuple(inner)]
        return np.ascontiguousarray(out[:, ::-1]) if self.mirrored else out


def unsure(mask: Truth) -> int:
    """What says in a mask that nobody is sure: the largest number of its type."""
    return int(np.iinfo(mask.dtype).max)


def in_imagenet_colours(image: Image) -> Pixels:
    """(height, width, 3) in 0..255 -> (3, height, width) float32 in ImageNet's colours."""
    pixels = np.empty((3, *image.shape[:2]), np.float32)
    for channel, colours in enumerate(_COLOURS):
        np.take(colours, image[..., channel], out=pixels[channel], mode="clip")  # the default copies `out`
    return pixels


def padded(pixels: Pixels) -> Pixels:
    """The image filled up at the bottom and on the right to sides that the network takes."""
    extra = [(0, -side % MULTIPLE) for side in pixels.shape[1:]]
    return np.pad(pixels, [(0, 0), *extra])


def _sides(array: Truth, factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in array.shape[:2])
    return height, width


def _resized(array: Truth, sides: tuple[int, int], how: Any) -> Truth:
    if array.shape[:2] == sides:
        return array
    if array.dtype == np.uint16:  # byte by byte: of 16 bits pillow takes other neighbours than of 8
        high, low = (_resized((array >> shift).astype(np.uint8), sides, how) for shift in (8, 0))
        return high.astype(np.uint16) << np.uint16(8) | low
    return np.asarray(Pictures.fromarray(array).resize((sides[1], sides[0]), how))


def _coloured(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Brightness, contrast and saturation changed by factors around 1."""
    brightness, contrast, saturation = rng.uniform(1.0 - share, 1.0 + share, 3)
    bright = image.astype(np.float32) * np.float32(brightness)
    mean = bright.mean(dtype=np.float64)
    values = bright - mean  # from here on in 64 bits and in place: memory is what this waits for
    values *= np.float32(contrast)
    values += mean
    grey = (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    values -= grey
    values *= np.float32(saturation)
    values += grey
    changed: Image = np.rint(values.clip(0, 255, out=values), out=values).astype(np.uint8)
    return changed
