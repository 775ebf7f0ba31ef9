"""A picture and the size of its mask flow in; the picture in the orientation that fits the mask flows out.

Masks are never turned: where the EXIF orientation was applied before a data set was labelled and where it was not can
only be seen from the sizes, and differs from image to image (FoodSeg103 needs it, UECFoodPix needs its absence).
"""

from __future__ import annotations

import logging

from PIL import Image as Pillow
from PIL import ImageOps

from benchmarks.faults import SizeMismatch

_log = logging.getLogger(__name__)
_ORIENTATION_TAG = 0x0112
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap height and width
_UNDECIDABLE = frozenset({2, 3, 4})  # orientations that keep the size, so that the mask cannot decide


def upright(picture: Pillow.Image, shape: tuple[int, int], where: str) -> Pillow.Image:
    """The picture, turned by its EXIF orientation only when that alone fits the mask's (height, width).

    SizeMismatch when neither orientation fits. Where both fit, the stored orientation is kept, and the log says so.
    """
    height, width = picture.height, picture.width
    turn = exif_orientation(picture)
    if (height, width) == shape:
        if turn in _UNDECIDABLE or (turn in _TURNED and height == width):
            _log.warning("%s: EXIF orientation %d left aside; the mask's size cannot decide it.", where, turn)
        elif turn in _TURNED:
            _log.info("%s: EXIF orientation %d left aside; the mask fits without it.", where, turn)
        return picture
    if turn in _TURNED and (width, height) == shape:
        _log.info("%s: turned by its EXIF orientation %d; the mask fits only so.", where, turn)
        return ImageOps.exif_transpose(picture)
    raise SizeMismatch(
        f"{where} is {height} x {width} (height x width) and its mask is {shape[0]} x {shape[1]}; "
        "no EXIF orientation explains it. Take image and mask from the same download."
    )


def exif_orientation(picture: Pillow.Image) -> int:
    """1 to 8; 1 (as stored) when there is no such entry or the EXIF block is damaged."""
    try:
        turn = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises many kinds on damaged EXIF blocks, and the pixels are sound all the same
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
