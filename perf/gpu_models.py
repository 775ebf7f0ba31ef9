"""A folder and a size flow in; a diffusion model and a CLIP with random weights, saved as hubs save them, flow out.

`real` has the shapes of Stable Diffusion 1.x and of CLIP ViT-B/16; `small` has all their parts and next to no size.
Their words are those of the shipped model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

WORDS = Path(__file__).parents[1] / "methods" / "pretrained" / "shapes" / "diffusion" / "tokenizer"
DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


class Sizes(NamedTuple):
    """What of a model's configuration its size decides."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    width: int  # of text states
    layers: int
    tower: dict[str, Any]


SIZES = {
    "real": Sizes(
        {"sample_size": 64, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280)},
        {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
        768,
        12,
        {"image_size": 224, "patch_size": 16, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12},
    ),
    "small": Sizes(
        {"sample_size": 8, "attention_head_dim": 2, "block_out_channels": (16, 32, 48, 48), "norm_num_groups": 8},
        {"block_out_channels": (4, 4, 8, 8), "norm_num_groups": 2},
        24,
        2,
        {"image_size": 48, "patch_size": 16, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 6,
         "num_attention_heads": 2},
    ),
}  # fmt: skip


def write_diffusion(folder: Path, size: str, device: str) -> Path:
    """A model in diffusers' format; its networks are made on the device and saved in bfloat16."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    of = SIZES[size]
    torch.manual_seed(0)
    with torch.device(device):
        unet: Any = UNet2DConditionModel(
            **of.unet, cross_attention_dim=of.width, layers_per_block=2, down_block_types=DOWN, up_block_types=UP
        )
        vae: Any = AutoencoderKL(
            **of.vae, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        text: Any = CLIPTextModel(CLIPTextConfig(**_text(of)))
    scheduler: Any = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    for name, part in {"unet": unet, "vae": vae, "text_encoder": text}.items():
        part.to(torch.bfloat16).save_pretrained(folder / name)
    scheduler.save_pretrained(folder / "scheduler")
    shutil.copytree(WORDS, folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}), encoding="utf-8")
    return folder


def write_clip(folder: Path, size: str, device: str) -> Path:
    """A CLIP in transformers' format."""
    from transformers import CLIPConfig, CLIPModel

    of = SIZES[size]
    torch.manual_seed(0)
    width = max(64, of.width // 3 * 2)
    config = CLIPConfig(text_config=_text(of, width), vision_config=of.tower, projection_dim=width)
    with torch.device(device):
        model = CLIPModel(config)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(WORDS / name, folder / name)
    return folder


def _text(of: Sizes, width: int | None = None) -> dict[str, Any]:
    words = json.loads((WORDS.parent / "text_encoder" / "config.json").read_text("utf-8"))
    kept = {key: words[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    wide = width or of.width
    heads = max(1, wide // 64)
    return kept | {
        "hidden_size": wide, "intermediate_size": 4 * wide, "num_hidden_layers": of.layers,
        "num_attention_heads": heads, "max_position_embeddings": 77,
    }  # fmt: skip
