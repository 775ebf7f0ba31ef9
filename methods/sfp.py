"""Features of a CLIP pass flow in; SFP's scores flow out: SC-CLIP's, other tokens mended and otherwise mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.scclip import SCCLIP

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import Attention, ClipFeatures, Projected

STARE = 1.5  # the authors' 0.3 * 5
MOST = 10  # tokens that are mended


@dataclass(frozen=True)
class SFP(SCCLIP):
    """SFP (ICCV 2025): self-feedback purification; SC-CLIP with other outliers and another mixture.

    Outliers: the up to 10 patches that the class token attends to 1.5 times as much as they do to themselves, in the
    block before the last, mean of heads. Cosines below 0.4 are 0 in S before it is sharpened.
    A = (sharp S + softmax(k kᵀ / sqrt d) + softmax(q qᵀ / sqrt d)) / 3 for x, and sharp S alone for the sum of inputs.
    Everything else, settings too, as in methods.scclip.
    """

    def outliers(self, features: ClipFeatures) -> Tensor:
        """(windows, patches), true where the class token looks too much."""
        import torch

        block = features.project(1)
        logits = block.queries @ block.keys.transpose(-1, -2) * block.keys.shape[-1] ** -0.5
        shares = logits.float().softmax(dim=-1).mean(dim=1)
        stared, own = STARE * shares[:, 0, 1:], shares.diagonal(dim1=1, dim2=2)[:, 1:]
        excess = torch.where(stared > own, stared, stared.new_full((), -1.0))
        found = excess.topk(min(MOST, excess.shape[1]), dim=1)
        return torch.zeros_like(excess, dtype=torch.bool).scatter(1, found.indices, found.values > 0)

    def alike(self, cosines: Tensor) -> Tensor:
        """S, cut."""
        from methods.clip.likeness import FLOOR

        return cosines.where(cosines >= FLOOR, cosines.new_zeros(()))

    def mixes(self, sharp: Tensor) -> tuple[Attention, Attention]:
        """The attention of each branch."""

        def mix(block: Projected) -> Tensor:
            from methods.clip.features import attend_by_head

            own = sharp[:, None] @ block.values
            for one in (block.keys, block.queries):
                own = own + attend_by_head(one, one, block.values)
            return own / 3

        return mix, lambda block: sharp[:, None] @ block.values
