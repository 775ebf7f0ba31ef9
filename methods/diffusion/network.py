"""Images and requests flow in; they go through an opened VAE, text encoder and UNet, and features flow out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.contracts import Image, ModelError, Parts, Query
from harness.contracts.sending import sent
from methods import checkpoints
from methods.cards import computing, words_of
from methods.diffusion import layers as wishes
from methods.diffusion.attention import Wanted, layers_of, reading
from methods.diffusion.configuration import Configuration
from methods.diffusion.features import DiffusionBatch
from methods.diffusion.files import Opened, open_files
from methods.diffusion.images import fit_image
from methods.diffusion.keeping import Kept
from methods.diffusion.latent_cache import LatentCache
from methods.diffusion.passes import DiffusionPass, DiffusionSettings
from methods.diffusion.row_calls import UNetRow, calls_of, rows_of_a_call
from methods.diffusion.text import TextSide


class Posterior(NamedTuple):
    """Mean and deviation of the scaled latents of a batch, (images, channels, height, width), in float32."""

    mean: Tensor
    deviation: Tensor


class Network:
    """An opened diffusion model that answers passes."""

    def __init__(self, opened: Opened, settings: DiffusionSettings, device: str) -> None:
        self.vae, self.unet, self.scheduler = opened.vae, opened.unet, opened.scheduler
        self.device, self.dtype = torch.device(device), getattr(torch, settings.dtype)
        self.text = TextSide(opened.tokenizer, opened.text, self.device, self.dtype)
        self.settings = settings
        self._timesteps: dict[int, Tensor] = {}
        self.configuration, self.factor = opened.configuration, opened.configuration.factor
        self.size = opened.configuration.pixels(settings.size)
        self.latent = (self.size[0] // self.factor, self.size[1] // self.factor)
        self.layers = layers_of(self.unet, self.latent)
        if "channels_last" in words_of(settings.card):
            for part in (self.unet, self.vae):
                part.to(memory_format=torch.channels_last)
        maker = " ".join(
            [settings.fingerprint(), f"{self.size}", settings.resize, settings.dtype, *words_of(settings.card)]
        )
        self.cache = LatentCache(settings.latent_cache, maker) if settings.latent_cache else None

    @classmethod
    def open(cls, settings: DiffusionSettings) -> Network:
        """The model of these settings, on the GPU when there is one. ModelError, one sentence, when that fails."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        configuration = Configuration.of_folder(checkpoints.fetch(settings.model, "diffusion", settings.revision))
        configuration.pixels(settings.size)  # refused before the weights are read
        opened = open_files(configuration, getattr(torch, settings.dtype), device)
        return cls(opened, settings, device)

    def serve(
        self, queries: Sequence[Query], requests: Mapping[DiffusionPass, Parts]
    ) -> Iterator[tuple[DiffusionPass, DiffusionBatch]]:
        """Every pass with its features, one per query; the images go through the VAE once, all together."""
        fitted = [fit_image(query.image, self.size, self.factor, self.settings.resize) for query in queries]
        contents = [(height // self.factor, width // self.factor) for _, (height, width) in fitted]
        posterior = self.posterior([pixels for pixels, _ in fitted])
        for request, parts in requests.items():
            wanted = self.wanted(parts)
            rows = [self.rows(place, query, request) for place, query in enumerate(queries)]
            latents = self.noisy(posterior, queries, request)
            yield request, self.forward(latents, request, rows, wanted, queries, contents)

    def posterior(self, images: Sequence[Image]) -> Posterior:
        """The posterior of images of the network's size, from the cache when all of them are there."""
        kept = self.cache.load(images) if self.cache else None
        found = self.encode(images) if kept is None else Posterior(*(sent(one, self.device) for one in kept))
        if self.cache and kept is None:
            self.cache.keep(images, *found)
        if self.settings.latents == "float32":
            return found
        # Rounded and laid out alike whether or not they come from the cache: what is stored already changes no pixel.
        return Posterior(*(one.half().float().contiguous() for one in found))

    @torch.no_grad()
    def encode(self, images: Sequence[Image]) -> Posterior:
        """Images (height, width, 3), uint8, all of the network's size -> the posterior of their scaled latents."""
        pixels: Tensor = sent(torch.from_numpy(np.stack(images)), self.device).permute(0, 3, 1, 2)
        with computing(self.settings.card):
            found = self.vae.encode(pixels.to(self.dtype) / 127.5 - 1.0).latent_dist
        scale, shift = self.vae.config.scaling_factor, getattr(self.vae.config, "shift_factor", None) or 0.0
        return Posterior((found.mean.float() - shift) * scale, found.std.float() * scale)

    def noisy(self, posterior: Posterior, queries: Sequence[Query], request: DiffusionPass) -> Tensor:
        """Latents with the noise of a pass: sqrt(abar_t) z + sqrt(1 - abar_t) e."""
        self.configuration.check_timestep(request.timestep)
        latents = posterior.mean
        if request.latent == "sample":
            latents = latents + posterior.deviation * self._lots("latent", queries, request, latents)
        if request.add_noise:
            kept = float(self.scheduler.alphas_cumprod[request.timestep])
            noise = self._lots("noise", queries, request, latents)
            latents = kept**0.5 * latents + (1.0 - kept) ** 0.5 * noise
        return latents.to(self.dtype)

    def rows(self, place: int, query: Query, request: DiffusionPass) -> list[UNetRow]:
        """The UNet rows of one image: one a prompt."""
        return [UNetRow(place, number, prompt) for number, prompt in enumerate(self.text.prompts(query, request))]

    def wanted(self, parts: Parts) -> Wanted:
        """The layers that the parts of a pass name. ModelError for a part or layer that does not exist."""
        found: dict[str, set[int]] = {wishes.CROSS: set(), wishes.SELF: set(), wishes.SELF_FIRST: set()}
        for part in parts - {wishes.HEADS}:
            kind = next((name for name in found if part.startswith(name)), None)
            if kind is None:
                raise ModelError(f"A diffusion pass has no part {part!r}; its parts are {', '.join(found)}, and heads.")
            found[kind] |= set(wishes.select(part.removeprefix(kind), self.layers))
        cross, own, first = (frozenset(chosen) for chosen in found.values())
        return Wanted(cross, own, first - own, wishes.HEADS in parts)

    @torch.no_grad()
    def forward(
        self,
        latents: Tensor,
        request: DiffusionPass,
        rows: Sequence[Sequence[UNetRow]],
        wanted: Wanted,
        queries: Sequence[Query],
        contents: Sequence[tuple[int, int]],
    ) -> DiffusionBatch:
        """All rows, by image, through the UNet, a fixed number a call (a call that is not full has copies)."""
        places = [self.text.places(tuple([row.prompt for row in own])) for own in rows]
        calls = calls_of(rows, self._sizes(rows, queries, request)) if wanted.projections else []
        kept = Kept(places, calls, wanted)
        for call in calls:
            states = torch.cat([self.text.states(row.prompt.text) for row in call.rows])
            kept.begin(call)
            with computing(self.settings.card), reading(self.unet, wanted, kept.take):
                self.unet(_of_rows(latents, call.rows), self.told(request.timestep), encoder_hidden_states=states)
        return kept.batch(self.layers, self.latent, contents, [query.image for query in queries])

    def _sizes(self, rows: Sequence[Sequence[UNetRow]], queries: Sequence[Query], request: DiffusionPass) -> list[int]:
        """How many rows the call of every image has. Wrong names may take another number of prompts than the right ones
        do, image by image: calls are as large as for those. A filler, which nobody reads, goes with the others."""
        if self.settings.rows:
            return [self.settings.rows] * len(rows)
        counts = [len(own) for own in rows]
        if request.whose_names == "others":
            right = replace(request, whose_names="own")
            counts = [len(self.text.prompts(query, right)) for query in queries]
        found = [
            rows_of_a_call(len(rows), count, query.vocabulary.everywhere, self.device.type)
            for count, query in zip(counts, queries, strict=True)
        ]
        asked = [size for size, query in zip(found, queries, strict=True) if query.image_id] or found
        return [size if query.image_id else asked[0] for size, query in zip(found, queries, strict=True)]

    def told(self, timestep: int) -> Tensor:
        """A timestep as the UNet is told it, sent to the device once."""
        if timestep not in self._timesteps:
            self._timesteps[timestep] = torch.tensor([timestep], dtype=torch.int64, device=self.device)
        return self._timesteps[timestep]

    def _lots(self, purpose: str, queries: Sequence[Query], request: DiffusionPass, like: Tensor) -> Tensor:
        """Standard normal numbers for a batch of latents, each image's from its own seed."""
        shape = tuple(like.shape[1:])
        drawn = [normal(shape, purpose, request.seed, query.image_id, request.draw) for query in queries]
        found: Tensor = sent(torch.stack(drawn), like.device)
        return found


def normal(shape: tuple[int, ...], purpose: str, seed: int, image_id: str, draw: int) -> Tensor:
    """Standard normal float32 numbers that depend on these values alone: not on order, company or device."""
    digest = blake2b(f"{purpose}\0{seed}\0{image_id}\0{draw}".encode(), digest_size=8).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _of_rows(latents: Tensor, rows: Sequence[UNetRow]) -> Tensor:
    """The latents of the images of rows, chosen without sending their numbers to the device."""
    images = [row.image for row in rows]
    whole = images == list(range(len(latents)))
    return latents if whole else torch.cat([latents[image : image + 1] for image in images])  # laid out as they are
