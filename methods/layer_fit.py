"""Class maps of layers and a pseudo mask flow in, image by image; one weight a layer flows out, by two losses.

By one of them also one weight a layer and class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import MethodError
from harness.contracts.scales import stretched

Floats = NDArray[np.float64]

NOTHING_SURE = "There is no position with a sure pseudo label to learn layer weights from."

TOGETHER = 64  # images whose maps are in float64 at a time, at most
TOGETHER_BYTES = 2**26  # of their maps in float64; products need several times as much
HELD_BYTES = 2**27  # of maps in float16 that stay in memory; others are read anew at every step


@dataclass(frozen=True, eq=False)
class Gram:
    """What least squares needs of any number of positions: G = Σ A Aᵀ, b = Σ A Y, Σ Y², and how many (p, c) there were.

    Sums in float64. Any partition adds up to the same but for rounding; in a fixed order, to the same bits.
    """

    matrix: Floats  # (layers, layers)
    vector: Floats  # (layers,)
    squares: float
    count: int

    @classmethod
    def of(cls, maps: NDArray[Any], wanted: NDArray[Any]) -> Gram:
        """maps: (layers, classes, positions); wanted: (classes, positions), 1 where the class is."""
        flat = maps.reshape(len(maps), -1).astype(np.float64)
        target = wanted.reshape(-1).astype(np.float64)
        return cls(flat @ flat.T, flat @ target, float(target @ target), target.size)

    def __add__(self, other: Gram) -> Gram:
        return Gram(
            self.matrix + other.matrix, self.vector + other.vector,
            self.squares + other.squares, self.count + other.count,
        )  # fmt: skip

    def residual(self, weights: Floats) -> float:
        """Σ (Σ_i w_i A_i - Y)² = wᵀGw - 2wᵀb + Σ Y²."""
        return float(weights @ self.matrix @ weights - 2.0 * weights @ self.vector + self.squares)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """To be sent and kept."""
        held = {"matrix": self.matrix, "vector": self.vector}
        return {**held, "squares": np.array(self.squares), "count": np.array(self.count)}

    @classmethod
    def from_arrays(cls, held: Mapping[str, NDArray[Any]]) -> Gram:
        """What `as_arrays` gave."""
        return cls(held["matrix"], held["vector"], float(held["squares"]), int(held["count"]))


def total(parts: Iterable[Gram]) -> Gram:
    """The sum, in the order of the parts."""
    found: Gram | None = None
    for part in parts:
        found = part if found is None else found + part
    if found is None or not found.count:
        raise MethodError(NOTHING_SURE)
    if not found.matrix.any():
        raise MethodError(
            "The class maps are 0 wherever a pseudo label is sure: no layer weights can be learned from them."
        )
    return found


def ridge(gram: Gram, strength: float) -> Floats:
    """argmin Σ (Σ_i w_i A_i - Y)² + λ |w - 1/L|², so (G + λI) w = b + λ/L; λ = strength * trace(G) / L.

    The strength has no unit, so that it means the same for 100 images and for 10 000. With 0, the least-squares
    solution of least norm.
    """
    layers = len(gram.vector)
    penalty = strength * float(np.trace(gram.matrix)) / layers
    if penalty == 0.0:
        return np.asarray(np.linalg.lstsq(gram.matrix, gram.vector, rcond=None)[0], np.float64)
    pulled = gram.matrix + penalty * np.eye(layers)
    return np.asarray(np.linalg.solve(pulled, gram.vector + penalty / layers), np.float64)


def nonnegative(gram: Gram, strength: float) -> Floats:
    """As `ridge`, with every weight at least 0.

    |R w - z|² with RᵀR = G + λI and Rᵀz = b + λ/L differs from the objective by a constant, and is what nnls takes.
    """
    from scipy.optimize import nnls

    layers = len(gram.vector)
    penalty = max(strength, 1e-12) * float(np.trace(gram.matrix)) / layers
    pulled, wanted = gram.matrix + penalty * np.eye(layers), gram.vector + penalty / layers
    try:
        root = np.linalg.cholesky(pulled).T
        target = np.linalg.solve(root.T, wanted)
    except np.linalg.LinAlgError:  # layers that are alike, but for rounding
        values, vectors = np.linalg.eigh(pulled)
        kept = values > layers * np.finfo(np.float64).eps * values[-1]
        root = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
        target = (vectors[:, kept].T @ wanted) / np.sqrt(values[kept])
    return np.asarray(nnls(root, target)[0], np.float64)


@dataclass(frozen=True)
class CrossEntropy:
    """Settings of `softmax_ce`: logits are `sharpness` times a class's score; the background's is sharpness * `level`.

    rescale: `minmax` of each class's weighted map over the image's positions, or `none`. background: whether there is a
    background logit (else positions labelled background are left out).
    """

    sharpness: float = 10.0
    level: float = 0.5
    rescale: str = "none"
    background: bool = True
    learning_rate: float = 0.1
    steps: int = 80


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions of one image. maps: (layers, classes, positions); labels: class, `classes` background, -1 unsure.

    rows: where every class has weights of its own, the number of each of these classes among all.
    """

    maps: NDArray[np.float16]
    labels: NDArray[np.integer[Any]]
    rows: NDArray[np.int64] | None = None


