"""Features of a CLIP pass flow in; ClearCLIP's scores flow out: query-query attention alone, nothing added to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.clip import ClipReader
from methods.clip.view import View

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected


@dataclass(frozen=True)
class ClearCLIP(ClipReader):
    """ClearCLIP (Lan et al., ECCV 2024, arXiv 2407.12442): the last block without residual and feed-forward.

    A = softmax(q qᵀ / sqrt d); u = W_o(A v) alone. Defaults: windows of 448 with stride 224 as published, on a short
    side of 448. Left out: the authors' other attentions (q-k, k-k, v-v, identity) and their probability thresholds.
    """

    published_view: ClassVar[View] = (448, 448, 224)

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the query-query attention."""
        return features.embeddings(query_query, residual=False, feedforward=False)


def query_query(block: Projected) -> Tensor:
    """Tokens mix with those that ask alike."""
    from methods.clip.features import attend_by_head

    return attend_by_head(block.queries, block.queries, block.values)
