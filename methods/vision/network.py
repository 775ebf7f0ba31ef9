"""An image flows in; the tokens of a vision transformer flow out, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import ViTConfig, ViTModel

from harness.contracts import Image, ModelError
from methods.checkpoints import fetch, variant
from methods.clip.network import WINDOWS, cut_windows
from methods.clip.pixels import IMAGENET_MEAN, IMAGENET_STD, Normalisation, Tiling, normalised, target_size, tile
from methods.clip.positions import position_table
from methods.hub import reason
from methods.quiet import quiet
from methods.vision.passes import VitPass


@dataclass(frozen=True, eq=False)
class VitFeatures:
    """tokens: (windows, patches, width), without the class token; grid: a window's (rows, columns); image: what was
    looked at, as the query gave it."""

    tokens: Tensor
    tiling: Tiling
    image: Image

    @property
    def grid(self) -> tuple[int, int]:
        return self.tiling.grid


class VitNetwork:
    """A ViTModel in evaluation and its image rule, on one device."""

    def __init__(self, model: Any, rule: Normalisation, device: torch.device):
        self.model = model.to(device).eval().requires_grad_(False)
        self.rule, self.device = rule, device
        self.patch, self.native = int(model.config.patch_size), int(model.config.image_size)

    def features(self, image: Image, asked: VitPass) -> VitFeatures:
        """Tokens of one image as the pass cuts it."""
        size = target_size(image, asked.resize, self.patch, self.native)
        tiling = tile(size, asked.window, asked.stride, self.patch)
        cut = cut_windows(torch.from_numpy(normalised(image, size, self.rule))[None], tiling)
        tokens = [self.tokens(part, asked.positions) for part in torch.split(cut, WINDOWS)]
        return VitFeatures(torch.cat(tokens)[:, 1:], tiling, image)

    @torch.no_grad()
    def tokens(self, pixels: Tensor, positions: str) -> Tensor:
        """All tokens (batch, 1 + patches, width), class token first, behind the last norm."""
        embeddings = self.model.embeddings
        patches = embeddings.patch_embeddings.projection(pixels.to(self.device, embeddings.cls_token.dtype))
        grid = (patches.shape[2], patches.shape[3])
        first = embeddings.cls_token.expand(len(pixels), -1, -1)
        hidden = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        if positions == "library":
            sides = grid[0] * self.patch, grid[1] * self.patch
            hidden = hidden + embeddings.interpolate_pos_encoding(hidden, *sides)
        else:
            hidden = hidden + position_table(embeddings.position_embeddings[0], grid, positions)
        for layer in self.model.layers:
            left = layer(hidden, None)
            hidden = left if isinstance(left, Tensor) else left[0]
        found: Tensor = self.model.layernorm(hidden)
        return found


def open_vit(model: str, revision: str | None, dtype: str) -> VitNetwork:
    """The model at its place, on the GPU when there is one. ModelError, one sentence, when it cannot be had."""
    folder = fetch(model, "vit", revision)
    weights = variant(folder)
    try:
        with quiet("transformers"):
            opened, notes = ViTModel.from_pretrained(
                folder, config=ViTConfig.from_pretrained(folder), dtype=getattr(torch, dtype), use_safetensors=True,
                variant=weights or None, local_files_only=True, output_loading_info=True, add_pooling_layer=False,
            )  # fmt: skip
    except Exception as problem:  # a library's own tree of errors, and those of safetensors below it
        raise ModelError(f"The model {model!r} cannot be opened from {folder}: {reason(problem)}.") from problem
    if absent := sorted(notes["missing_keys"]):
        raise ModelError(f"The model {model!r} in {folder} lacks {len(absent)} of its weights, {absent[0]} first.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule = Normalisation.of_folder(folder) or Normalisation(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return VitNetwork(opened, rule, device)
