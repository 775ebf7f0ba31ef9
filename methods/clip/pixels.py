"""An image and a resize rule flow in; normalised pixels and the windows to cut them into flow out, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import Image, ModelError
from methods.clip.passes import AS_IT_IS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """What the image processor of a checkpoint does to colours: (x / 255 - mean) / std, and its resize filter."""

    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resample: int = int(Pillow.Resampling.BICUBIC)

    @classmethod
    def of_folder(cls, folder: Path) -> Normalisation | None:
        """Read from `processor_config.json`, where transformers 5 writes it, or from `preprocessor_config.json`.

        None where the folder has neither, or they name no image processor.
        """
        held, path = _processor(folder)
        if held is None:
            return None
        try:
            mean, std = held.get("image_mean", CLIP_MEAN), held.get("image_std", CLIP_STD)
            found = cls(tuple(map(float, mean)), tuple(map(float, std)), int(held.get("resample", cls.resample)))
            Pillow.Resampling(found.resample)
        except (ValueError, TypeError) as problem:
            raise ModelError(f"The file {path} is no image processor's configuration ({problem}).") from problem
        return found


def _processor(folder: Path) -> tuple[dict[str, Any] | None, Path]:
    """What a folder says of its image processor, and in which file; the nested form is first, as in transformers."""
    for name, key in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        path = folder / name
        if path.is_file():
            try:
                held = json.loads(path.read_text(encoding="utf-8"))
                found = held if key is None else held.get(key)
            except (OSError, ValueError, AttributeError) as problem:
                raise ModelError(f"The file {path} is no image processor's configuration ({problem}).") from problem
            if isinstance(found, dict):
                return found, path
    return None, path


@dataclass(frozen=True)
class Tiling:
    """An image's size (height, width) and equal windows on it, shape and upper left corners, all in pixels.

    patch: side of a patch; what of a window is no whole patch at its lower and right edge is not seen.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    patch: int

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches in a window."""
        return self.window[0] // self.patch, self.window[1] // self.patch


def target_size(image: Image, resize: int | str, patch: int, native: int) -> tuple[int, int]:
    """(height, width) in pixels: the native square, the image's own, or that short side; no side below a patch.

    Sides are rounded half up and are not made whole patches, as in mmcv's `imrescale`.
    """
    if resize == "native":
        return native, native
    height, width = image.shape[:2]
    scale = 1.0 if resize in AS_IT_IS else int(resize) / min(height, width)
    return max(patch, int(height * scale + 0.5)), max(patch, int(width * scale + 0.5))


def whole_sides(size: tuple[int, ...], multiple: int, least: int = 0) -> tuple[int, int]:
    """(height, width) with both sides multiples, as Trident's authors do: where they are not, the long side is rounded
    up, and the short one brought along and rounded up, at `least` or above."""
    height, width = size[:2]
    if not multiple or not (height % multiple or width % multiple):
        return height, width
    long, short = max(height, width), min(height, width)
    grown = ceil(long / multiple) * multiple
    brought = max(ceil(short * grown / long / multiple), ceil(least / multiple)) * multiple
    return (grown, brought) if height >= width else (brought, grown)


def normalised(image: Image, size: tuple[int, int], rule: Normalisation) -> NDArray[np.float32]:
    """uint8 (height, width, 3) to float32 (3, *size), resized by pillow as CLIP's own processor does."""
    resized = Pillow.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Pillow.Resampling(rule.resample))
    values = np.asarray(resized, dtype=np.float32) / np.float32(255)
    mean, std = (np.asarray(numbers, dtype=np.float32) for numbers in (rule.mean, rule.std))
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))


def tile(size: tuple[int, int], window: int | None, stride: int | None, patch: int) -> Tiling:
    """Windows over (height, width) pixels, as mmseg slides: the last one of a row or column ends at the edge.

    window: side in pixels, None for the whole image, cut to the image where it is larger; stride: half a window when
    None. ModelError for a window that is no multiple of the patch.
    """
    if window is None:
        return Tiling(size, size, ((0, 0),), patch)
    step = stride_of(window, stride, patch)
    shape = (min(window, size[0]), min(window, size[1]))
    tops, lefts = (_starts(size[axis], shape[axis], step) for axis in (0, 1))
    return Tiling(size, shape, tuple((top, left) for top in tops for left in lefts), patch)


def stride_of(window: int, stride: int | None, patch: int) -> int:
    """The step between windows in pixels. ModelError when the window is no multiple of the patch."""
    if window % patch:
        raise ModelError(
            f"A window of {window} pixels does not fit patches of {patch} pixels: choose a multiple of {patch}."
        )
    return stride if stride is not None else max(1, window // patch // 2) * patch


def _starts(length: int, window: int, step: int) -> list[int]:
    count = ceil((length - window) / step) + 1
    return [min(place * step, length - window) for place in range(count)]
