"""An image of any size flows in; one of the network's size, and which part of it is filled, flow out."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pictures

from harness.contracts import Image


def fit_image(image: Image, size: tuple[int, int], factor: int, how: str) -> tuple[Image, tuple[int, int]]:
    """An image at (height, width) `size`, and the (height, width) from the top left corner that it fills.

    `stretch` fills all. `pad` keeps the shape, rounded to whole latents, and leaves the rest grey.
    """
    height, width = size
    if how == "stretch":
        return resize_image(image, height, width), size
    share = min(height / image.shape[0], width / image.shape[1])
    filled = (
        min(height, max(factor, round(image.shape[0] * share / factor) * factor)),
        min(width, max(factor, round(image.shape[1] * share / factor) * factor)),
    )
    canvas = np.full((height, width, 3), 127, np.uint8)
    canvas[: filled[0], : filled[1]] = resize_image(image, *filled)
    return canvas, filled


def resize_image(image: Image, height: int, width: int) -> Image:
    """Bilinear; where it shrinks, the kernel is widened (pillow)."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Pictures.fromarray(image).resize((width, height), Pictures.Resampling.BILINEAR))
