"""A reader by name and its features flow in; what every method around a method needs of them flows out.

The inner method's passes and identity, the image that the scores are of, and the scores at that image's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.contracts import Features, Image, MethodError, Parts, Pass, Reader, Vocabulary
from methods.calls import built, fingerprint_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AroundReader:
    """Declares what the inner method declares, so their passes are shared.

    method: a reader with its settings, `methods.naclip:NACLIP(model=shapes, window=64)`.
    """

    method: str

    @cached_property
    def inner(self) -> Reader:
        """The method whose scores are refined. MethodError when it is no reader."""
        found = built(self.method)
        if not isinstance(found, Reader):
            raise MethodError(
                f"{type(self).__name__} refines the scores of a reader, and {self.method!r} has no `passes` and `read`."
            )
        return found

    def fingerprint(self) -> str:
        """Stands for the files that the inner method reads."""
        return fingerprint_of(self.inner)

    def passes(self) -> Mapping[Pass, Parts]:
        """The inner method's."""
        return self.inner.passes()

    def scores(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Tensor:
        """The inner method's scores (classes, rows, columns), float32, where they are."""
        import numpy as np
        import torch

        given = self.inner.read(features, vocabulary)
        return given.float() if isinstance(given, torch.Tensor) else torch.from_numpy(np.array(given)).float()

    def pixels(self, features: Mapping[Pass, Features], short_side: int | None) -> Tensor:
        """The image as float32 (3, height, width) on 0..1, shrunk where a short side is set.

        MethodError when no pass tells which image it is of.
        """
        import numpy as np
        import torch
        from torch.nn.functional import interpolate

        image = self._image_of(features)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
        if short_side is None or short_side >= min(image.shape[:2]):
            return pixels
        share = short_side / min(image.shape[:2])
        size = (round(image.shape[0] * share), round(image.shape[1] * share))
        return interpolate(pixels[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]

    def _image_of(self, features: Mapping[Pass, Features]) -> Image:
        for held in features.values():
            image = getattr(held, "image", None)
            if image is not None:
                found: Image = image
                return found
        name = type(self).__name__
        raise MethodError(f"{name} needs the image, and none of the passes' features offer `image`.")


def check_short_side(name: str, short_side: int | None) -> None:
    """MethodError when a method's short side is too short for an image."""
    if short_side is not None and short_side < 2:
        raise MethodError(f"{name}'s short side is {short_side}; give at least 2 pixels, or null.")


def enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores (classes, rows, columns) at (height, width), bilinear, corners not aligned."""
    from torch.nn.functional import interpolate

    if not len(scores):
        return scores.new_zeros(0, *size)
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
