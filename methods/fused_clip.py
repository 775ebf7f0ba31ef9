"""Features of a CLIP pass flow in; the scores of CLIPer's first half flow out: all blocks under one attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Vocabulary
from methods.clip import ClipReader
from methods.clip.view import View

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected


@dataclass(frozen=True)
class FusedCLIP(ClipReader):
    """CLIPer's CLIP part (Sun et al., 2024, arXiv 2411.13836; linsun449/cliper.code), its row without diffusion.

    R = sum of the attention of all blocks but the last, head by head. For the input of every block, first to last: R's
    columns and then its rows are brought to sum 1, once more each time; M = what of (R + Rᵀ) / 2 is above its columns'
    means, rows to sum 1; e = Proj(LN_post(W_o(M v))), v the last block's of LN1(input), the last input's own. Each
    gives s = softmax of `logit_scale` times its cosines with the words, with `background` words and with the mean of
    the words beside them. Of the last s, what is below `attention_thr` of its class's largest is 0.
    Score = Mᵀ s of the last, M its mean over heads, plus the mean of all s.
    depth: how many blocks the tower has; a smaller number looks at its last ones alone. background: words that take
    their part of every share and have no plane. logit_scale and attention_thr have a value a data set
    (docs/methods/clip.md). Defaults: VOC21's, the whole image at a short side of 336.
    Left out: their rule for background, half the score before and half after its map is stretched to 0..1.
    """

    published_positions: ClassVar[str] = "bilinear"
    published_view: ClassVar[View] = (336, None, None)

    depth: int = 12
    logit_scale: float = 100.0
    attention_thr: float = 0.1
    background: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 2:
            raise ValueError(f"depth is {self.depth}; give the number of the tower's blocks, 2 or more.")

    @property
    def blocks(self) -> int:
        """All of them."""
        return self.depth

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the last input, under the attention of all."""
        *_, (found, _) = self.answers(features)
        return found

    def answers(self, features: ClipFeatures) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings (windows, rows, columns, width) and M (windows, heads, tokens, tokens), block by block."""
        from methods.resclip import attention

        total = sum(
            (attention(features.project(place)) for place in range(2, self.depth)), attention(features.project(1))
        )
        for place in range(self.depth - 1, -1, -1):
            total = total / total.sum(dim=-2, keepdim=True)
            total = total / total.sum(dim=-1, keepdim=True)
            even = (total + total.transpose(-1, -2)) / 2
            above = (even - even.mean(dim=-2, keepdim=True)).relu()
            rows = above.sum(dim=-1, keepdim=True)
            mix = above / rows.where(rows > 0, rows.new_ones(()))
            tokens = features.normed(place) if place else features.inputs[0]
            yield features.projected(features.attended(tokens, partial(mixed, mix=mix))[:, 1:]), mix

    def window_scores(self, features: ClipFeatures, vocabulary: Vocabulary) -> Tensor:
        """Scores (windows, planes, rows, columns), from 0 to 2."""
        import torch

        words = [vector for vectors in features.text(vocabulary) for vector in vectors]
        around = [features.network.text.vector(word, vocabulary.templates) for word in self.background]
        if not words:
            return features.inputs[0].new_zeros(len(features.inputs[0]), 0, *features.grid)
        middle = torch.nn.functional.normalize(torch.stack(words).mean(dim=0), dim=-1)
        text = torch.stack([*words, *around, middle])
        units, mixes = zip(*self.answers(features), strict=True)
        shares = [(self.logit_scale * unit.flatten(1, 2) @ text.T).softmax(dim=-1)[..., : len(words)] for unit in units]
        last = shares[-1]
        last = last.where(last >= self.attention_thr * last.amax(dim=1, keepdim=True), last.new_zeros(()))
        spread = mixes[-1].float().mean(dim=1)[:, 1:, 1:].transpose(1, 2) @ last
        found: Tensor = spread + torch.stack([*shares[:-1], last]).mean(dim=0)
        return found.transpose(1, 2).reshape(len(found), -1, *features.grid)


def mixed(block: Projected, mix: Tensor) -> Tensor:
    """The values under one attention."""
    return mix @ block.values
