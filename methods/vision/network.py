"""An image flows in; the tokens of a vision transformer flow out, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ViTConfig, ViTModel

from harness.contracts import Image, Parts
from harness.contracts.sending import sent
from methods.clip.network import WINDOWS, cut_windows
from methods.clip.pixels import Normalisation, Tiling, normalised, target_size, tile, whole_sides
from methods.clip.positions import position_table
from methods.opened_network import BICUBIC, best_device, colours, opened_network
from methods.vision.passes import SUMS, TOKENS, VitPass


@dataclass(frozen=True, eq=False)
class VitFeatures:
    """tokens: (windows, patches, width), without the class token; grid: a window's (rows, columns); image: what was
    looked at, as the query gave it; sums: q + k of the last block, heads side by side, shaped as the
    tokens, at unit length."""

    tokens: Tensor
    tiling: Tiling
    image: Image
    sums: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        return self.tiling.grid


class VitNetwork:
    """A ViTModel in evaluation and its image rule, on one device."""

    def __init__(self, model: Any, rule: Normalisation, device: torch.device):
        self.model = model.to(device).eval().requires_grad_(False)
        self.rule, self.device = rule, device
        self.patch, self.native = int(model.config.patch_size), int(model.config.image_size)

    def features(self, image: Image, asked: VitPass, parts: Parts = TOKENS) -> VitFeatures:
        """What is asked of one image as the pass cuts it."""
        size = target_size(image, asked.resize, self.patch, self.native)
        size = whole_sides(size, asked.multiple, asked.window or 0)
        tiling = tile(size, asked.window, asked.stride, self.patch)
        cut = cut_windows(torch.from_numpy(normalised(image, size, self.rule))[None], tiling)
        pairs = [self.tokens(part, asked.positions) for part in torch.split(cut, WINDOWS)]
        tokens, entering = (torch.cat(held)[:, 1:] for held in zip(*pairs, strict=True))
        return VitFeatures(tokens, tiling, image, self.sums(entering) if parts >= SUMS else None)

    @torch.no_grad()
    def sums(self, entering: Tensor) -> Tensor:
        """q + k that the last block makes of what enters it, at unit length."""
        block = self.model.layers[-1]
        normed = block.layernorm_before(entering)
        return F.normalize(block.attention.q_proj(normed) + block.attention.k_proj(normed), dim=-1)

    @torch.no_grad()
    def tokens(self, pixels: Tensor, positions: str) -> tuple[Tensor, Tensor]:
        """All tokens (batch, 1 + patches, width), class token first: behind the last norm, and what enters the last
        block."""
        embeddings = self.model.embeddings
        patches = embeddings.patch_embeddings.projection(sent(pixels, self.device).to(embeddings.cls_token.dtype))
        grid = (patches.shape[2], patches.shape[3])
        first = embeddings.cls_token.expand(len(pixels), -1, -1)
        hidden = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        if positions == "library":
            sides = grid[0] * self.patch, grid[1] * self.patch
            hidden = hidden + embeddings.interpolate_pos_encoding(hidden, *sides)
        else:
            hidden = hidden + position_table(embeddings.position_embeddings[0], grid, positions)
        entering = hidden
        for layer in self.model.layers:
            entering = hidden
            left = layer(hidden, None)
            hidden = left if isinstance(left, Tensor) else left[0]
        return self.model.layernorm(hidden), entering


def open_vit(model: str, revision: str | None, dtype: str) -> VitNetwork:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    found, folder = opened_network(
        (ViTModel, ViTConfig), "vit", model, revision, dtype=dtype, called="The model", add_pooling_layer=False
    )
    return VitNetwork(found, colours(folder, BICUBIC), best_device())
