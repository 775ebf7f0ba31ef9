"""An image and the names of all classes flow in; the classes that CLIP sees in it flow out, to be offered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.contracts import Image, Vocabulary
from methods.clip import DEFAULT_MODEL, Clip
from methods.one_network import DTYPES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClipTagger:
    """Tagger: classes whose texts are near the embedding of the whole image (the class token of CLIP's tower).

    p = softmax over classes of scale times the cosine; of a class with several names the best one counts. Classes with
    p of at least `threshold` are taken, at most `top_k` of them (0: no limit), and always the best one.
    logit_scale: the softmax's scale; None is the checkpoint's own. The image is stretched to the model's square, so
    that nothing is cut off.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    dtype: str = "float32"
    threshold: float = 0.05
    top_k: int = 0
    logit_scale: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; a share of the softmax is 0 to 1.")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give a number of classes, or 0 for no limit.")

    @cached_property
    def clip(self) -> Clip:
        """The model, opened at first use."""
        return Clip(self.model, self.revision, self.dtype)

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        return self.clip.models_to_fetch()

    def open_models(self) -> Sequence[str]:
        """Open the network; what is to be said of it."""
        return self.clip.open_models()

    def fingerprint(self) -> str:
        """As the model's."""
        return self.clip.fingerprint()

    def tags(self, image: Image, vocabulary: Vocabulary) -> Sequence[int]:
        """Positions of the classes taken, the best first."""
        shares = self.shares(image, vocabulary)
        order = shares.argsort(descending=True, stable=True).tolist()
        taken = [place for place in order if float(shares[place]) >= self.threshold] or order[:1]
        return taken[: self.top_k] if self.top_k else taken

    def shares(self, image: Image, vocabulary: Vocabulary) -> Tensor:
        """p of every position, float32 on the CPU; they add up to 1."""
        network = self.clip.network
        embedding = image_embedding(network, image)[None, None]
        cosines = network.text.scores(embedding, vocabulary)[:, 0, 0]
        own = network.model.logit_scale.detach().float().exp()
        scale = own if self.logit_scale is None else self.logit_scale
        return (scale * cosines).softmax(dim=0).cpu()


def image_embedding(network: object, image: Image) -> Tensor:
    """The unit vector (width) of a whole image, float32."""
    import torch
    from torch.nn.functional import normalize

    from methods.clip.network import ClipNetwork
    from methods.clip.pixels import normalised

    assert isinstance(network, ClipNetwork)
    pixels = torch.from_numpy(normalised(image, (network.native, network.native), network.rule))[None]
    with torch.no_grad():
        pooled = network.tower(pixel_values=pixels.to(network.device, network.dtype)).pooler_output
        return normalize(network.model.visual_projection(pooled).float(), dim=-1)[0]
