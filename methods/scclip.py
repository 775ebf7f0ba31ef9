"""Features of a CLIP pass flow in; SC-CLIP's scores flow out: odd tokens mended, like tokens gathered, CLIP alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.clip import ClipReader
from methods.clip.view import View

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import Attention, ClipFeatures, Projected

CLASS_SHARE = 0.3  # of the class token, added to every patch
NEIGHBOURS = 30  # of a token
ODD = 0.95  # the quantile of oddness above which a token is an outlier


@dataclass(frozen=True)
class SCCLIP(ClipReader):
    """SC-CLIP (Bai et al., 2024, arXiv 2411.15869): CLIP calibrated by itself, without a second model.

    Patches alone, x the input of the last block. Outliers of x by their local density are replaced by their neighbours'
    mean. S = cosines of an earlier input, mended at the same places; x <- its tokens gathered by S.
    A = (sharp S + softmax(k kᵀ / sqrt d)) / 2; z = W_o(A v) + 0.3 class token, gathered by the cosines T of an early
    input. The same is done with the sum of the inputs between, and the two are added before LN_post and projection.
    sharp S: see methods.clip.likeness, beta 1 and gamma 3.
    middle, early: the inputs of S and T, counted as parts of the pass are (1 enters the last block): in a tower of
    twelve blocks 3 and 8 are what leaves the blocks 8 and 3, counted from 0, as the authors' code has it. The sum runs
    from 2 to early. Defaults as published: short side 336 (560 for Cityscapes), windows of 224 with stride 112.
    Left out: a fault of the authors' code, which takes rows for columns where a window is not square.
    """

    published_view: ClassVar[View] = (336, 224, 112)

    middle: int = 3
    early: int = 8
    beta: float = 1.0
    gamma: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.middle < 1 or self.early < 2:
            raise ValueError(f"middle is {self.middle} and early is {self.early}; give 1 or more, and 2 or more.")

    @property
    def blocks(self) -> int:
        """As far back as is looked."""
        return max(self.middle, self.early)

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of both branches together."""
        from methods.clip.likeness import gathered, likeness, repaired, sharpened

        inputs = [tokens[:, 1:] for tokens in features.inputs]
        odd = self.outliers(features)
        alike = self.alike(likeness(repaired(inputs[self.middle - 1], odd, features.grid)))
        sharp, early = sharpened(alike, self.beta, self.gamma), likeness(inputs[self.early - 1])
        last = gathered(repaired(inputs[0], odd, features.grid), alike)
        several = sum(inputs[2 : self.early], inputs[1])
        classes = features.inputs[0][:, :1], sum(features.inputs[2 : self.early], features.inputs[1])[:, :1]
        one, other = (
            gathered(features.attended(tokens, mix) + CLASS_SHARE * token, early)
            for tokens, token, mix in zip((last, several), classes, self.mixes(sharp), strict=True)
        )
        return features.projected(one + other)

    def outliers(self, features: ClipFeatures) -> Tensor:
        """(windows, patches), true where a token of the last block's input lies apart from all others."""
        oddness = local_outlier_factor(features.inputs[0][:, 1:])
        return oddness > oddness.quantile(ODD, dim=1, keepdim=True)

    def alike(self, cosines: Tensor) -> Tensor:
        """S, of the cosines."""
        return cosines

    def mixes(self, sharp: Tensor) -> tuple[Attention, Attention]:
        """The attention of each branch."""

        def mix(block: Projected) -> Tensor:
            from methods.clip.features import attend_by_head

            return (sharp[:, None] @ block.values + attend_by_head(block.keys, block.keys, block.values)) / 2

        return mix, mix


def local_outlier_factor(tokens: Tensor) -> Tensor:
    """(windows, places): the mean density around a token's neighbours by its own, for tokens (windows, places, width).

    Breunig et al., SIGMOD 2000, with squared distances. The authors' code takes the reach of the token's own
    neighbourhood in place of its neighbours', and so nothing but that reach is left of a density.
    """
    import torch

    tokens = tokens.float()
    lengths = tokens.square().sum(dim=-1)
    squares = lengths[:, :, None] + lengths[:, None] - 2 * tokens @ tokens.transpose(1, 2)
    near = squares.clamp(min=0).topk(min(NEIGHBOURS + 1, tokens.shape[1]), dim=-1, largest=False)
    reach = near.values[..., -1]  # which no neighbour is beyond
    density = 1 / reach.clamp(min=torch.finfo(tokens.dtype).tiny)
    neighbours = near.indices[..., 1:] if tokens.shape[1] > 1 else near.indices  # without the token itself
    around = density[:, None].expand_as(squares).gather(2, neighbours)
    return around.mean(dim=-1) / density