def softmax_ce(images: Sequence[Positions], how: CrossEntropy, classes: int = 0) -> tuple[Floats, list[float]]:
    """w = softmax(θ) by cross-entropy and Adam from θ = 0 (so from the plain mean); weights and the loss a step.

    classes: with how many every class has weights of its own, (classes, layers) in place of (layers,); a class that is
    in no image keeps the plain mean. Pixels of all images weigh alike; every step sees all of them. images: may read an
    image whenever it is asked for; of maps that they give, less than a gigabyte is in memory at a time, however many
    there are.
    """
    import torch
    import torch.nn.functional as F

    held = _Alike(images, how)
    pixels = held.pixels
    if not pixels:
        raise MethodError(NOTHING_SURE)
    theta = torch.zeros((classes, held.layers) if classes else held.layers, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=how.learning_rate)
    curve = []
    for _ in range(how.steps):
        optimiser.zero_grad()
        loss = torch.zeros((), dtype=torch.float64)
        for maps, labels, rows in held:
            scores = _weighted(theta.softmax(dim=-1), maps.double(), rows)
            part = F.cross_entropy(_logits(scores, how), labels, ignore_index=-1, reduction="sum")
            (part / pixels).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        optimiser.step()
        curve.append(float(loss) / pixels)
    return theta.detach().softmax(dim=-1).numpy(), curve


def _weighted(weights: Any, maps: Any, rows: Any) -> Any:
    """(images, layers, classes, positions) -> (images, classes, positions); rows: (images, classes), or None."""
    import torch

    if rows is None:
        return torch.einsum("l,nlcp->ncp", weights, maps)
    return torch.einsum("ncl,nlcp->ncp", weights[rows], maps)


class _Alike:
    """Images of one shape side by side, so many at a time: maps (images, layers, classes, positions), labels and rows.

    Maps are kept as long as they fit; the others are asked for again at every look.
    """

    def __init__(self, images: Sequence[Positions], how: CrossEntropy) -> None:
        self._images, self._how = images, how
        self._kept: dict[int, Positions] = {}
        alike: dict[tuple[int, ...], list[int]] = {}
        self.pixels, self.layers, held = 0, 0, 0
        for number, one in enumerate(images):
            alike.setdefault(one.maps.shape, []).append(number)
            self.pixels += int((_targets(one, how) >= 0).sum())
            self.layers = len(one.maps)
            if (held := held + one.maps.nbytes) <= HELD_BYTES:
                self._kept[number] = one
        self._parts = [(shape, part) for shape, found in alike.items() for part in _portions(found, shape)]

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        import torch

        for shape, part in self._parts:
            maps, labels, rows = np.empty((len(part), *shape), np.float16), [], []
            for place, number in enumerate(part):
                one = self._kept.get(number) or self._images[number]
                maps[place] = one.maps
                labels.append(_targets(one, self._how))
                rows += [] if one.rows is None else [torch.from_numpy(one.rows)]
            yield torch.from_numpy(maps), torch.stack(labels), torch.stack(rows) if rows else None


def _portions(numbers: Sequence[int], shape: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many images of a shape at a time as have room."""
    step = max(1, min(TOGETHER, TOGETHER_BYTES // (8 * math.prod(shape))))
    for start in range(0, len(numbers), step):
        yield numbers[start : start + step]


def _logits(scores: Any, how: CrossEntropy) -> Any:
    """(images, classes, positions) -> (images, classes and background, positions)."""
    import torch

    if how.rescale == "minmax":
        scores = stretched(scores, over=2)
    if how.background:
        scores = torch.cat([scores, torch.full_like(scores[:, :1], how.level)], dim=1)
    return how.sharpness * scores


def _targets(one: Positions, how: CrossEntropy) -> Any:
    import torch

    labels = torch.from_numpy(one.labels.astype(np.int64))
    return labels if how.background else torch.where(labels == one.maps.shape[1], -1, labels)


def one_hot(labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    """(classes, positions): 1 where the class is; background is 0 in all."""
    hot: NDArray[np.float64] = (labels[None] == np.arange(classes)[:, None]).astype(np.float64)
    return hot
