"""What is asked of a latent diffusion model flows in as frozen values; its attention on images flows out as features.

The network itself (methods.diffusion.network) is imported on the first run: this file needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import ModelError, Parts, Pass, Query, Timing
from methods import checkpoints, measured
from methods.cards import remarks_here, remarks_on
from methods.diffusion.configuration import Configuration
from methods.diffusion.passes import STABLE_DIFFUSION, DiffusionPass, DiffusionSettings, check_choices

if TYPE_CHECKING:
    from methods.diffusion.features import DiffusionFeatures
    from methods.diffusion.network import Network

__all__ = ["STABLE_DIFFUSION", "Diffusion", "DiffusionPass", "DiffusionSettings", "check_choices"]

SHAPES_OF_1, MEASURED = "Stable Diffusion 1 at 512 x 512", (512, 512)


@dataclass(frozen=True)
class Diffusion(DiffusionSettings):
    """A UNet with its VAE, text encoder and tokenizer; fulfils harness.contracts.Backbone.

    Its settings are those of DiffusionSettings.

    Parts of a pass (see layers): `cross:SPEC` class maps of layers, `self:SPEC` self-attention of layers from all
    prompts of the image, `self-first:SPEC` from its first prompt only, `heads` keeps the heads of class maps apart.
    """

    places: ClassVar[tuple[str, ...]] = ("latent_cache",)
    any_company: ClassVar[bool] = True  # see harness.work.rounds

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        return checkpoints.model_to_fetch(self.model, "diffusion", self.revision)

    @cached_property
    def configuration(self) -> Configuration | None:
        """What the model's configurations say, if it is on this machine. ModelError when it cannot be read here."""
        folder = checkpoints.here(self.model, "diffusion", self.revision)
        return None if folder is None else Configuration.of_folder(folder)

    def check_passes(self, requests: Mapping[Pass, Parts]) -> None:
        """ModelError for a timestep, a size or a layer that the model does not have, if it is on this machine."""
        if self.configuration is None:
            return
        self.configuration.pixels(self.size)
        for request, parts in requests.items():
            if isinstance(request, DiffusionPass):
                self.configuration.check_timestep(request.timestep)
                self.configuration.check_parts(parts, self.size)

    @property
    def timings(self) -> Sequence[Timing]:
        """What networks of these shapes took, by the pixels that they are shown; none of a model that was never
        measured."""
        if self.configuration is None:
            height, width = (self.size, self.size) if isinstance(self.size, int) else self.size or MEASURED
            kind = SHAPES_OF_1 if self.model == STABLE_DIFFUSION else None
        else:
            height, width = self.configuration.pixels(self.size)
            kind = "Shapes" if self.model == "shapes" else SHAPES_OF_1 if self.configuration.of_version_1 else None
        full = self.configuration.pixels(None) if kind == "Shapes" and self.configuration else MEASURED
        return measured.timings(kind, self.dtype, height * width / (full[0] * full[1])) if kind else ()

    def remarks_here(self) -> Sequence[str]:
        """What is to be said where this machine, which plans, computes too."""
        return remarks_here(self.card)

    def open_models(self) -> Sequence[str]:
        """Open the network; what is to be said of the machine that computes it."""
        _ = self.network
        return remarks_on(self.card)

    @cached_property
    def network(self) -> Network:
        """The opened network, on the GPU when there is one. ModelError when it cannot be opened."""
        from methods.diffusion.network import Network

        return Network.open(self)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[DiffusionFeatures]]]:
        """Every requested DiffusionPass with one DiffusionFeatures per query; images are encoded once for all."""
        for request in requests:
            if not isinstance(request, DiffusionPass):
                raise ModelError(f"A diffusion backbone serves a DiffusionPass, not a {type(request).__name__}.")
        wanted: Mapping[Any, Parts] = requests
        yield from self.network.serve(queries, wanted)
