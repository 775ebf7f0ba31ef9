"""A reader's scores and the image they are of flow in; what a fully connected CRF makes of them flows out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.contracts import MethodError
from methods.around_reader import AroundReader, check_short_side, enlarged

if TYPE_CHECKING:
    from torch import Tensor

Floats: TypeAlias = NDArray[np.floating[Any]]
Kernel: TypeAlias = Callable[[Floats], Floats]  # sums of values (pixels, classes) by likeness of pixels, the same shape

TEMPERATURES = {"softmax": 0.01, "share": 1.0}
SMALLEST = 1e-6  # of a temperature or a deviation
FLOOR = 1e-5  # the least probability of a class at a pixel, as in pydensecrf's `unary_from_softmax`


@dataclass(frozen=True)
class DenseCRF(AroundReader):
    """Mean field of a fully connected CRF (Krähenbühl and Koltun, NIPS 2011, arXiv 1210.5644) behind any reader.

    Scores are enlarged to the image and become probabilities P; Q = P; then `iterations` times
    Q <- softmax over classes of (log P + w_g K_g Q + w_b K_b Q): labels that differ cost the same whichever they are
    (Potts). K_g weighs pixels by exp(-|x - x'|^2 / 2 sxy^2), K_b by that and exp(-|I - I'|^2 / 2 srgb^2), I on 0..255;
    both by the permutohedral lattice (methods.permutohedral), normalised symmetrically, D^-1/2 K D^-1/2 with D = K 1:
    the form of the authors' second release, in which weights mean the same at a border and inside and the energy stays
    one of pairs. As there, a pixel's own vote is not taken out of its sum. Q, summing to 1, is the answer.

    Defaults: pydensecrf's example, which most segmentation papers took over, at the paper's 10 iterations. DeepLab's,
    which FTTM takes: gaussian_sxy 1, bilateral_weight 4, bilateral_sxy 67, bilateral_srgb 3. OVAM: 5 iterations.

    method: see AroundReader; the features of its passes must offer `image`.
    unary: `softmax`, P = softmax(scores / temperature), for logits and cosines; `share`, P = scores^(1 / temperature)
    over their sum at the pixel, for scores of 0 or more such as StableSeg's. P is at least 1e-5 before it is scaled to
    sum to 1. temperature: None is 0.01 for `softmax` (CLIP's, and the protocol's `logit_scale: 100`), 1 for `share`.
    gaussian_sxy, bilateral_sxy: pixels, of the image as it is refined. A weight of 0 leaves a kernel out.
    short_side: pixels at which it is done; None is the image's own size.
    """

    unary: str = "softmax"
    temperature: float | None = None
    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_weight: float = 10.0
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.unary not in TEMPERATURES:
            raise MethodError(f"DenseCRF's unary is {self.unary!r}; it can be {' or '.join(map(repr, TEMPERATURES))}.")
        for name in ("temperature", "gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            value = getattr(self, name)
            if value is not None and not SMALLEST <= value < float("inf"):
                raise MethodError(f"DenseCRF's {name} is {value}; give a number of {SMALLEST:.6f} or more.")
        for name in ("iterations", "gaussian_weight", "bilateral_weight"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise MethodError(f"DenseCRF's {name} is {getattr(self, name)}; give 0 or more.")
        check_short_side("DenseCRF", self.short_side)
        _ = self.inner

    @property
    def plane_a_word(self) -> bool:
        """Words of one class must not compete: there is a plane a class."""
        return False

    def refined(self, scores: Tensor, pixels: Tensor) -> Tensor:
        """Probabilities Q (classes, height, width) at the pixels' size, float32; MethodError as `log_shares` has it."""
        import torch

        size = (pixels.shape[1], pixels.shape[2])
        large = enlarged(scores, size).flatten(1).T.contiguous().cpu().numpy()
        known = log_shares(large, self.unary, self.temperature)
        image = pixels.permute(1, 2, 0).numpy() * np.float32(255.0)
        found = mean_field(known, self.kernels(image) if len(scores) > 1 else [], self.iterations)
        return torch.from_numpy(found.T.reshape(len(scores), *size).copy()).to(scores.device)

    def kernels(self, image: Floats) -> list[tuple[float, Kernel]]:
        """(weight, kernel) of those whose weight is not 0, for an image (height, width, colours) on 0..255."""
        height, width, colours = image.shape
        place = np.indices((height, width), np.float32).reshape(2, -1).T
        found = []
        if self.gaussian_weight:
            found.append((self.gaussian_weight, symmetric(place / self.gaussian_sxy)))
        if self.bilateral_weight:
            colour = image.reshape(-1, colours) / self.bilateral_srgb
            both = np.concatenate([place / self.bilateral_sxy, colour], axis=1)
            found.append((self.bilateral_weight, symmetric(both)))
        return found


def log_shares(scores: Floats, unary: str, temperature: float | None = None) -> Floats:
    """log P of scores (pixels, classes), as DenseCRF's `unary` and `temperature` have it.

    Where all scores of a pixel are 0, `share` takes all classes for equal. MethodError: `share` of negative scores.
    """
    temperature = TEMPERATURES[unary] if temperature is None else temperature
    if unary == "share":
        if scores.size and scores.min() < 0.0:
            raise MethodError(
                f"DenseCRF's unary is 'share' and a score is {scores.min():.3g}; shares need scores of 0 or more: "
                "set unary to 'softmax'."
            )
        scores = np.log(np.maximum(scores, np.finfo(scores.dtype).tiny))
    likely = np.maximum(softmax(scores / scores.dtype.type(temperature)), scores.dtype.type(FLOOR))
    found: Floats = np.log(likely / likely.sum(axis=1, keepdims=True))
    return found


def symmetric(features: Floats) -> Kernel:
    """D^-1/2 K D^-1/2 with K the Gaussian filter of features (pixels, d) and D = K 1."""
    from methods.permutohedral import PermutohedralFilter

    gaussian = PermutohedralFilter(features)
    root = gaussian(np.ones((len(features), 1), np.float32)) ** np.float32(-0.5)

    def normalised(values: Floats) -> Floats:
        found: Floats = root * gaussian(root * values)
        return found

    return normalised


def mean_field(known: Floats, kernels: Sequence[tuple[float, Kernel]], iterations: int) -> Floats:
    """Q (pixels, classes) after so many steps from Q = P, for known = log P and kernels with their weights."""
    shares = softmax(known)
    for _ in range(iterations if kernels else 0):
        votes = known.copy()
        for weight, kernel in kernels:
            votes += known.dtype.type(weight) * kernel(shares)
        shares = softmax(votes)
    return shares


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    if not logits.size:
        return logits
    found: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found /= found.sum(axis=-1, keepdims=True)
    return found
