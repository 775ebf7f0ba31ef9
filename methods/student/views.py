"""An image and a network flow in; what the network says of it at several sizes and mirrored flows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import interpolate

from harness.contracts import Image
from methods.student.crops import AS_IT_IS, Sides
from methods.student.network import logits


@dataclass(frozen=True)
class Views:
    """Every scale, and at every scale the mirror image if there is a flip."""

    shown: Sides = AS_IT_IS
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def logits(self, network: nn.Module, image: Image) -> Iterator[Tensor]:
        """(outputs, height, width) for each view, at the image's own size and unmirrored."""
        for scale in self.scales:
            seen = self.shown.at_scale(image, scale)
            yield _enlarged(logits(network, seen), image)
            if self.flip:
                yield _enlarged(logits(network, np.ascontiguousarray(seen[:, ::-1])).flip(-1), image)


ONE_VIEW = Views()


def _enlarged(answer: Tensor, image: Image) -> Tensor:
    size = image.shape[:2]
    if answer.shape[1:] == size:
        return answer
    return interpolate(answer[None], size=size, mode="bilinear", align_corners=False)[0]
