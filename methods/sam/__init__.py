"""Settings flow in; the backbone that serves passes of a SAM, attention and automatic regions, flows out, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.contracts import Features, Parts, Pass, Query
from methods.checkpoints import model_fingerprint, model_to_fetch
from methods.clip import DTYPES
from methods.sam.passes import SAM, RegionsPass, SamPass

if TYPE_CHECKING:
    from methods.sam.network import SamNetwork


@dataclass(frozen=True)
class Sam:
    """Backbone: a SamModel of transformers (Kirillov et al., arXiv 2304.02643), by folder or hub id; opened at first
    use, on a GPU when there is one. Colours are normalised as its folder says, else with ImageNet's numbers; each image
    goes alone, its long side brought to the model's own.

    ModelError for a model that is missing, of another kind or incomplete.
    """

    model: str = SAM
    revision: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        return model_to_fetch(self.model, "sam", self.revision)

    def open_models(self) -> Sequence[str]:
        """Open the network; nothing is to be said of it."""
        _ = self.network
        return ()

    @cached_property
    def network(self) -> SamNetwork:
        """The opened model."""
        from methods.sam.network import open_sam

        return open_sam(self.model, self.revision, self.dtype)

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[Features]]]:
        """Every pass with one SamFeatures, or one map of regions, a query."""
        from methods.sam.regions import found_regions

        for asked in requests:
            if isinstance(asked, RegionsPass):
                yield asked, [found_regions(self.network, query.image, asked) for query in queries]
            else:
                assert isinstance(asked, SamPass)
                yield asked, [self.network.features(query.image, asked.halves) for query in queries]

    def fingerprint(self) -> str:
        """Stands for the weights, see methods.checkpoints.model_fingerprint."""
        return model_fingerprint(self.model, "sam", self.revision)
