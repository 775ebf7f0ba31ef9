"""Features of a CLIP pass and of a DINO pass flow in; ProxyCLIP's scores flow out: DINO says which patches mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import Parts, Pass, Recipe, Vocabulary
from methods.clip import ClipReader
from methods.clip.view import AUTO, View, view_of
from methods.one_network import OneNetwork
from methods.vision import Vit
from methods.vision.passes import DINO, TOKENS, VitPass

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures
    from methods.vision.network import VitFeatures


@dataclass(frozen=True)
class ProxyCLIP(ClipReader):
    """ProxyCLIP (Lan et al., ECCV 2024, arXiv 2408.04883): CLIP's values under the likeness of DINO's tokens.

    S = cosines of DINO's patches; A = rows of softmax(gamma (S - beta mean S)) over what is positive, one for all
    heads; v of CLIP's last block, enlarged bilinearly from CLIP's grid to DINO's; u = W_o(A v) on DINO's grid, without
    residual and feed-forward. Both networks see the same windows of the same resized image, each in its own colours.
    dino, dino_revision: a ViT of the first DINO, by folder or hub id. positions holds for both tables. card_beside: how
    a GPU computes the networks beside CLIP's, as `card` says it of that one.
    Defaults as published: short side 336, windows of 336 with stride 112 (448, 224 / 112 for Cityscapes).
    Left out: padding of what is no multiple of 56 pixels; their variants with SAM, MAE and DINOv2.
    """

    published_view: ClassVar[View] = (336, 336, 112)

    dino: str = DINO
    dino_revision: str | None = None
    beta: float = 1.2
    gamma: float = 3.0
    card_beside: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window not in (AUTO, None) and self.stride in (AUTO, None):
            raise ValueError(f"window is {self.window} and the stride is not said; two networks need one: give both.")

    @property
    def idle(self) -> tuple[str, ...]:
        """As a reader's; and the setting of cards of the other networks where it is as it was."""
        return (*super().idle, *["card_beside"] * (not self.card_beside))

    def beside(self, network: OneNetwork[Any]) -> Recipe:
        """The recipe of a network beside CLIP's, as it was written before such a network had a setting of cards."""
        settings = {"model": network.model, "revision": network.revision, "dtype": network.dtype}
        kind = type(network)
        told = {"card": network.card} if network.card else {}
        return Recipe.of(f"{kind.__module__}:{kind.__name__}", **settings, **told)

    @cached_property
    def dino_pass(self) -> VitPass:
        """The pass of DINO, which cuts the image as CLIP's does."""
        own = self.beside(Vit(self.dino, self.dino_revision, self.dtype, card=self.card_beside))
        table = "scaled" if self.positions == "authors" else self.positions
        return VitPass(own, *view_of(self, self.published_view), table, self.multiple)

    def passes(self) -> Mapping[Pass, Parts]:
        """CLIP's pass and DINO's."""
        return {**super().passes(), self.dino_pass: TOKENS}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor:
        """Scores (planes, rows, columns) of one image, on DINO's grid or on the pixels of merged windows."""
        from methods.clip.network import merge_windows

        own: ClipFeatures = features[self.clip_pass]
        mixed = self.embeddings(own, features[self.dino_pass])
        return merge_windows(own.scores(mixed, vocabulary, self.plane_a_word), own.tiling)

    def embeddings(self, features: ClipFeatures, proxy: VitFeatures | None = None) -> Tensor:
        """(windows, rows, columns, width) on the proxy's grid; without one every patch keeps its own value."""
        if proxy is None:
            values = features.project().values[:, :, 1:].transpose(1, 2).flatten(2)
            return features.projected(features.output(values))
        return features.projected(self.mixed(features, proxy), proxy.grid)

    def mixed(self, features: ClipFeatures, proxy: VitFeatures, together: bool = False) -> Tensor:
        """u (windows, patches, width) on the proxy's grid; together: the mean S is that of all windows."""
        from methods.clip.likeness import likeness, sharpened

        large = values_on(proxy.grid, features, features.inputs[0])
        mix = sharpened(likeness(proxy.tokens.to(large.device, large.dtype)), self.beta, self.gamma, together)
        return features.output(mix @ large)


def values_on(grid: tuple[int, int], features: ClipFeatures, tokens: Tensor) -> Tensor:
    """v of CLIP's last block for tokens (windows, tokens, width), class token first, enlarged bilinearly to another
    grid: (windows, patches, width), heads side by side."""
    from torch.nn.functional import interpolate

    values = features.heads_of(tokens).values[:, :, 1:].transpose(1, 2).flatten(2)
    planes = values.transpose(1, 2).reshape(len(values), -1, *features.grid)
    return interpolate(planes, size=grid, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
