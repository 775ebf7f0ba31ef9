"""Features of a CLIP pass and of a diffusion pass flow in; CLIP's scores, refined by the UNet's attention, flow out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from harness.contracts import MethodError, Parts, Pass, ProtocolSettings, Reader, Vocabulary
from methods.calls import built, fingerprint_of, resolved_call
from methods.clearclip import ClearCLIP
from methods.clip.view import View
from methods.diffusion import STABLE_DIFFUSION
from methods.refine import Refiner, refiner
from methods.stableseg import StableSeg

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CLIPer(ClearCLIP):
    """CLIPer's idea (Sun et al., arXiv 2411.13836; linsun449/cliper.code): two passes, one method.

    M = S C with C the scores of CLIP's patches, brought to the side of the UNet's maps, and S its self-attention: mean
    of heads and of the layers on the largest side on the way up (`refine`, a key of methods.refine with its settings).
    C is ClearCLIP's, on the whole image.
    diffusion, diffusion_revision, size, timestep, add_noise, seed: StableSeg's, whose pass it shares at the same
    timestep; t = 81 is about the step 45 of 50 that CLIPer takes.
    scores: a reader whose scores are C in place of ClearCLIP's, with its settings; the authors' own is
    `methods.fused_clip:FusedCLIP(attention_thr=0.1)`.
    Left out: the product over heads and over layers 13 and 14 of an attention that is cut at a threshold and scaled by
    its columns' maxima, in place of the mean; the empty prompt (no cross-attention is read, and self-attention hardly
    depends on the prompt); Stable Diffusion 2.1.
    """

    published_positions: ClassVar[str] = "bilinear"
    published_view: ClassVar[View] = (336, None, None)

    diffusion: str = STABLE_DIFFUSION
    diffusion_revision: str | None = None
    size: int | tuple[int, int] | None = None
    timestep: int = 81
    add_noise: bool = True
    seed: int = 0
    refine: str = "apply(resolution=up:largest)"
    scores: str | None = None

    @property
    def idle(self) -> tuple[str, ...]:
        """The settings that are as they were before there was a choice."""
        return (*super().idle, *(["scores"] if self.scores is None else []))

    @cached_property
    def inner(self) -> Reader | None:
        """The reader of C, where it is not this one. MethodError when it is no reader."""
        if self.scores is None:
            return None
        found = built(self.scores)
        if not isinstance(found, Reader):
            raise MethodError(f"CLIPer spreads the scores of a reader, and {self.scores!r} has no `passes` and `read`.")
        return found

    @cached_property
    def refiner(self) -> Refiner:
        """The refiner that the settings name. MethodError when there is none of that name."""
        return refiner(self.refine)

    @cached_property
    def diffusion_pass(self) -> Pass:
        """The pass whose self-attention is read: a StableSeg's with these settings, so that the two share it."""
        (request,) = StableSeg(
            self.diffusion, self.diffusion_revision, self.dtype, self.size, timestep=self.timestep,
            add_noise=self.add_noise, seed=self.seed,
        ).passes()  # fmt: skip
        return request

    def passes(self) -> Mapping[Pass, Parts]:
        """CLIP's pass and, unless nothing is refined, the diffusion pass."""
        own = self.refiner.parts()
        first = super().passes() if self.inner is None else self.inner.passes()
        return {**first, **({self.diffusion_pass: own} if own else {})}

    def resolved(self, protocol: ProtocolSettings) -> Mapping[str, Any]:
        """The settings that stand at `auto`, and those of the reader of C, as they are under a protocol."""
        found = None if self.scores is None else resolved_call(self.scores, self.inner, protocol)
        return {**super().resolved(protocol), **({} if found is None else {"scores": found})}

    @property
    def plane_a_word(self) -> bool:
        """As the scores have it: what is done to a plane does not look at others."""
        return super().plane_a_word if self.inner is None else bool(getattr(self.inner, "plane_a_word", False))

    def fingerprint(self) -> str:
        """As the backbone's, or as that of the reader of C."""
        return super().fingerprint() if self.inner is None else fingerprint_of(self.inner)

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Tensor:
        """Scores (positions, rows, columns): at the latent's size, or on CLIP's grid where nothing is refined."""
        from methods.diffusion.maps import resized

        first = super().read if self.inner is None else self.inner.read
        scores = cast("Tensor", first(features, vocabulary))
        if not self.refiner.parts():
            return scores
        attention = features[self.diffusion_pass]
        return self.refiner.refine(resized(scores, attention.latent), attention)
