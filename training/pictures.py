"""A number of images flows in; their pixels at the native size and their classes flow out, drawn once and cached."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.shapes_world import CLASSES, draw_scene
from training.settings import SIDE, Settings

Pixels = NDArray[np.uint8]
PART = 500


def stretch(image: Pixels) -> Pixels:
    """(height, width, 3) to (96, 96, 3), bilinear with the kernel widened when it shrinks, as pillow does."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def draw_part(first: int, last: int, seed: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pixels (images, 96, 96, 3) and classes (images, 10) of the train split from `first` to before `last`.

    The label map is read only for which classes the picture shows: what a caption says. Its shape goes nowhere.
    """
    pixels = np.empty((last - first, SIDE, SIDE, 3), dtype=np.uint8)
    present = np.zeros((last - first, len(CLASSES)), dtype=bool)
    for row, index in enumerate(range(first, last)):
        image, labels = draw_scene("train", index, seed)
        pixels[row] = stretch(image)
        present[row, np.unique(labels[labels > 0]) - 1] = True
    return pixels, present


def draw_all(settings: Settings, cache: Path, processes: int = 2) -> None:
    """Writes `pixels.npy` and `present.npy` unless they are there."""
    if (cache / "present.npy").exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    starts = range(0, settings.images, PART)
    ends = [min(start + PART, settings.images) for start in starts]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(draw_part, starts, ends, [settings.seed] * len(ends)))
    np.save(cache / "pixels.npy", np.concatenate([pixels for pixels, _ in parts]))
    np.save(cache / "present.npy", np.concatenate([present for _, present in parts]))


def load_all(cache: Path) -> tuple[Pixels, list[list[int]]]:
    """The cached pixels (images, 96, 96, 3) and, for every image, its class indices in order."""
    present = np.load(cache / "present.npy")
    return np.load(cache / "pixels.npy", mmap_mode="r"), [np.flatnonzero(row).tolist() for row in present]
