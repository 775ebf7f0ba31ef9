"""Settings flow in; the backbone that serves the passes of a vision transformer flows out, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.contracts import Parts, Pass, Query
from methods.checkpoints import model_fingerprint, model_to_fetch
from methods.clip import DTYPES
from methods.vision.passes import DINO, VitPass

if TYPE_CHECKING:
    from methods.vision.network import VitFeatures, VitNetwork


@dataclass(frozen=True)
class Vit:
    """Backbone: a ViTModel of transformers (DINO, the first), by folder or hub id; opened at first use, on a GPU when
    there is one. Colours are normalised as its folder says, else with ImageNet's numbers; each image goes alone.

    ModelError for a model that is missing, of another kind or incomplete.
    """

    model: str = DINO
    revision: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        return model_to_fetch(self.model, "vit", self.revision)

    def open_models(self) -> Sequence[str]:
        """Open the network; nothing is to be said of it."""
        _ = self.network
        return ()

    @cached_property
    def network(self) -> VitNetwork:
        """The opened model."""
        from methods.vision.network import open_vit

        return open_vit(self.model, self.revision, self.dtype)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[VitFeatures]]]:
        """Every pass with one VitFeatures a query."""
        for asked, parts in requests.items():
            assert isinstance(asked, VitPass)
            yield asked, [self.network.features(query.image, asked, parts) for query in queries]

    def fingerprint(self) -> str:
        """Stands for the weights, see methods.checkpoints.model_fingerprint."""
        return model_fingerprint(self.model, "vit", self.revision)
