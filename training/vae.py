"""Pixels flow in; an autoencoder and the cached latents of all training images flow out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.pictures import Pixels
from training.settings import LATENT_SIDE, SIDE, Settings

CROP = 48
WHOLE = 0.15  # share of the steps, at the end, that see whole images, a third of the batch


def new_vae(seed: int) -> AutoencoderKL:
    """Three levels (16, 32, 48), 4 latent channels, factor 4: 96 x 96 pixels to 24 x 24."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )


class VaeTraining(nn.Module):
    """The autoencoder with its loss: squared and absolute error, and a weak pull of the posterior to the normal."""

    def __init__(self, model: AutoencoderKL, pixels: Pixels, settings: Settings):
        super().__init__()
        self.model = model
        self.pixels, self.settings = pixels, settings

    def loss(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """On random crops (four times cheaper), at the end on whole images."""
        stage = self.settings.vae
        crops = step < (1.0 - WHOLE) * stage.steps
        batch = stage.batch if crops else max(1, stage.batch // 3)
        chosen = torch.randint(len(self.pixels), (batch,), generator=generator).tolist()
        images = torch.from_numpy(self.pixels[chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if crops:
            images = random_crops(images, generator)
        posterior = self.model.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = self.model.decode(posterior.mean + posterior.std * noise).sample
        squared, absolute = F.mse_loss(decoded, images), F.l1_loss(decoded, images)
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        return {"loss": squared + 0.2 * absolute + 2e-4 * divergence, "mse": squared, "kl": divergence}


def random_crops(images: Tensor, generator: torch.Generator) -> Tensor:
    """(images, 3, 48, 48) at offsets that are multiples of the latent cell and reach every border."""
    offsets = 4 * torch.randint((SIDE - CROP) // 4 + 1, (len(images), 2), generator=generator)
    return torch.stack(
        [
            image[:, top : top + CROP, left : left + CROP]
            for image, (top, left) in zip(images, offsets.tolist(), strict=True)
        ]
    )


@torch.no_grad()
def encode_all(model: AutoencoderKL, pixels: Pixels, cache: Path) -> float:
    """Writes the posterior means as `latents.npy` (images, 4, 24, 24) float16; returns 1 / their standard deviation."""
    model.eval()
    means = np.empty((len(pixels), 4, LATENT_SIDE, LATENT_SIDE), dtype=np.float16)
    for start in range(0, len(pixels), 64):
        images = torch.from_numpy(np.array(pixels[start : start + 64])).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        means[start : start + 64] = model.encode(images).latent_dist.mean.numpy()
    scaling = round(1.0 / float(means.astype(np.float32).std()), 5)
    np.save(cache / "latents.npy", means)
    return scaling
