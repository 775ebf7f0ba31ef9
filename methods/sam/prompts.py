"""An image flows in and is encoded once; prompts flow in, and the masks that a SAM's decoder answers flow out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.contracts import Image


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as the decoder reads it. size: the (height, width) that it takes of the model's square, from the upper
    left; embeddings: those of the encoder, in the model's own form."""

    size: tuple[int, int]
    embeddings: Any


class Prompted(ABC):
    """What the networks of both SAMs have in common."""

    model: Any
    side: int
    device: torch.device

    @abstractmethod
    def shown(self, image: Image) -> Encoded:
        """The image through the encoder."""

    @abstractmethod
    def enlarged(self, logits: Tensor, shown: Encoded, size: tuple[int, int]) -> Tensor:
        """Logits (masks, rows, columns) as the decoder leaves them, on the pixels of the image (masks, *size)."""

    @torch.no_grad()
    def decoded(self, shown: Encoded, points: Tensor) -> tuple[Tensor, Tensor]:
        """One mask a point (points, 2), x and y in pixels of the model's square: what the model thinks of each of them
        (points), and their logits (points, rows, columns), both in single precision."""
        prompts = points[None, :, None].to(self.device, self.model.dtype)
        left = self.model(image_embeddings=shown.embeddings, input_points=prompts, multimask_output=False)
        return left.iou_scores[0, :, 0].float(), left.pred_masks[0, :, 0].float()
