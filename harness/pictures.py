"""Arrays of an image -> bytes of files that people look at: JPEG for images, 8-bit PNG for truths and label maps."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts import Picture, Sample

JPEG_QUALITY = 90


def encode_map(labels: NDArray[np.uint8]) -> bytes:
    """A map (height, width) in the numbering of truths as a greyscale PNG whose grey values are the numbers."""
    return _bytes(Image.fromarray(np.ascontiguousarray(labels)), format="PNG", optimize=True)


def decode_map(content: bytes) -> NDArray[np.uint8]:
    """What `encode_map` was given."""
    with Image.open(io.BytesIO(content)) as held:
        return np.array(held.convert("L"))


def picture(sample: Sample) -> Picture:
    """A sample as files."""
    image = _bytes(Image.fromarray(sample.image), format="JPEG", quality=JPEG_QUALITY)
    return Picture(sample.image_id, image, encode_map(sample.truth))


def _bytes(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()
