"""A model's folder flows in; what its configurations say it is, and what it can never do, flows out, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import ModelError, Parts
from methods.diffusion.layers import CROSS, HEADS, SELF, SELF_FIRST, Layer, select

KINDS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
CONDITIONS = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim", "time_cond_proj_dim")
BLOCKS = {"down_block_types": "DownBlock2D", "up_block_types": "UpBlock2D"}


@dataclass(frozen=True)
class Configuration:
    """The configurations of a checkpoint's parts, as their files hold them."""

    folder: Path
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    scheduler: Mapping[str, Any]

    @classmethod
    def of_folder(cls, folder: Path) -> Configuration:
        """Read, and refused if it is a model that cannot be read here. ModelError, one sentence with part and cure."""
        parts = (("unet", "config"), ("vae", "config"), ("text_encoder", "config"), ("scheduler", "scheduler_config"))
        found = cls(folder, *(_read(folder / part / f"{name}.json") for part, name in parts))
        found.check()
        return found

    @property
    def factor(self) -> int:
        """How often the VAE halves a side, as a divisor."""
        halvings = len(self.vae.get("block_out_channels", ())) - 1
        return 1 << max(0, halvings)

    @property
    def of_version_1(self) -> bool:
        """Whether the unet has the widths of Stable Diffusion 1."""
        return tuple(self.unet.get("block_out_channels", ())) == (320, 640, 1280, 1280) and (
            self.unet.get("cross_attention_dim") == 768
        )

    @property
    def steps(self) -> int:
        """How many timesteps the model knows."""
        return int(self.scheduler.get("num_train_timesteps", 1000))

    def check(self) -> None:
        """ModelError for a model of another kind than Stable Diffusion 1 and 2, by what its parts say of themselves."""
        if (self.folder / "text_encoder_2").is_dir():
            self._refuse("model", "has two text encoders (SDXL, SD 3 or Flux)")
        for part, held in (("unet", self.unet), ("vae", self.vae)):
            if held.get("_class_name", KINDS[part]) != KINDS[part]:
                self._refuse(part, f"is a {held['_class_name']}, not a {KINDS[part]}")
        for name in CONDITIONS:
            if self.unet.get(name) is not None:
                self._refuse("unet", f"takes more conditions than a prompt and a timestep ({name})")
        channels, latent = self.unet.get("in_channels", 4), self.vae.get("latent_channels", 4)
        if channels != latent:
            kind = ", as inpainting models do" if channels == 2 * latent + 1 else ""
            self._refuse("unet", f"takes {channels} channels and its vae gives {latent}{kind}")
        if self.unet.get("cross_attention_dim") != self.text.get("hidden_size", self.unet.get("cross_attention_dim")):
            self._refuse(
                "unet",
                f"reads text states of width {self.unet.get('cross_attention_dim')}, and its text encoder gives "
                f"{self.text['hidden_size']}",
            )

    def pixels(self, size: int | tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) of what the VAE sees. ModelError for sides that are no multiple of the VAE's factor."""
        if size is None:
            native = self.unet.get("sample_size")
            if native is None:
                raise ModelError(f"The unet in {self.folder} does not say its size: give `size` in pixels.")
            height, width = (native, native) if isinstance(native, int) else native
            return height * self.factor, width * self.factor
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1 or height % self.factor or width % self.factor:
            raise ModelError(f"The size is {size}; height and width must be multiples of {self.factor} pixels here.")
        return height, width

    def check_timestep(self, timestep: int) -> None:
        """ModelError for a timestep that the model does not know."""
        if not 0 <= timestep < self.steps:
            raise ModelError(f"The timestep is {timestep}; this model knows 0 to {self.steps - 1}.")

    def check_parts(self, parts: Parts, size: int | tuple[int, int] | None) -> None:
        """ModelError for layers that the model does not have, where its configuration tells which it has."""
        layers = self.layers(self.pixels(size))
        if layers is not None:
            for part in sorted(parts - {HEADS}):
                for kind in (CROSS, SELF, SELF_FIRST):
                    if part.startswith(kind):
                        select(part.removeprefix(kind), layers)

    def layers(self, pixels: tuple[int, int]) -> tuple[Layer, ...] | None:
        """The attention layers as `methods.diffusion.attention.layers_of` finds them in the network; None where the
        network has blocks of other kinds than Stable Diffusion's."""
        down, up = (tuple(self.unet.get(name, ())) for name in BLOCKS)
        middle = self.unet.get("mid_block_type", "UNetMidBlock2DCrossAttn")
        each = self.unet.get("layers_per_block", 2)
        pairs = [(kind, plain) for kinds, plain in zip((down, up), BLOCKS.values(), strict=True) for kind in kinds]
        known = all(kind in (plain, f"CrossAttn{plain}") for kind, plain in pairs)
        if not (known and down and isinstance(each, int) and self._depth == 1 and middle == "UNetMidBlock2DCrossAttn"):
            return None
        last = len(down) - 1
        blocks = [(f"down_blocks.{place}", 2**place, each) for place, kind in enumerate(down) if "Cross" in kind]
        blocks += [("mid_block", 2**last, 1)]
        crossed = [place for place, kind in enumerate(up) if "Cross" in kind]
        blocks += [(f"up_blocks.{place}", 2 ** (last - place), each + 1) for place in crossed]
        found = [
            (f"{path}.attentions.{number}.transformer_blocks.0", factor)
            for path, factor, count in blocks for number in range(count)
        ]  # fmt: skip
        sides = [side // self.factor for side in pixels]
        return tuple(
            Layer(index, path, factor, (-(-sides[0] // factor), -(-sides[1] // factor)))
            for index, (path, factor) in enumerate(found)
        )

    @property
    def _depth(self) -> Any:
        return self.unet.get("transformer_layers_per_block", 1)

    def _refuse(self, part: str, why: str) -> None:
        raise ModelError(
            f"The {part} in {self.folder} {why}; give a Stable Diffusion of version 1 or 2 (or a model of its form)."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(f"The file {path} cannot be read ({problem}): the model's folder is not whole.") from problem
    if not isinstance(held, dict):
        raise ModelError(f"The file {path} is no configuration: the model's folder is not whole.")
    return held
