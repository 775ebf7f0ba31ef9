"""A reader's scores and the image they are of flow in; the same scores, drawn to the image's edges, flow out: PAMR.

A method around a method: it declares what the inner one declares, so their passes are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import MethodError
from harness.contracts.sending import sent
from methods.around_reader import AroundReader, check_short_side, enlarged

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))
SLICE = 2**25  # classes are refined in slices of about this many numbers


@dataclass(frozen=True)
class PAMR(AroundReader):
    """Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, arXiv 2005.08104) behind any reader.

    Scores are enlarged to the image; then `iterations` times M(p) <- sum over q of a(p, q) M(q), where q are the 8
    neighbours of p at every dilation (the border repeated), and a(p, .) = softmax over q of the mean over colours of
    -|I(p) - I(q)| / (0.1 s(p)), s the deviation of the colour over p and all its neighbours. The factor 0.1, and s in
    place of the paper's squared one, are those of the authors' code (visinf/1-stage-wseg, models/mods/pamr.py). Every a
    sums to 1, so scores stay within their range. Defaults: NACLIP's, 10 iterations and dilations 8 and 16.

    method: see AroundReader; the features of its passes must offer `image`. short_side: pixels at which it is done;
    None is the image's own size.
    Left out: align_corners in enlarging.
    """

    iterations: int = 10
    dilations: tuple[int, ...] = (8, 16)
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.iterations < 0 or not self.dilations or min(self.dilations) < 1:
            raise MethodError(
                f"PAMR was given {self.iterations} iterations and the dilations {self.dilations}; "
                "give 0 iterations or more, and dilations of 1 pixel or more."
            )
        check_short_side("PAMR", self.short_side)
        _ = self.inner

    def refined(self, scores: Tensor, pixels: Tensor) -> Tensor:
        """Scores (planes, height, width) at the pixels' size, float32."""
        pixels = sent(pixels, scores.device)
        size = (pixels.shape[1], pixels.shape[2])
        weights = affinities(pixels, self.dilations)
        step = max(1, SLICE // (size[0] * size[1]))
        refined = scores.new_empty(len(scores), *size)
        for start in range(0, len(scores), step):
            large = enlarged(scores[start : start + step], size)
            refined[start : start + step] = spread(large, weights, self.dilations, self.iterations)
        return refined


def affinities(pixels: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """a(p, q) for an image (colours, height, width): (neighbours, height, width), sums to 1 over the neighbours."""
    import torch

    likeness = pixels.new_zeros(len(NEIGHBOURS) * len(dilations), *pixels.shape[1:])
    for colour in range(len(pixels)):
        plane = pixels[colour : colour + 1]
        around = torch.cat([near for dilation in dilations for near in _shifted(plane, dilation)])
        centres = plane.expand(len(dilations), -1, -1)  # the deviation counts p once a dilation
        deviation = torch.cat([around, centres]).std(dim=0)
        likeness -= (around - plane).abs_() / (1e-8 + 0.1 * deviation) / len(pixels)
    return likeness.softmax(dim=0)


def spread(maps: Tensor, weights: Tensor, dilations: tuple[int, ...], times: int) -> Tensor:
    """M <- sum of a(p, q) M(q), `times` times, for maps (classes, height, width); one neighbour at a time."""
    import torch

    for _ in range(times):
        mixed, place = torch.zeros_like(maps), 0
        for dilation in dilations:
            for near in _shifted(maps, dilation):
                mixed.addcmul_(near, weights[place])
                place += 1
        maps = mixed
    return maps


def _shifted(planes: Tensor, dilation: int) -> list[Tensor]:
    """The 8 neighbours of every position, each as planes of the same shape; the border is repeated."""
    from torch.nn.functional import pad

    height, width = planes.shape[1:]
    wide = pad(planes[None], [dilation] * 4, mode="replicate")[0]
    starts = [(dilation * (1 + down), dilation * (1 + right)) for down, right in NEIGHBOURS]
    return [wide[:, top : top + height, left : left + width] for top, left in starts]
