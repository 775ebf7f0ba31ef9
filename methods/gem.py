"""Features of a CLIP pass flow in; GEM's scores flow out: self-self attentions on a path beside the last blocks."""

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
class GEM(ClipReader):
    """GEM (Bousselham, Petersen, Ferrari, Kuehne, CVPR 2024, arXiv 2312.00878): grounding everything.

    Over the last `depth` - 1 blocks, as the authors' code counts them, u <- u + W_o(mean of three self-self
    attentions), from u = x of the first of them, no feed-forward; every block reads the tower's own x. One self-self
    attention, for s in (q, k, v) of a head: `iterations` times s <- softmax(ŝ ŝᵀ t) ŝ with ŝ = s / |s|; then
    softmax(ŝ ŝᵀ t) v. t = (mean length of the tokens LN1(x)) / sqrt d, or `inverse_temperature`. Defaults as in the
    authors' code (depth 7, so 6 blocks; 1 iteration); input: short side 448, whole. positions: the authors' table is
    resized with antialiasing.
    """

    published_positions: ClassVar[str] = "antialiased"
    published_view: ClassVar[View] = (448, None, None)

    depth: int = 7
    iterations: int = 1
    inverse_temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 2 or self.iterations < 0:
            raise ValueError(
                f"depth is {self.depth} and iterations is {self.iterations}; give a depth of 2 or more (the last "
                "depth - 1 blocks are replaced), and 0 iterations or more."
            )

    @property
    def blocks(self) -> int:
        """As many as are replaced."""
        return self.depth - 1

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) at the end of the parallel path."""
        mix = partial(self_self, iterations=self.iterations, inverse_temperature=self.inverse_temperature)
        return features.embeddings(mix, feedforward=False, blocks=self.blocks)


def self_self(block: Projected, iterations: int, inverse_temperature: float | None) -> Tensor:
    """Mean over q, k and v of their self-self attentions, applied to the values."""
    from torch.nn.functional import normalize

    from methods.clip.features import attend_by_head

    scale = block.keys.shape[-1] ** -0.5
    factor = block.norm * scale if inverse_temperature is None else inverse_temperature
    total = block.values.new_zeros(block.values.shape)
    for tokens in (block.values, block.keys, block.queries):
        for _ in range(iterations):
            unit = normalize(tokens, dim=-1)
            tokens = attend_by_head(unit * factor, unit, unit, scale=1.0)
        unit = normalize(tokens, dim=-1)
        total = total + attend_by_head(unit * factor, unit, block.values, scale=1.0)
    return total / 3
