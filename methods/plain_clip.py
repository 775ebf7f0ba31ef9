"""Features of a CLIP pass flow in; scores of CLIP's own patch outputs flow out, the starting point of the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.clip import ClipReader

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected


@dataclass(frozen=True)
class CLIP(ClipReader):
    """CLIP unchanged (Radford et al., 2021, arXiv 2103.00020), its patch tokens projected as the class token is.

    A = softmax(q kᵀ / sqrt d) in every head, residual and feed-forward kept; nothing is left out.
    """

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the ordinary last block."""
        return features.embeddings(query_key)


def query_key(block: Projected) -> Tensor:
    """The attention CLIP was trained with."""
    from methods.clip.features import attend_by_head

    return attend_by_head(block.queries, block.keys, block.values)
