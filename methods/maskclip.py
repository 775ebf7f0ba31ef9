"""Features of a CLIP pass flow in; MaskCLIP's scores flow out: patches keep their own values and meet the texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from harness.contracts import Vocabulary
from methods.clip import Clip, ClipReader

if TYPE_CHECKING:
    from torch import Tensor

    from methods.clip.features import ClipFeatures, Projected

FORMS = ("published", "value")
NORMS = ("channel", "position")
SHARPNESS = 100.0  # CLIP's own logit scale, for the probabilities that smoothing and denoising look at
DROPPED = -100.0  # score of a class that denoising takes out


@dataclass(frozen=True)
class MaskCLIP(ClipReader):
    """MaskCLIP (Zhou, Loy, Dai, ECCV 2022, arXiv 2112.01071): the last block's attention is the identity.

    v = W_o(W_v(LN1(x))). form "published": u = x + v, u + MLP(LN2(u)), as in the authors' code; "value": u = v alone.
    Embedding = Proj(LN_post(u)) at unit length, class token dropped; score = cosine with the text.
    key_smoothing: P = softmax over classes of 100 cos; positions whose largest P is below ks_threshold get (k kᵀ) P
    instead, k = W_o(W_k(LN1(x))) at unit length along its channels (the paper) or over the positions (what the authors'
    code does): ks_norm. Scores are then P. prompt_denoising: a class whose largest P is below pd_threshold gets -100;
    where that would take out every class the surest one stays. Denoising comes first when both are on.
    port: "clean", or "official" for the authors' deviations from CLIP (see `methods.clip:Clip`).
    Left out: their corner padding. Their 85 templates are the protocol's to give (`python -m methods.text_templates`).
    """

    form: str = "published"
    key_smoothing: bool = False
    ks_norm: str = "channel"
    ks_threshold: float = 1.0
    prompt_denoising: bool = False
    pd_threshold: float = 0.5
    port: str = "clean"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, known in (("form", self.form, FORMS), ("ks_norm", self.ks_norm, NORMS)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; give {' or '.join(known)}.")

    @property
    def backbone(self) -> Clip:
        """The model with the chosen port."""
        return Clip(self.model, self.revision, self.dtype, self.port, card=self.card)

    @property
    def plane_a_word(self) -> bool:
        """Smoothing and denoising look at classes; without them every word has a plane."""
        return not (self.key_smoothing or self.prompt_denoising)

    @property
    def by_embeddings(self) -> bool:
        """Unless scores are smoothed or denoised."""
        return self.plane_a_word

    def embeddings(self, features: ClipFeatures) -> Tensor:
        """(windows, rows, columns, width) of the identity attention in the chosen form."""
        kept = self.form == "published"
        return features.embeddings(own_values, residual=kept, feedforward=kept)

    def window_scores(self, features: ClipFeatures, vocabulary: Vocabulary) -> Tensor:
        """Scores (windows, positions, rows, columns): cosines, or smoothed probabilities."""
        return refined(super().window_scores(features, vocabulary), features, self)


class Refinement(Protocol):
    """The settings of smoothing and denoising."""

    @property
    def key_smoothing(self) -> bool: ...
    @property
    def ks_norm(self) -> str: ...
    @property
    def ks_threshold(self) -> float: ...
    @property
    def prompt_denoising(self) -> bool: ...
    @property
    def pd_threshold(self) -> float: ...


def refined(scores: Tensor, features: Any, settings: Refinement) -> Tensor:
    """Scores (windows, positions, rows, columns), denoised over all windows together, each smoothed by its own keys."""
    if settings.prompt_denoising:
        scores = denoised(scores, settings.pd_threshold)
    if not settings.key_smoothing:
        return scores
    import torch

    windows = zip(scores, features.keys(), strict=True)
    return torch.stack([smoothed(one, keys, settings.ks_norm, settings.ks_threshold) for one, keys in windows])


def own_values(block: Projected) -> Tensor:
    """Identity attention: every token keeps its value."""
    return block.values


def denoised(scores: Tensor, threshold: float) -> Tensor:
    """Cosines (windows, positions, rows, columns) with -100 for every class whose largest probability in all windows
    is below the threshold."""
    surest = (SHARPNESS * scores).softmax(dim=1).amax(dim=(0, 2, 3))
    dropped = (surest < threshold) & (surest < surest.max())
    return scores.masked_fill(dropped[:, None, None], DROPPED)


def smoothed(scores: Tensor, keys: Tensor, norm: str, threshold: float) -> Tensor:
    """Probabilities (positions, rows, columns), at unsure places replaced by those of all places with like keys.

    keys: (rows, columns, width). (k kᵀ) P is computed as k (kᵀ P), so that no places-by-places matrix exists.
    """
    import torch
    from torch.nn.functional import normalize

    shares = (SHARPNESS * scores).softmax(dim=0).flatten(1).T
    keys = normalize(keys.flatten(0, 1), dim=1 if norm == "channel" else 0)
    unsure = shares.amax(dim=1, keepdim=True) < threshold
    return torch.where(unsure, keys @ (keys.T @ shares), shares).T.reshape(scores.shape)
