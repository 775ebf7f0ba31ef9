"""A reader by name and its features flow in; what every method around a method needs of them flows out.

The inner method's passes and identity, the image that the scores are of, and the scores at that image's size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.contracts import Features, Image, MethodError, Parts, Pass, ProtocolSettings, Reader, Vocabulary
from methods.calls import built, fingerprint_of, resolved_call

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AroundReader(ABC):
    """Declares what the inner method declares, so their passes are shared.

    Where the protocol resizes or cuts, the scores are refined after its windows are merged, at the truth's size, on the
    image as it was shown, enlarged to that: as NACLIP does.
    method: a reader with its settings, `methods.naclip:NACLIP(model=shapes, window=64)`.
    """

    method: str

    @property
    @abstractmethod
    def short_side(self) -> int | None:
        """A setting: the short side in pixels at which it is done; None is the image's own."""

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

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """The inner method with its settings as they are under a protocol, where it has such."""
        found = resolved_call(self.method, self.inner, protocol)
        return {} if found is None else {"method": found}

    @property
    def plane_a_word(self) -> bool:
        """As the inner method: what is done to a plane does not look at others."""
        return bool(getattr(self.inner, "plane_a_word", False))

    def scores(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Tensor:
        """The inner method's scores (planes, rows, columns), float32, where they are: a plane a class, where this
        method gives them so."""
        return self._as_planes(self.inner.read(features, vocabulary), vocabulary)

    def unfinished(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Tensor:
        """The inner method's scores of one window, as `scores` has them, which `finish` is given merged."""
        ask = getattr(self.inner, "unfinished", self.inner.read)
        return self._as_planes(ask(features, vocabulary), vocabulary)

    def finish(self, scores: Tensor, image: Image) -> Tensor:
        """What becomes of an image's scores (planes, height, width) once its windows are merged.

        image: as it was shown; it is brought to the scores' size here.
        """
        import numpy as np
        import torch
        from torch.nn.functional import interpolate

        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
        large = interpolate(pixels[None], size=scores.shape[1:], mode="bilinear", align_corners=False)[0]
        inner = getattr(self.inner, "finish", None)
        return self.refined(inner(scores, image) if callable(inner) else scores, shrunk(large, self.short_side))

    @abstractmethod
    def refined(self, scores: Tensor, pixels: Tensor) -> Tensor:
        """Scores (planes, rows, columns), any size, refined on pixels (3, height, width) on 0..1, at their size."""

    def read(self, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> Tensor:
        """The inner method's scores, refined on the image that its passes saw: (planes, height, width), float32."""
        return self.refined(self.scores(features, vocabulary), self.pixels(features, self.short_side))

    def _as_planes(self, given: Any, vocabulary: Vocabulary) -> Tensor:
        """A tensor of what the inner method gave."""
        import numpy as np
        import torch

        found = given.float() if isinstance(given, torch.Tensor) else torch.from_numpy(np.array(given)).float()
        if self.plane_a_word or not getattr(self.inner, "plane_a_word", False):
            return found
        words = torch.split(found, [len(names) for names in vocabulary.names])
        return torch.stack([planes.amax(dim=0) for planes in words]) if words else found

    def pixels(self, features: Mapping[Pass, Features], short_side: int | None) -> Tensor:
        """The image as float32 (3, height, width) on 0..1, shrunk where a short side is set.

        MethodError when no pass tells which image it is of.
        """
        import numpy as np
        import torch

        image = self._image_of(features)
        return shrunk(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0, short_side)

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


def shrunk(pixels: Tensor, short_side: int | None) -> Tensor:
    """Pixels (3, height, width) with no longer short side than that; None is as it is."""
    from torch.nn.functional import interpolate

    height, width = pixels.shape[1:]
    if short_side is None or short_side >= min(height, width):
        return pixels
    share = short_side / min(height, width)
    size = (round(height * share), round(width * share))
    return interpolate(pixels[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores (classes, rows, columns) at (height, width), bilinear, corners not aligned."""
    from torch.nn.functional import interpolate

    if not len(scores):
        return scores.new_zeros(0, *size)
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
