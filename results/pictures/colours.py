"""A class's number goes in and its colour comes out, the same in every figure and page; maps become pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import BACKGROUND, IGNORED, WIDE_IGNORED, WideTruth, narrowed

Rgb = tuple[int, int, int]
Rgba = tuple[int, int, int, int]
Labels = WideTruth  # (height, width), numbered as a truth
Index = NDArray[np.uint8]  # (height, width), places in a palette

RIGHT, WRONG, NOT_SCORED = 0, 1, 2
_PALETTE = 256  # colours that a picture can number
HATCH = 20  # pixels from one line of a hatching to the next
_FIRST: tuple[Rgb, ...] = (  # far apart for most eyes, on light and on dark pages
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0), (204, 121, 167), (240, 228, 66), (0, 114, 178),
    (148, 103, 189), (140, 86, 75), (127, 201, 127), (253, 174, 160), (31, 90, 60), (166, 206, 227), (177, 15, 46),
)  # fmt: skip
_GREY: Rgb = (120, 124, 130)
_ERRORS: tuple[Rgba, ...] = ((0, 90, 181, 110), (240, 120, 0, 255), (128, 128, 128, 0))
ERROR_COLOURS = {  # as CSS writes them; blue and orange are apart for eyes that lack a cone, too
    name: "#" + bytes(_ERRORS[number]).hex() for name, number in (("right", RIGHT), ("wrong", WRONG))
}
_HATCHING = ((0, 0, 0, 0), (236, 239, 241, 105), (38, 44, 50, 120))  # nothing, veil, line: seen on dark and on light
_OPACITY = 0.75
_GOLDEN = 0.618033988749895  # turns of hue that never come close to each other soon


@cache
def colour(number: int) -> Rgb:
    """The colour of class `number`, counted from 1; grey for the background."""
    if number <= BACKGROUND:
        return _GREY
    if number <= len(_FIRST):
        return _FIRST[number - 1]
    place = number - len(_FIRST)
    lightness, saturation = (0.38, 0.55, 0.72)[place % 3], (0.75, 0.5)[place % 2]
    if number >= IGNORED:  # hues come close to each other by now
        lightness, saturation = lightness + 0.01 * (number % 7), saturation - 0.02 * (number % 5)
    red, green, blue = colorsys.hls_to_rgb(place * _GOLDEN % 1, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def hex_of(rgb: Rgb) -> str:
    """#rrggbb"""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def paint_labels(labels: Labels, background: bool) -> Pillow.Image:
    """A label map (height, width) in colours; see-through without a class, and for a background that is not scored."""
    narrow = narrowed(labels)
    if narrow.dtype == np.uint8:
        return _tinted(narrow.astype(np.uint8, copy=False), _paints([*range(IGNORED), WIDE_IGNORED], background))
    classes, index = np.unique(labels, return_inverse=True)
    paints = _paints(classes.tolist(), background)
    if len(paints) <= _PALETTE:
        return _tinted(index.astype(np.uint8), paints)
    return Pillow.fromarray(np.array(paints, np.uint8)[index])


def _paints(classes: Sequence[int], background: bool) -> list[Rgba]:
    unseen = {WIDE_IGNORED} if background else {WIDE_IGNORED, BACKGROUND}
    return [(*colour(number), 0 if number in unseen else 255) for number in classes]


def scored(truth: Labels, background: bool) -> NDArray[np.bool_]:
    """Which pixels (height, width) count: those with a true class, background only where it is one."""
    counts: NDArray[np.bool_] = (truth != WIDE_IGNORED) & (background | (truth != BACKGROUND))
    return counts


def error_map(predicted: Labels, truth: Labels, background: bool) -> Index:
    """RIGHT, WRONG or NOT_SCORED for every pixel (height, width)."""
    return np.where(scored(truth, background), np.where(predicted == truth, RIGHT, WRONG), NOT_SCORED).astype(np.uint8)


def paint_errors(wrong: Index) -> Pillow.Image:
    """An error map in colours: wrong orange, right a breath of blue, what is not scored see-through."""
    return _tinted(wrong, _ERRORS)


def hatch(mask: NDArray[np.bool_]) -> Pillow.Image:
    """Slanting lines on a veil where a mask (height, width) is true, nothing elsewhere."""
    slant = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) % HATCH
    return _tinted(np.where(mask, np.where(slant < HATCH // 5, 2, 1), 0).astype(np.uint8), _HATCHING)


def hatched_over(picture: Pillow.Image, mask: NDArray[np.bool_]) -> Pillow.Image:
    """A picture, hatched where a mask of its size is true."""
    return Pillow.alpha_composite(picture.convert("RGBA"), hatch(mask).convert("RGBA")).convert("RGB")


def over(photo: Pillow.Image, painted: Pillow.Image) -> Pillow.Image:
    """A painted map laid over the image, see-through; the image is grey under it, so that colours are the legend's."""
    layer = painted.resize(photo.size, Pillow.Resampling.NEAREST)
    layer.info |= painted.info
    layer = layer.convert("RGBA")
    layer.putalpha(layer.getchannel("A").point([round(_OPACITY * value) for value in range(256)]))
    return Pillow.alpha_composite(photo.convert("L").convert("RGBA"), layer).convert("RGB")


def _tinted(index: Index, colours: Sequence[Rgba]) -> Pillow.Image:
    return _indexed(index, [channel for *rgb, _ in colours for channel in rgb], bytes(alpha for *_, alpha in colours))


def _indexed(index: Index, colours: list[int], alpha: bytes) -> Pillow.Image:
    picture = Pillow.fromarray(np.ascontiguousarray(index))
    picture.putpalette(colours)
    picture.info["transparency"] = alpha
    return picture
