"""A model's name flows in; its networks, opened in one number format and put on one device, flow out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from harness.contracts import ModelError
from methods import checkpoints
from methods.diffusion.configuration import Configuration
from methods.hub import reason
from methods.quiet import quiet


class Opened(NamedTuple):
    """The parts of a latent diffusion model; foreign classes, hence untyped. The VAE has no decoder."""

    configuration: Configuration
    unet: Any
    vae: Any
    text: Any
    tokenizer: Any
    scheduler: Any


def open_files(configuration: Configuration, dtype: torch.dtype, device: str) -> Opened:
    """The parts of a model, weights from safetensors only. ModelError, one sentence, when it cannot be opened."""
    try:
        with quiet("diffusers", "transformers"):
            opened = _parts(configuration)
            opened.vae.decoder = None
            for network in (opened.unet, opened.vae, opened.text):
                # transformers opens half-precision weights as such, diffusers does not: one format for all is set here.
                network.to(device=device, dtype=dtype).eval().requires_grad_(False)
            return opened
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as problem:
        raise ModelError(
            f"The diffusion model in {configuration.folder} cannot be opened: {reason(problem)}."
        ) from problem


def _parts(configuration: Configuration) -> Opened:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = configuration.folder
    place = str(folder)
    if not any((folder / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise OSError("it has no tokenizer")  # the library would open an empty one
    tokenizer = CLIPTokenizer.from_pretrained(place, subfolder="tokenizer", local_files_only=True)
    # Only the schedule of betas is read, which every scheduler of Stable Diffusion states in the same words.
    scheduler = DDIMScheduler.from_pretrained(place, subfolder="scheduler", local_files_only=True)
    unet = _complete(UNet2DConditionModel, folder, "unet", low_cpu_mem_usage=False)
    vae = _complete(AutoencoderKL, folder, "vae", low_cpu_mem_usage=False)
    text = _complete(CLIPTextModel, folder, "text_encoder")
    return Opened(configuration, unet, vae, text, tokenizer, scheduler)


def _complete(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """A network with all its weights: the libraries would fill gaps with random numbers."""
    network, about = kind.from_pretrained(
        str(folder), subfolder=part, local_files_only=True, use_safetensors=True, output_loading_info=True,
        variant=checkpoints.variant(folder / part) or None, **options,
    )  # fmt: skip
    if missing := sorted(about["missing_keys"]):
        raise ValueError(f"its {part} lacks {len(missing)} weights, {missing[0]} among them")
    return network
