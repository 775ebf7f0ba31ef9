"""Features of a CLIP pass flow in; SCLIP's scores flow out: patches mix with those of like queries and of like keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.clip import ClipReader
from methods.clip.view import View

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected


@dataclass(frozen=True)
class SCLIP(ClipReader):
    """SCLIP (Wang, Mei, Yuille, ECCV 2024, arXiv 2312.01597): correlative self-attention in the last block.

    A = softmax(q qᵀ / sqrt d) + softmax(k kᵀ / sqrt d), rows sum to 2; residual and feed-forward kept.
    Defaults as published: short side 336 (560 for Cityscapes), windows of 224 with stride 112.
    Left out: PAMR, and the probability and area thresholds that the authors use where background is scored.
    """

    published_view: ClassVar[View] = (336, 224, 112)

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the correlative attention."""
        return features.embeddings(correlative)


def correlative(block: Projected) -> Tensor:
    """Query-query plus key-key attention."""
    from methods.clip.features import attend_by_head

    return attend_by_head(block.queries, block.queries, block.values) + attend_by_head(
        block.keys, block.keys, block.values
    )
