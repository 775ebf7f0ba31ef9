"""One picture and its label map go in; the two over each other come out, with what the colours mean below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import WIDE_IGNORED
from results.pictures.colours import colour, over, paint_labels
from results.pictures.sheet import TEXT, Figure, as_picture

_NARROWEST = 320  # pixels: smaller pictures are enlarged, so that a legend fits below


def overlay(image: NDArray[np.uint8], label_map: NDArray[np.integer[Any]], names: Sequence[str]) -> Pillow.Image:
    """image: (height, width, 3). label_map: (height, width), positions in `names`, below 0 for none, which stays bare.

    Names without a pixel are not in the legend.
    """
    photo = Pillow.fromarray(np.ascontiguousarray(image))
    times = max(1, -(-_NARROWEST // photo.width))
    large = photo.resize((photo.width * times, photo.height * times), Pillow.Resampling.BILINEAR)
    numbers = np.where(label_map < 0, WIDE_IGNORED, label_map + 1).astype(np.uint16)
    seen = [n for n in np.unique(label_map).tolist() if n >= 0]
    legend = tuple((names[n], colour(n + 1)) for n in seen)
    picture = over(large, paint_labels(numbers, background=False))
    return as_picture(Figure(("",), ((picture,),), legend, panel=large.width, head=TEXT // 2))
