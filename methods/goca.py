"""The pass of StableSeg flows in; scores of GoCA's vanilla form flow out: plain averages, S applied twice, a blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.stableseg import StableSeg

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GoCAVanilla(StableSeg):
    """The baseline that GoCA compares itself with (Darkbblue/goca, src-main; arXiv 2603.06178).

    C = plain mean over all layers and heads; M = S S C with S the mean of the self-attention of layers 1, 13 and 14;
    then M divided by its sum over the classes, blurred (Gaussian, 5 wide), minmax per class. t = 100.
    A network of other layers needs its own `refine_resolution` (`largest`, say).
    Left out: what GoCA adds (head weights a pixel, layer weights from a pseudo self-attention), its prompt from a
    GPT-4o caption with the missing names and ", background". So the sum runs over the offered classes, not over all
    words of content, and a single class is not divided: it would be 1 everywhere.
    """

    timestep: int = 100
    map_norm: str = "none"
    refine: str = "apply(resolution=1+13+14, power=2)"
    class_norm: str = "none"
    blur: int = 5

    @property
    def by_plane(self) -> bool:
        """Classes are divided by their sum."""
        return False

    def _final(self, maps: Tensor) -> Tensor:
        """Scores (classes, height, width), float32, at map size, in 0..1."""
        from methods.diffusion.maps import scaled

        maps = super()._final(maps)
        if len(maps) > 1:
            total = maps.sum(dim=0, keepdim=True)
            maps = maps / total.masked_fill(total == 0.0, 1.0)
        return scaled(blurred(maps, self.blur), "minmax")


def blurred(maps: Tensor, width: int) -> Tensor:
    """Gaussian means over `width` x `width` positions (odd), the border repeated; a width of 1 changes nothing."""
    import torch
    from torch.nn.functional import conv2d, pad

    reach = width // 2
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8  # what image libraries take when only the width is given
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32, device=maps.device) / sigma).square())
    line = line / line.sum()
    padded = pad(maps[:, None], [reach] * 4, mode="replicate")
    return conv2d(conv2d(padded, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]
