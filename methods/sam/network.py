"""An image flows in; what SAM's last block attends with, and the image as its mask decoder reads it, flow out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamConfig, SamModel

from harness.contracts import Image, ModelError
from harness.contracts.sending import sent
from methods.clip.pixels import Normalisation, normalised, whole_sides
from methods.opened_network import BILINEAR, best_device, colours, opened_network
from methods.sam.prompts import Encoded, Prompted


@dataclass(frozen=True, eq=False)
class SamPiece:
    """What the last block attends with, of an image or of a half of it, where the image lies and not its margin.

    grid: (rows, columns) of its patches. values: (heads, rows * columns, head width). logits are those of `attention`.
    """

    grid: tuple[int, int]
    values: Tensor
    queries: Tensor
    keys: Tensor
    above: Tensor
    beside: Tensor

    def attention(self) -> Iterator[Tensor]:
        """Head by head, the share (patches, patches) of every patch in every patch, relative positions counted; rows
        lack what goes to the margin."""
        rows, columns = self.grid
        side = self.above.shape[-1]
        inside = torch.zeros(side, side, dtype=torch.bool, device=self.values.device)
        inside[:rows, :columns] = True
        for queries, keys, above, beside in zip(self.queries, self.keys, self.above, self.beside, strict=True):
            logits = queries @ keys.T + (above[:, :, None] + beside[:, None]).flatten(1)
            yield logits.float().softmax(dim=-1)[:, inside.flatten()].to(queries.dtype)


@dataclass(frozen=True, eq=False)
class SamFeatures:
    """The pieces of an image from left to right: one, or two halves."""

    pieces: Sequence[SamPiece]


class SamNetwork(Prompted):
    """A SamModel in evaluation and its image rule, on one device."""

    def __init__(self, model: Any, rule: Normalisation, device: torch.device):
        self.model = model.to(device).eval().requires_grad_(False)
        self.rule, self.device = rule, device
        vision = model.config.vision_config
        self.patch, self.side, self.heads = int(vision.patch_size), int(vision.image_size), vision.num_attention_heads

    def features(self, image: Image, halves: bool) -> SamFeatures:
        """What the last block attends with."""
        middle = image.shape[1] // 2
        pieces = (image[:, :middle], image[:, middle:]) if halves and middle else (image,)
        return SamFeatures([self.piece(piece) for piece in pieces])

    @torch.no_grad()
    def piece(self, image: Image) -> SamPiece:
        """Of one image, whose sides are first rounded up to whole patches."""
        size = self.fitted(whole_sides(image.shape[:2], self.patch))
        hidden = self.entering(image, size)
        block = self.model.vision_encoder.layers[-1].attn
        count = self.side // self.patch
        qkv = block.qkv(hidden).reshape(count * count, 3, self.heads, -1).permute(1, 2, 0, 3)
        queries, keys, values = (part.reshape(self.heads, count, count, -1) for part in qkv)
        grid = max(1, size[0] // self.patch), max(1, size[1] // self.patch)
        own, seen = (part[:, : grid[0], : grid[1]] for part in (queries, values))
        above = torch.einsum("nhwc,hkc->nhwk", own, self.positions(block, "rel_pos_h", count)[: grid[0]])
        beside = torch.einsum("nhwc,wkc->nhwk", own, self.positions(block, "rel_pos_w", count)[: grid[1]])
        return SamPiece(
            grid, seen.flatten(1, 2), own.flatten(1, 2) * block.scale, keys.flatten(1, 2),
            above.flatten(1, 2), beside.flatten(1, 2),
        )  # fmt: skip

    def positions(self, block: Any, name: str, count: int) -> Tensor:
        """Relative positions along one side (count, count, head width); zeros where the model has none."""
        if not block.use_rel_pos:
            return torch.zeros(count, count, 1, dtype=self.model.dtype, device=self.device)
        found: Tensor = block.get_rel_pos(count, count, getattr(block, name))
        return found

    def fitted(self, size: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) in pixels with the long side as the model has it, rounded half up."""
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    @torch.no_grad()
    def shown(self, image: Image) -> Encoded:
        """The image through the encoder, its long side as the model has it."""
        size = self.fitted(image.shape[:2])
        return Encoded(size, self.model.get_image_embeddings(self.pixels(image, size)))

    def enlarged(self, logits: Tensor, shown: Encoded, size: tuple[int, int]) -> Tensor:
        """Logits (masks, rows, columns) on the pixels of the image: first on the model's square, whose margin goes."""
        square = F.interpolate(logits[None], (self.side, self.side), mode="bilinear")
        return F.interpolate(square[..., : shown.size[0], : shown.size[1]], size, mode="bilinear")[0]

    @torch.no_grad()
    def entering(self, image: Image, size: tuple[int, int]) -> Tensor:
        """What enters the last block's attention (1, rows, columns, width): the image of `size` at the upper left, and
        what is beyond it black."""
        encoder = self.model.vision_encoder
        hidden = encoder.patch_embed(self.pixels(image, size))
        if encoder.pos_embed is not None:
            hidden = hidden + encoder.pos_embed
        for layer in encoder.layers[:-1]:
            hidden = layer(hidden)
        found: Tensor = encoder.layers[-1].layer_norm1(hidden)
        return found

    def pixels(self, image: Image, size: tuple[int, int]) -> Tensor:
        """(1, 3, side, side) of the image at `size`, with a margin of zeros at the right and below."""
        seen = torch.from_numpy(normalised(image, size, self.rule))[None]
        margin = (0, self.side - size[1], 0, self.side - size[0])
        return sent(F.pad(seen, margin), self.device).to(self.model.dtype)


def open_sam(model: str, revision: str | None, dtype: str) -> SamNetwork:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    found, folder = opened_network((SamModel, SamConfig), "sam", model, revision, dtype=dtype, called="The SAM")
    if found.vision_encoder.layers[-1].window_size:
        raise ModelError(
            f"The last block of the SAM {model!r} looks at windows; one that sees the whole image is read."
        )
    return SamNetwork(found, colours(folder, BILINEAR), best_device())
