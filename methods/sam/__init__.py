"""Settings flow in; the backbones that serve passes of a SAM, attention and automatic regions, flow out, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Features, ModelError, Parts, Pass, Query
from methods.cards import NO_LAYOUT, NOT_COMPILED, computing
from methods.one_network import OneNetwork
from methods.sam.passes import SAM, SAM2, RegionsPass, SamPass

if TYPE_CHECKING:
    from methods.sam.network import SamNetwork
    from methods.sam.second import Sam2Network


@dataclass(frozen=True)
class Sam(OneNetwork["SamNetwork"]):
    """Backbone: a SamModel of transformers (Kirillov et al., arXiv 2304.02643). Colours are normalised as its folder
    says, else with ImageNet's numbers; each image goes alone, its long side brought to the model's own."""

    kind: ClassVar[str] = "sam"
    not_of_cards: ClassVar[Mapping[str, str]] = {
        "channels_last": NO_LAYOUT,
        "compile": NOT_COMPILED,
        "flash": "a SAM adds relative positions to its attention, which that kernel does not take",
    }

    model: str = SAM

    def opened(self) -> SamNetwork:
        """Open it."""
        from methods.sam.network import open_sam

        return open_sam(self.model, self.revision, self.dtype)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[Features]]]:
        """Every pass with one SamFeatures, or one map of regions, a query."""
        from methods.sam.regions import found_regions

        for asked in requests:
            found: list[Features]
            with computing(self.card):
                if isinstance(asked, RegionsPass):
                    found = [found_regions(self.network, query.image, asked) for query in queries]
                else:
                    assert isinstance(asked, SamPass)
                    found = [self.network.features(query.image, asked.halves) for query in queries]
            yield asked, found


@dataclass(frozen=True)
class Sam2(OneNetwork["Sam2Network"]):
    """Backbone: a Sam2Model of transformers (Ravi et al., arXiv 2408.00714), which serves regions alone. Colours are
    normalised as its folder says, else with ImageNet's numbers; each image goes alone, stretched to the model's square.
    """

    kind: ClassVar[str] = "sam2"
    not_of_cards: ClassVar[Mapping[str, str]] = {"channels_last": NO_LAYOUT, "compile": NOT_COMPILED}

    model: str = SAM2

    def opened(self) -> Sam2Network:
        """Open it."""
        from methods.sam.second import open_sam2

        return open_sam2(self.model, self.revision, self.dtype)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[Features]]]:
        """Every pass with one map of regions a query. ModelError for another pass than one of regions."""
        from methods.sam.regions import found_regions

        for asked in requests:
            if not isinstance(asked, RegionsPass):
                raise ModelError(f"A SAM 2 serves regions, and {type(asked).__name__} was asked; take a SAM.")
            with computing(self.card):
                found = [found_regions(self.network, query.image, asked) for query in queries]
            yield asked, found
