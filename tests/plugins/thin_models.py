"""A device and how many rows a call flow in; networks built like Stable Diffusion 1.x and CLIP ViT-B/16 flow out: all
their layers, narrow ones, random weights, on small images.

How many operations are asked of a device depends on neither widths nor sizes, as long as heads are as wide as there:
class maps are refined in slices of a head's width (40, 80 and 160).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPConfig, CLIPModel

from harness.contracts import Query, Vocabulary
from methods.clip.network import ClipNetwork
from methods.clip.pixels import Normalisation
from methods.diffusion.files import Opened
from methods.diffusion.network import Network
from methods.diffusion.passes import DiffusionSettings

THIN: dict[str, Any] = {
    "sample_size": 64,
    "layers_per_block": 2,
    "attention_head_dim": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 768,
    "block_out_channels": (40, 80, 160, 160),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SIZE = (64, 128)  # pixels: latents of 8 x 16
POSITIONS = 77


class Words:
    """A tokenizer whose tokens are words."""

    model_max_length = POSITIONS
    eos_token_id = 1

    def __call__(self, text: Any, **_: Any) -> Any:
        if isinstance(text, list):
            found = [self(one).input_ids for one in text]
            most = max(map(len, found))
            return SimpleNamespace(input_ids=[ids + [1] * (most - len(ids)) for ids in found])
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        ids = [0, *(2 + sum(text[start:end].encode()) % 900 for start, end in spans), 1]
        held = {"input_ids": ids, "offset_mapping": [(0, 0), *spans, (len(text), len(text))]}
        return Given(held)


class Given(dict[str, Any]):
    """What a tokenizer gives, by key or by name."""

    __getattr__ = dict.__getitem__


class Text(nn.Module):
    """A text encoder: every token its own vector."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(max_position_embeddings=POSITIONS)
        self.table = nn.Embedding(1000, 768)

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor]:
        filled = nn.functional.pad(input_ids, (0, POSITIONS - input_ids.shape[1]), value=1)
        return (self.table(filled),)


def stable_diffusion(device: str, rows: int | None = None, heads: int = 1) -> Network:
    """With a VAE of factor 8 and a text encoder of 77 positions. heads: of every attention."""
    torch.manual_seed(0)
    widths = tuple([heads * width for width in THIN["block_out_channels"]])
    unet: Any = UNet2DConditionModel(**{**THIN, "attention_head_dim": heads, "block_out_channels": widths})
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae: Any = AutoencoderKL(block_out_channels=(4, 4, 8, 8), norm_num_groups=2, latent_channels=4, **kinds)
    for name, module in unet.named_modules():
        if name.endswith(("to_q", "to_k")):
            module.weight.data *= 2.0
    parts = [one.eval().requires_grad_(False).to(device) for one in (unet, vae, Text())]
    configuration: Any = SimpleNamespace(factor=8, pixels=lambda _size: SIZE, check_timestep=lambda _timestep: None)
    schedule: Any = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    opened = Opened(configuration, parts[0], parts[1], parts[2], Words(), schedule)
    return Network(opened, DiffusionSettings("shapes", size=SIZE, rows=rows), device)


def clip(device: str) -> ClipNetwork:
    """Twelve blocks, patches of 16."""
    torch.manual_seed(0)
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12, "num_attention_heads": 1}
    text = {"vocab_size": 1000, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 1, "eos_token_id": 1}  # fmt: skip
    image = {"image_size": 48, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config={**vision, **image}, projection_dim=32)
    return ClipNetwork(CLIPModel(config), Words(), Normalisation(), torch.device(device))


def names(count: int) -> tuple[tuple[str, ...], ...]:
    """So many classes, of a word or two."""
    return tuple([(f"thing{number}" if number % 10 else f"other thing{number}",) for number in range(count)])


def queries(count: int, offered: Sequence[int], seed: int = 0) -> list[Query]:
    """So many images, each offered the first of so many classes."""
    lots = np.random.default_rng(seed)
    images = [lots.integers(0, 256, (48 + number, 90, 3), dtype=np.uint8) for number in range(count)]
    return [
        Query(f"image {number}", image, Vocabulary(names(classes)))
        for number, (image, classes) in enumerate(zip(images, offered, strict=True))
    ]
