"""Features of CLIP, DINO and SAM flow in; Trident's scores flow out: windows spliced, then seen through SAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import MethodError, Parts, Pass, ProtocolSettings, Vocabulary
from methods.clip.view import View, resolved_windows
from methods.proxyclip import ProxyCLIP
from methods.sam import Sam
from methods.sam.passes import ATTENTION, SAM, SamPass

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures
    from methods.clip.pixels import Tiling
    from methods.sam.network import SamFeatures, SamPiece
    from methods.vision.network import VitFeatures

MOST = 0.9  # of a cosine: no threshold is above it
NO_NEGATIVE = 0.6  # the threshold in place of a negative one, where these are not taken


@dataclass(frozen=True)
class Trident(ProxyCLIP):
    """Trident (Shi et al., ICCV 2025, arXiv 2411.09219): ProxyCLIP's windows spliced, then gathered by SAM's attention.

    u = W_o(A v) of every window as ProxyCLIP has it, of a DINO with patches of 16 pixels, the mean of likenesses taken
    over all windows of the image; windows are spliced on the grid of patches, the mean where they overlap, and brought
    bilinearly to SAM's grid. P = attention of SAM's last block, C = cosines of its values, head by head; what of P lies
    where C is not above cos_fac times its mean over heads and patches (at most 0.9) is dropped, the mean over heads has
    rows to sum 1, and gathers u before LN_post and projection.
    sam, sam_revision: a SamModel of transformers, by folder or hub id; it sees the image that the method is given, with
    the long side at 1024. refine_neg: a threshold below 0 is taken as it is, else it is 0.6. halves: SAM sees the left
    and the right half one by one (Cityscapes). Defaults are VOC21's; docs/methods/clip.md has those of other data sets.
    The image's sides are made whole patches, and it cuts windows itself: a protocol that cuts them is refused.
    Left out: the prompts to SAM's decoder by which the authors refine label maps (`--sam_refine`, in their numbers).
    """

    published_view: ClassVar[View] = (448, 336, 224)
    multiple: ClassVar[int] = 16

    dino: str = "facebook/dino-vitb16"
    sam: str = SAM
    sam_revision: str | None = None
    cos_fac: float = 1.2
    refine_neg: bool = True
    halves: bool = False

    @cached_property
    def sam_pass(self) -> SamPass:
        """The pass of SAM, over the image as the method is given it."""
        own = self.beside(Sam(self.sam, self.sam_revision, self.dtype, card=self.card_beside))
        return SamPass(own, self.halves)

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """The settings that stand at `auto`; windows stay the method's own. MethodError where the protocol cuts."""
        return resolved_windows(self, self.published_view, protocol)

    def passes(self) -> Mapping[Pass, Parts]:
        """CLIP's pass, DINO's and SAM's."""
        return {**super().passes(), self.sam_pass: ATTENTION}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor:
        """Scores (planes, rows, columns) of one image, on SAM's grid."""
        own: ClipFeatures = features[self.clip_pass]
        found = self.embeddings(own, features[self.dino_pass], features[self.sam_pass])
        return own.scores(found, vocabulary, self.plane_a_word)[0]

    def embeddings(
        self, features: ClipFeatures, proxy: VitFeatures | None = None, sam: SamFeatures | None = None
    ) -> Tensor:
        """(1, rows, columns, width) on SAM's grid; ProxyCLIP's, window by window, where a second network is missing."""
        if proxy is None or sam is None:
            return super().embeddings(features, proxy)
        import torch
        from torch.nn.functional import interpolate

        joint = spliced(self.mixed(features, proxy, together=True), proxy.tiling)
        rows = sam.pieces[0].grid[0]
        columns = [piece.grid[1] for piece in sam.pieces]
        planes = interpolate(joint.permute(2, 0, 1)[None], (rows, sum(columns)), mode="bilinear", align_corners=False)
        parts = [
            self.gathered(piece, part[0].flatten(1).T).reshape(*piece.grid, -1)
            for piece, part in zip(sam.pieces, torch.split(planes, columns, dim=3), strict=True)
        ]
        whole = torch.cat(parts, dim=1)
        return features.projected(whole.flatten(0, 1)[None], (rows, sum(columns)))

    def gathered(self, piece: SamPiece, tokens: Tensor) -> Tensor:
        """Tokens (patches, width) gathered by what is kept of SAM's attention, one head at a time."""
        from torch.nn.functional import normalize

        unit = normalize(piece.values, dim=-1)
        limit = self.cos_fac * (unit @ unit.mean(dim=1)[..., None]).mean(dim=0)
        if not self.refine_neg:
            limit = limit.where(limit >= 0, NO_NEGATIVE)
        limit = limit.clamp(max=MOST)
        total, weight = tokens.new_zeros(tokens.shape), tokens.new_zeros(len(tokens), 1)
        for own, attention in zip(unit, piece.attention(), strict=True):
            kept = attention.to(tokens.dtype) * (own @ own.T > limit)
            total, weight = total + kept @ tokens, weight + kept.sum(dim=-1, keepdim=True)
        return (total / weight).where(weight > 0, tokens)


def spliced(tokens: Tensor, tiling: Tiling) -> Tensor:
    """Tokens of windows (windows, patches, width) on the grid of the image (rows, columns, width): the mean of the
    windows that cover a patch. MethodError for windows that do not lie on patches."""
    if any(side % tiling.patch for side in (*tiling.size, *(edge for corner in tiling.corners for edge in corner))):
        raise MethodError(
            f"windows start at {tiling.corners[-1]} of {tiling.size} pixels, which are no whole patches of "
            f"{tiling.patch}; choose a stride, or an image of sides, that are"
        )
    rows, columns = (side // tiling.patch for side in tiling.size)
    total, count = tokens.new_zeros(rows, columns, tokens.shape[-1]), tokens.new_zeros(rows, columns, 1)
    for window, corner in zip(tokens, tiling.corners, strict=True):
        top, left = (edge // tiling.patch for edge in corner)
        inside = slice(top, top + tiling.grid[0]), slice(left, left + tiling.grid[1])
        total[inside] += window.reshape(*tiling.grid, -1)
        count[inside] += 1
    return total / count
