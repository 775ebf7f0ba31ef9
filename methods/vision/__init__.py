"""Settings flow in; the backbone that serves the passes of a vision transformer flows out, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Parts, Pass, Query
from methods.cards import NO_LAYOUT, NOT_COMPILED, computing
from methods.one_network import OneNetwork
from methods.vision.passes import DINO, VitPass

if TYPE_CHECKING:
    from methods.vision.network import VitFeatures, VitNetwork


@dataclass(frozen=True)
class Vit(OneNetwork["VitNetwork"]):
    """Backbone: a ViTModel of transformers (DINO, the first). Colours are normalised as its folder says, else with
    ImageNet's numbers; each image goes alone. card: holds for the network, not for what readers do with it."""

    kind: ClassVar[str] = "vit"
    not_of_cards: ClassVar[Mapping[str, str]] = {"channels_last": NO_LAYOUT, "compile": NOT_COMPILED}

    model: str = DINO

    def opened(self) -> VitNetwork:
        """Open it."""
        from methods.vision.network import open_vit

        return open_vit(self.model, self.revision, self.dtype)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[VitFeatures]]]:
        """Every pass with one VitFeatures a query."""
        for asked, parts in requests.items():
            assert isinstance(asked, VitPass)
            with computing(self.card):
                found = [self.network.features(query.image, asked, parts) for query in queries]
            yield asked, found
