"""Trained parts in the cache flow in; two folders in the formats of Stable Diffusion and CLIP flow out, in fp16."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from training.noise import new_scheduler
from training.settings import POSITIONS, SIDE, Settings


def export(settings: Settings, cache: Path, out: Path) -> None:
    """Writes `diffusion/` and `clip/` beside each other in `out`, each put in place only when complete."""
    tokenizer = CLIPTokenizer.from_pretrained(cache / "tokenizer", model_max_length=POSITIONS)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(cache / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(cache / "text"),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(cache / "unet"),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    clip = CLIPModel.from_pretrained(cache / "clip").half()
    _replace(out / "diffusion", lambda folder: pipeline.to(dtype=torch.float16).save_pretrained(folder))

    def save_clip(folder: Path) -> None:
        clip.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _image_processor().save_pretrained(folder)

    _replace(out / "clip", save_clip)


def _image_processor() -> CLIPImageProcessor:
    """Stretch to 96 x 96, then to [-1, 1]."""
    size = {"height": SIDE, "width": SIDE}
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False, image_mean=half, image_std=half)


def _replace(folder: Path, save: Callable[[Path], None]) -> None:
    """Saves beside the folder, then swaps, so that nobody ever loads half a model."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    save(fresh)
    for path in fresh.rglob("config.json"):
        path.write_text(re.sub(r'\n *"_name_or_path": "[^"]*",', "", path.read_text("utf-8")))  # names a folder here
    for path in fresh.rglob("*.safetensors"):
        path.chmod(0o644)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
