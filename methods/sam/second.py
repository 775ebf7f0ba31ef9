"""An image flows in; what the mask decoder of a SAM 2 reads of it flows out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Sam2Config, Sam2Model

from harness.contracts import Image
from harness.contracts.sending import sent
from methods.clip.pixels import Normalisation, normalised
from methods.opened_network import BILINEAR, best_device, colours, opened_network
from methods.sam.prompts import Encoded, Prompted


class Sam2Network(Prompted):
    """A Sam2Model in evaluation and its image rule, on one device. Images are stretched to its square."""

    def __init__(self, model: Any, rule: Normalisation, device: torch.device):
        self.model = model.to(device).eval().requires_grad_(False)
        self.rule, self.device = rule, device
        self.side = int(model.config.prompt_encoder_config.image_size)

    @torch.no_grad()
    def shown(self, image: Image) -> Encoded:
        """The image through the encoder."""
        size = self.side, self.side
        pixels = torch.from_numpy(normalised(image, size, self.rule))[None]
        return Encoded(size, self.model.get_image_embeddings(sent(pixels, self.device).to(self.model.dtype)))

    def enlarged(self, logits: Tensor, shown: Encoded, size: tuple[int, int]) -> Tensor:
        """Logits (masks, rows, columns) on the pixels of the image, in one step."""
        return F.interpolate(logits[None], size, mode="bilinear")[0]


def open_sam2(model: str, revision: str | None, dtype: str) -> Sam2Network:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    found, folder = opened_network((Sam2Model, Sam2Config), "sam2", model, revision, dtype=dtype, called="The SAM 2")
    return Sam2Network(found, colours(folder, BILINEAR), best_device())
