"""Features of a CLIP pass and words flow in; ResCLIP's scores flow out: the second answer, built on the first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from harness.contracts import Vocabulary
from methods.naclip import NACLIP, gaussian

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected

LOGIT_SCALE = 40.0
REFINED = (10, (8, 16))  # PAMR's iterations and dilations
REACH = 15  # patches to each side that the smoothing along a row of patches looks at


@dataclass(frozen=True)
class ResCLIP(NACLIP):
    """ResCLIP (Yang et al., CVPR 2025, arXiv 2411.15851) on NACLIP: residual attention for dense prediction.

    R = mean of the ordinary attention of middle blocks, head by head. K = k kᵀ / sqrt d, G as in methods.naclip.
    First answer: A = t_r ((1 - l_r) softmax(K + G) + l_r R), u = W_o(A v); scores, sharpened by PAMR at the window's
    pixels; a patch has the word that most of its pixels have, or the first one where the largest share (softmax of 40
    times the scores) is below `temp_thd`. S = 1 between patches of one word, smoothed (deviation 5) along the patches
    in reading order, rows to sum 1, largest entry to 1. Second: softmax(t_s ((1 - l_s) K + l_s S) + G) in its place.
    rcs, sfr: (t_r, l_r) and (t_s, l_s). temp_thd: see above; all three have a value a data set (docs/methods/clip.md).
    rcs_blocks: which blocks are the middle, counted from the last one, which is 1; (4, 7) are the blocks 5 to 8 of
    twelve counted from 0. Input and std as NACLIP's.
    Left out: the decay with distance between patches of one word, which no published setting has.
    """

    rcs: tuple[float, float] = (2.0, 0.3)
    sfr: tuple[float, float] = (2.1, 0.7)
    temp_thd: float = 0.25
    rcs_blocks: tuple[int, int] = (4, 7)

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest, farthest = self.rcs_blocks
        if not 1 <= nearest <= farthest:
            raise ValueError(f"rcs_blocks is {self.rcs_blocks}; give two numbers of 1 or more, the smaller one first.")
        for name, (_, share) in (("rcs", self.rcs), ("sfr", self.sfr)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a factor and a share between 0 and 1.")

    @property
    def blocks(self) -> int:
        """As far back as the middle goes."""
        return self.rcs_blocks[1]

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the first answer, which no word has changed."""
        return self.answer(features, self.residual(features), None)

    def window_scores(self, features: ClipFeatures, vocabulary: Vocabulary) -> Tensor:
        """Scores (windows, planes, rows, columns) of the second answer."""
        residual = self.residual(features)
        first = features.scores(self.answer(features, residual, None), vocabulary, plane_a_word=True)
        alike = same_word(self.patch_words(first, features, vocabulary), self.std)
        return features.scores(self.answer(features, residual, alike), vocabulary, plane_a_word=True)

    def residual(self, features: ClipFeatures) -> Tensor:
        """R (windows, heads, 1 + patches, 1 + patches)."""
        nearest, farthest = self.rcs_blocks
        total = attention(features.project(nearest - 1))
        for place in range(nearest, farthest):
            total = total + attention(features.project(place))
        return total / (farthest - nearest + 1)

    def answer(self, features: ClipFeatures, residual: Tensor, alike: Tensor | None) -> Tensor:
        """(windows, rows, columns, width) with R and S; without S it is the first answer."""
        mix = partial(self._mixed, residual=residual, alike=alike)
        return features.projected(features.attended(features.inputs[0], mix)[:, 1:])

    def _mixed(self, block: Projected, residual: Tensor, alike: Tensor | None) -> Tensor:
        """A v."""
        keys = block.keys @ block.keys.transpose(-1, -2) * block.keys.shape[-1] ** -0.5
        if alike is not None:
            factor, share = self.sfr
            keys = factor * ((1 - share) * keys + share * alike.to(keys.dtype)[:, None])
        factor, share = self.rcs
        own = (keys + gaussian(block, self.std)).softmax(dim=-1)
        found: Tensor = factor * ((1 - share) * own + share * residual) @ block.values
        return found

    def patch_words(self, scores: Tensor, features: ClipFeatures, vocabulary: Vocabulary) -> Tensor:
        """(windows, patches): the plane of every patch's word in scores (windows, planes, rows, columns), those of the
        background first, as the authors write their words."""
        import torch

        from methods.pamr import affinities, spread

        around = vocabulary.context or (() if vocabulary.background is None else (vocabulary.background,))
        scores = scores.roll(sum(len(vocabulary.names[position]) for position in around), dims=1)
        found = []
        for planes, pixels in zip(scores, features.patch_pixels(), strict=True):
            iterations, dilations = REFINED
            large = torch.nn.functional.interpolate(planes[None], size=pixels.shape[1:], mode="bilinear")[0]
            shares = spread(large, affinities(pixels, dilations), dilations, iterations)
            surest, word = (LOGIT_SCALE * shares).softmax(dim=0).max(dim=0)
            word = word.masked_fill(surest < self.temp_thd, 0)
            rows, columns = features.grid
            patches = word.reshape(rows, word.shape[0] // rows, columns, -1).transpose(1, 2).flatten(2)
            found.append(patches.flatten(0, 1).mode(dim=1).values)
        return torch.stack(found)


def attention(block: Projected) -> Tensor:
    """The ordinary attention of a block (windows, heads, tokens, tokens)."""
    logits = block.queries @ block.keys.transpose(-1, -2) * block.keys.shape[-1] ** -0.5
    shares: Tensor = logits.softmax(dim=-1)
    return shares


def same_word(words: Tensor, std: float) -> Tensor:
    """S (windows, 1 + patches, 1 + patches) of the patches' words, smoothed along the patches in reading order."""
    import torch
    from torch.nn.functional import conv1d, pad

    same = (words[:, :, None] == words[:, None]).float()
    steps = torch.arange(-REACH, REACH + 1, device=words.device, dtype=torch.float32)
    taps = torch.exp(-(steps**2) / (2 * std**2))
    smooth = conv1d(same.flatten(0, 1)[:, None], (taps / taps.sum())[None, None], padding=REACH).reshape(same.shape)
    smooth = pad(smooth / smooth.sum(dim=-1, keepdim=True), (1, 0, 1, 0))
    return smooth / smooth.amax(dim=(1, 2), keepdim=True)
