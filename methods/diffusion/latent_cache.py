"""Images flow in; latents that an earlier sweep left on disk flow out, or go there: 32 KiB an image at 512 x 512.

A file's name is a hash of all that decides its content (weights, size, resizing, precision, pixels), so that sweeps
share a folder without knowing of each other, and nothing in it is ever out of date.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.contracts import Image, ModelError


class LatentCache:
    """A folder of latents in half precision. maker: stands for the network and how it is shown an image."""

    def __init__(self, folder: str, maker: str) -> None:
        self._folder, self._maker = Path(folder), maker
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"latent_cache {folder} cannot be made ({error.strerror}); name another folder") from None

    def load(self, images: Sequence[Image]) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation, each (images, channels, height, width) in float32; None when one image is not there."""
        found = []
        for image in images:
            try:
                found.append(load_file(self._path(image)))
            except (FileNotFoundError, SafetensorError):  # a damaged file is made anew
                return None
        mean, deviation = (torch.stack([one[name] for one in found]).float() for name in ("mean", "deviation"))
        return mean, deviation

    def keep(self, images: Sequence[Image], mean: Tensor, deviation: Tensor) -> None:
        """Keep the latents of images, one file each, written aside and renamed."""
        parts = {"mean": mean.half().cpu(), "deviation": deviation.half().cpu()}  # a card is waited for once a batch
        for place, image in enumerate(images):
            kept = {name: one[place].clone(memory_format=torch.contiguous_format) for name, one in parts.items()}
            handle, name = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
            os.close(handle)
            save_file(kept, name)
            os.replace(name, self._path(image))

    def _path(self, image: Image) -> Path:
        content = blake2b(f"{self._maker}\0{image.shape}\0".encode() + image.tobytes(), digest_size=16)
        return self._folder / f"{content.hexdigest()}.safetensors"
