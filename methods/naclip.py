"""Features of a CLIP pass flow in; NACLIP's scores flow out: like keys attend to each other, neighbours first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from methods.clip import ClipReader
from methods.clip.view import View

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected


@dataclass(frozen=True)
class NACLIP(ClipReader):
    """NACLIP (Hajimiri, Ben Ayed, Dolz, WACV 2025, arXiv 2404.08181): neighbourhood-aware key-key attention.

    A = softmax(k kᵀ / sqrt d + G), G(p, p') = exp(-|p - p'|² / (2 std²)) between patches, distance in patches, and 0
    where the class token takes part; u = W_o(A v) without residual and feed-forward.
    Defaults as published: std 5, short side 336 (560 for Cityscapes), windows of 224 with stride 112.
    Left out: PAMR (their best numbers use it) and probability thresholds.
    """

    published_view: ClassVar[View] = (336, 224, 112)

    std: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.std > 0:
            raise ValueError(f"std is {self.std}; give a width in patches above 0.")

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the neighbourhood attention."""
        return features.embeddings(partial(neighbourly, std=self.std), residual=False, feedforward=False)


def neighbourly(block: Projected, std: float) -> Tensor:
    """Key-key attention with the Gaussian added before the softmax."""
    from methods.clip.features import attend_by_head

    return attend_by_head(block.keys, block.keys, block.values, bias=gaussian(block, std))


def gaussian(block: Projected, std: float) -> Tensor:
    """G (1 + patches, 1 + patches), first row and column 0 for the class token; it factors into rows times columns."""
    import torch
    from torch.nn.functional import pad

    axes = [torch.arange(length, device=block.keys.device, dtype=torch.float32) for length in block.grid]
    rows, columns = (torch.exp(-((axis[:, None] - axis) ** 2) / (2 * std**2)) for axis in axes)
    return pad(torch.kron(rows, columns), (1, 0, 1, 0)).to(block.keys.dtype)
