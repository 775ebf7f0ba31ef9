"""Latents and captions flow in; a UNet flows out whose cross-attention tells where a word's object is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.shapes_world import CLASSES
from training.captions import caption, some
from training.loop import train
from training.noise import STEPS, new_scheduler
from training.pictures import load_all
from training.settings import LATENT_SIDE, POSITIONS, WIDTH, Settings

PARTIAL = 0.3  # share of captions that name only a part of the objects
EMPTY = 0.1  # share of empty captions
HIDDEN = 0.8  # share of samples whose end mark and padding are hidden: else they carry the sentence, not the words
GAMMA = 2.0  # of min-SNR (arXiv 2303.09556): at low t the loss is mostly noise that nobody can predict
MIDDLE = 0.4  # share of the time steps drawn from 200 to 800 only, where the text informs most
OWN_LOGIT = 14.0  # what a position's self-attention gives to itself at the start; clear, yet not the identity
LOUD = 2.0  # factor on the start of the cross-attention's queries and keys; the library's leaves them nearly flat


def new_unet(seed: int) -> UNet2DConditionModel:
    """Three levels (24, 12, 6) of 32, 64 and 96 channels, attention with 2 heads at every level: 2.8 M parameters."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=WIDTH,
        attention_head_dim=2,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )
    start_attention(unet)
    return unet


def start_attention(unet: Any) -> None:
    """Draws queries and keys anew, in place; everything else keeps the library's start."""
    for name, module in unet.named_modules():
        if name.endswith("attn1"):
            start_tied(module)
        elif name.endswith("attn2"):
            _start(module.to_q, LOUD)
            _start(module.to_k, LOUD)


def start_tied(attention: Any) -> None:
    """Keys start as a copy of the queries: the logits then begin as a similarity between positions."""
    head_width = attention.to_q.out_features // attention.heads
    # entries U(-f, f) / sqrt(inputs) on normalised input: a query has squared length width * f**2 / 3
    _start(attention.to_q, math.sqrt(3.0 * OWN_LOGIT / math.sqrt(head_width)))
    with torch.no_grad():
        attention.to_k.weight.copy_(attention.to_q.weight)


def _start(layer: nn.Linear, factor: float) -> None:
    """The library's own start has the factor 1."""
    nn.init.uniform_(layer.weight, -factor / math.sqrt(layer.in_features), factor / math.sqrt(layer.in_features))


class UnetTraining(nn.Module):
    """The UNet with its loss: predicting the noise (epsilon), weighted by min-SNR."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        latents: Tensor,
        classes: list[list[int]],
        settings: Settings,
    ):
        super().__init__()
        self.unet = unet
        self.frozen = (text.eval().requires_grad_(False), tokenizer)  # in a tuple, so no part of the state
        self.data = (latents, classes)  # latents: float16 (images, 4, 24, 24), scaled
        self.settings = settings
        self.alphas = (new_scheduler().alphas_cumprod,)

    def loss(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted squared error, and the plain one by quarter of the time steps."""
        batch = self.settings.unet.batch
        latents, classes = self.data
        chosen = torch.randint(len(latents), (batch,), generator=generator).tolist()
        captions = [self.draw_caption(classes[index], generator) for index in chosen]
        states, visible = self.text_states(captions, generator)
        clean = latents[chosen].float()
        times = draw_times(batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        alpha = self.alphas[0][times].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * noise
        guess = self.unet(noisy, times, encoder_hidden_states=states, encoder_attention_mask=visible).sample
        error = (guess - noise).square().mean(dim=(1, 2, 3))
        ratio = (alpha / (1.0 - alpha)).flatten()
        weighted = ((GAMMA / ratio).clamp(max=1.0) * error).mean()
        return {"loss": weighted} | quarters(error.detach(), times)

    def draw_caption(self, classes: list[int], generator: torch.Generator) -> str:
        """Empty in a tenth of the samples, else of all or some of the classes."""
        if float(torch.rand((), generator=generator)) < EMPTY:
            return ""
        return caption([CLASSES[place] for place in some(classes, PARTIAL, generator)], generator)

    @torch.no_grad()
    def text_states(self, captions: list[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States (captions, 40, 64) and which of them may be seen (captions, 40), 1 = visible."""
        text, tokenizer = self.frozen
        tokens = tokenizer(captions, padding="max_length", max_length=POSITIONS, return_tensors="pt").input_ids
        hide = torch.rand(len(captions), 1, generator=generator) < HIDDEN
        visible = ~(hide & (tokens == tokenizer.eos_token_id))
        return text(input_ids=tokens).last_hidden_state, visible.float()


def draw_times(batch: int, generator: torch.Generator) -> Tensor:
    """One time step from each of `batch` equally likely slices; 200 to 800 is denser, all others remain covered."""
    level = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    outside = (1.0 - MIDDLE) * 0.2  # probability of t < 200, and of t >= 800
    inner = 200.0 + 600.0 * (level - outside) / (1.0 - 2.0 * outside)
    times = torch.where(level < outside, 200.0 * level / outside, inner)
    times = torch.where(level > 1.0 - outside, STEPS - 200.0 * (1.0 - level) / outside, times)
    return times.long().clamp(0, STEPS - 1)


def quarters(error: Tensor, times: Tensor) -> dict[str, Tensor]:
    """Mean error by quarter of the time steps, for the log."""
    return {
        f"quarter{place + 1}": error[(times * 4 // STEPS) == place].mean()
        for place in range(4)
        if bool(((times * 4 // STEPS) == place).any())
    }


def open_training(settings: Settings, cache: Path) -> UnetTraining:
    """The training with the latents and the frozen text tower of the earlier stages."""
    vae = AutoencoderKL.from_pretrained(cache / "vae")
    latents = torch.from_numpy(np.load(cache / "latents.npy")).float() * vae.config.scaling_factor
    tokenizer = CLIPTokenizer.from_pretrained(cache / "tokenizer", model_max_length=POSITIONS)
    text = CLIPTextModel.from_pretrained(cache / "text").float()
    _, classes = load_all(cache)
    return UnetTraining(new_unet(settings.seed), text, tokenizer, latents.half(), classes, settings)


def train_unet(settings: Settings, cache: Path) -> None:
    """Trains and writes the averaged weights to `unet` in the cache; every 500 steps it measures on train images."""
    from training.probe import Probe

    training = open_training(settings, cache)
    probe = Probe.open(settings, cache, images=60)
    train(
        training,
        training.loss,
        settings.unet,
        cache,
        settings.seed,
        check=lambda step, model: probe.quick(training.unet),
    )
    training.unet.save_pretrained(cache / "unet")
