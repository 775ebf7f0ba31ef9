"""Arrays of an image -> bytes of files that people look at: JPEG for images, PNG for truths and label maps."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

from harness.contracts import Picture, Sample, Truth, WideTruth, narrowed, widened

JPEG_QUALITY = 90


def encode_map(labels: Truth) -> bytes:
    """A map (height, width) in the numbering of truths as a PNG whose values are the numbers, as narrow as they allow.

    Of 8 bits, with a palette, where no class is above 254; else of 16, grey. The largest number means ignored.
    """
    narrow = narrowed(labels)
    image = Image.fromarray(np.ascontiguousarray(narrow))
    if narrow.dtype == np.uint8:
        image.putpalette(_palette())
    return _bytes(image, format="PNG", optimize=True)


def decode_map(content: bytes) -> WideTruth:
    """What `encode_map` was given, in 16 bits."""
    with Image.open(io.BytesIO(content)) as held:
        return widened(np.array(held))


def picture(sample: Sample) -> Picture:
    """A sample as files."""
    image = _bytes(Image.fromarray(sample.image), format="JPEG", quality=JPEG_QUALITY)
    return Picture(sample.image_id, image, encode_map(sample.truth))


@cache
def _palette() -> bytes:
    """256 colours, red, green and blue in turn, as Pascal VOC has them: number k spells its bits into the three."""
    bits = (np.arange(256)[:, None, None] >> (3 * np.arange(8)[None, :, None] + np.arange(3))) & 1
    return bytes((bits << (7 - np.arange(8))[None, :, None]).sum(axis=1).astype(np.uint8))


def _bytes(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()
