"""A model's name flows in; its networks, opened in one number format and put on one device, flow out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from harness.contracts import ModelError
from methods import checkpoints


class Opened(NamedTuple):
    """The parts of a latent diffusion model; foreign classes, hence untyped. The VAE has no decoder."""

    unet: Any
    vae: Any
    text: Any
    tokenizer: Any
    scheduler: Any


def open_files(model: str, revision: str | None, dtype: torch.dtype, device: str) -> Opened:
    """The parts of a model, weights from safetensors only. ModelError, one sentence, when it cannot be opened."""
    folder = checkpoints.fetch(model, "diffusion", revision)
    try:
        with quiet():
            opened = _parts(folder)
            opened.vae.decoder = None
            for network in (opened.unet, opened.vae, opened.text):
                # transformers opens half-precision weights as such, diffusers does not: one format for all is set here.
                network.to(device=device, dtype=dtype).eval().requires_grad_(False)
            return opened
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as problem:
        raise ModelError(
            f"The diffusion model {model!r} in {folder} cannot be opened: {checkpoints.reason(problem)}."
        ) from problem


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries' bars and remarks on loading are kept back, and afterwards they are as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    shown = transformers_logging.is_progress_bar_enabled()
    try:
        for library in libraries:
            library.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()


def _parts(folder: Path) -> Opened:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    place = str(folder)
    if not any((folder / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise OSError("it has no tokenizer")  # the library would open an empty one
    tokenizer = CLIPTokenizer.from_pretrained(place, subfolder="tokenizer", local_files_only=True)
    # Only the schedule of betas is read, which every scheduler of Stable Diffusion states in the same words.
    scheduler = DDIMScheduler.from_pretrained(place, subfolder="scheduler", local_files_only=True)
    unet = _complete(UNet2DConditionModel, place, "unet", low_cpu_mem_usage=False)
    vae = _complete(AutoencoderKL, place, "vae", low_cpu_mem_usage=False)
    text = _complete(CLIPTextModel, place, "text_encoder")
    if unet.config.cross_attention_dim != text.config.hidden_size:
        raise ValueError(
            f"its UNet reads text states of width {unet.config.cross_attention_dim}, and its text encoder gives "
            f"{text.config.hidden_size}"
        )
    return Opened(unet, vae, text, tokenizer, scheduler)


def _complete(kind: Any, place: str, part: str, **options: Any) -> Any:
    """A network with all its weights: the libraries would fill gaps with random numbers."""
    network, about = kind.from_pretrained(
        place, subfolder=part, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )
    if missing := sorted(about["missing_keys"]):
        raise ValueError(f"its {part} lacks {len(missing)} weights, {missing[0]} among them")
    return network
