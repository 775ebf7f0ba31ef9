"""Pseudo masks and the attention of one forward flow in; StableSeg with learned layer weights flows out (StableSeg++).

The poster says only that optimal weights of the layers are learned from StableSeg+'s pseudo masks; loss and constraint
are settings here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.contracts import Lessons, MethodError, ModelError, Parts, Pass, Vocabulary
from methods.diffusion import Diffusion
from methods.diffusion.layers import HEADS, select
from methods.stableseg import Attention, StableSeg
from methods.taught import Taught

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures
    from methods.layer_fit import Positions

CHOICES = {
    "loss": ("softmax_ce", "least_squares"),
    "per": ("layer", "head", "class"),
    "solver": ("ridge", "nnls"),
    "rescale": ("minmax", "none"),
}
WEIGHTS = "weights.json"
NUMBER_BYTES, NAME_BYTES = 28, 100  # of its text, at most: a double with what separates it, a class's name
Held: TypeAlias = "list[float] | dict[str, list[float]]"  # one weight a layer or head, or those of every class by name


@dataclass(frozen=True, kw_only=True)
class LearnedStableSeg(Taught, StableSeg):
    """StableSeg whose layer weights come from a fit on a teacher's label maps; all else is StableSeg's settings.

    loss: `softmax_ce` (w = softmax θ, Adam, full passes over at most `positions` positions an image) or
    `least_squares` (exact, from one Gram matrix an image; `solver` ridge towards the plain mean, or nnls). per: one
    weight a `layer`, or a `head` of each, or (by `softmax_ce`) a layer and `class`: where a layer shows one class and
    hides another, no weight is right for both. A class that was in no lesson keeps the plain mean. ridge: strength, a
    share of the mean diagonal of the Gram matrix. sharpness, level, rescale, learning_rate, steps: see
    methods.layer_fit.CrossEntropy; there is a background logit where the label rule gives background (`label_below:
    background`).
    """

    loss: str = "softmax_ce"
    per: str = "layer"
    positions: int = 1024
    sharpness: float = 10.0
    level: float = 0.5
    rescale: str = "none"
    learning_rate: float = 0.1
    steps: int = 80
    solver: str = "ridge"
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise MethodError(f"The setting {name} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")
        if self.layer_weights != "uniform":
            raise MethodError("LearnedStableSeg learns its layer_weights: leave them out, or use StableSeg with them.")
        if self.per == "head" and self.head_agg != "mean":
            raise MethodError("Weights per head replace head_agg: leave it at 'mean'.")
        if self.per == "class" and self.loss != "softmax_ce":
            raise MethodError("Weights per class are learned by the loss 'softmax_ce'.")
        if self.positions < 1 or self.steps < 1 or self.ridge < 0:
            raise MethodError("positions and steps should be 1 or more, and ridge 0 or more.")
        if not min(self.learning_rate, self.sharpness) > 0:
            raise MethodError(
                f"learning_rate is {self.learning_rate} and sharpness {self.sharpness}; give both more than 0."
            )
        _ = self.rule

    def passes(self) -> Mapping[Pass, Parts]:
        """StableSeg's own; with one weight a head also the heads' maps."""
        extra = frozenset({HEADS}) if self.per == "head" else frozenset()
        return {request: parts | extra for request, parts in super().passes().items()}

    def gather(
        self, features: Mapping[Pass, DiffusionFeatures], vocabulary: Vocabulary, lesson: NDArray[np.integer[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        """What the fit needs of one image. lesson: (height, width) positions in the vocabulary, its length for
        background, -1 unsure; brought to the maps' size by nearest neighbour."""
        from methods.layer_fit import Gram, one_hot

        maps, labels = self._flat(features, lesson)
        sure = labels >= 0
        if self.loss == "least_squares":
            return Gram.of(maps[..., sure], one_hot(labels[sure], maps.shape[1])).as_arrays()
        chosen = _spread(labels.size, self.positions)
        held = {"maps": maps[..., chosen].astype(np.float16), "labels": labels[chosen]}
        return {**held, "classes": np.array(vocabulary.words)} if self.per == "class" else held

    def gathered_bytes(self, names: int) -> int | None:
        """Of one image that is offered so many names, at most. None where the model is not on this machine."""
        count = self._weighed
        if count is None:
            return None
        if self.loss == "least_squares":
            return 8 * (count**2 + count + 2)
        return (2 * count * names + 2) * self.positions

    def artefact_bytes(self, names: int) -> int | None:
        """Numbers as text, at most. None where the model is not on this machine."""
        count, rows = self._weighed, names if self.per == "class" else 1
        return None if count is None else rows * (count * NUMBER_BYTES + NAME_BYTES)

    @property
    def _weighed(self) -> int | None:
        """How many layers have a weight; None where it is not known, or heads have them."""
        request = next(iter(self.passes()))
        told = Diffusion(**request.backbone.as_dict()).configuration
        layers = None if told is None else told.layers(told.pixels(self.size))
        return None if layers is None or self.per == "head" else len(select(self.layers, layers))

    def fit(self, lessons: Lessons, folder: Path) -> Mapping[str, Any]:
        """Weights from what `gather` left of all images, added up in the order of their ids."""
        by_loss = self._by_least_squares if self.loss == "least_squares" else self._by_cross_entropy
        weights, told = by_loss(lessons)
        (folder / WEIGHTS).write_text(json.dumps(weights), encoding="utf-8")
        return {**told, "weights": weights}

    def _by_least_squares(self, lessons: Lessons) -> tuple[Held, dict[str, Any]]:
        from methods.layer_fit import Gram, nonnegative, ridge, total

        gathered = (held for image_id in lessons.image_ids if (held := lessons.gathered(image_id)))
        gram = total(Gram.from_arrays(one) for one in gathered)
        weights = (ridge if self.solver == "ridge" else nonnegative)(gram, self.ridge)
        plain = np.full(len(weights), 1.0 / len(weights))
        told = {
            "residual": gram.residual(weights) / gram.count, "residual_of_mean": gram.residual(plain) / gram.count,
        }  # fmt: skip
        return weights.tolist(), told

    def _by_cross_entropy(self, lessons: Lessons) -> tuple[Held, dict[str, Any]]:
        from methods.layer_fit import CrossEntropy, softmax_ce

        how = CrossEntropy(self.sharpness, self.level, self.rescale, lessons.background, self.learning_rate, self.steps)
        gathered = _Gathered(lessons, self.per == "class")
        weights, curve = softmax_ce(gathered, how, len(gathered.classes))
        told = {"loss": curve[-1], "loss_of_mean": curve[0], "curve": curve}
        if self.per == "class":
            return dict(zip(gathered.classes, weights.tolist(), strict=True)), told
        return weights.tolist(), told

    def fitted(self, folder: Path) -> StableSeg:
        """StableSeg with the weights that lie in a folder."""
        own = {field.name: getattr(self, field.name) for field in fields(StableSeg)}
        try:
            held = json.loads((folder / WEIGHTS).read_text(encoding="utf-8"))
            if self.per == "class":
                return StableSegByClass(**own, of_classes=tuple((name, _numbers(one)) for name, one in held.items()))
            weights = _numbers(held)
        except (OSError, ValueError, TypeError, AttributeError) as problem:
            raise ModelError(f"The layer weights in {folder} cannot be read: {problem}.") from problem
        kind = StableSegByHead if self.per == "head" else StableSeg
        return kind(**{**own, "layer_weights": weights})

    def _flat(
        self, features: Mapping[Pass, DiffusionFeatures], lesson: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer[Any]]]:
        """(layers or heads, classes, positions), the mean over noise draws, and the labels of the positions."""
        import torch

        reader = StableSegByHead(**self._own) if self.per == "head" else self
        stacked = [torch.stack(reader.class_maps(one)) for one in features.values()]
        maps = torch.stack(stacked).mean(dim=0)
        maps = torch.stack([next(iter(features.values())).crop(one) for one in maps])
        height, width = maps.shape[-2:]
        rows, columns = (_nearest(now, wanted) for now, wanted in zip(lesson.shape, (height, width), strict=True))
        return maps.flatten(2).cpu().numpy(), lesson[np.ix_(rows, columns)].reshape(-1)

    @cached_property
    def _own(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(StableSeg)}


@dataclass(frozen=True)
class StableSegByHead(StableSeg):
    """StableSeg with one weight for every head of every layer: layer by layer, head by head."""

    def passes(self) -> Mapping[Pass, Parts]:
        """StableSeg's own, with the heads apart."""
        return {request: parts | {HEADS} for request, parts in super().passes().items()}

    def class_maps(self, features: Attention) -> list[Tensor]:
        """Scaled maps of every head of every chosen layer, each (.., classes, height, width)."""
        held = features.class_maps(self.layers, self.subtoken_agg, "each")
        return [self.at_map_size(head, features) for _, maps in held for head in maps.unbind(dim=-4)]

    def weights_of(self, features: Attention, vocabulary: Vocabulary) -> Sequence[float]:
        """The weights, in the order of `class_maps`. MethodError when there are more or fewer."""
        if isinstance(self.layer_weights, str):
            raise MethodError("Weights per head are numbers, one a head of every layer.")
        return list(self.layer_weights)


@dataclass(frozen=True)
class StableSegByClass(StableSeg):
    """StableSeg with weights of the layers for every class by its usual name; other classes have the plain mean."""

    of_classes: tuple[tuple[str, tuple[float, ...]], ...] = ()

    @property
    def shares_maps(self) -> bool:
        """Weights are those of the classes that an image is offered."""
        return False

    def weights_of(self, features: Attention, vocabulary: Vocabulary) -> Sequence[Sequence[float]]:
        """Layer by layer the weight of every class offered. MethodError when there are more or fewer layers."""
        learned: Mapping[str, Sequence[Any]] = dict(self.of_classes)
        plain = super().weights_of(features, vocabulary)
        found = [learned.get(name, plain) for name in vocabulary.words]
        if any(len(one) != len(plain) for one in found):
            raise MethodError(f"The layer weights of the classes are not for the {len(plain)} layers that there are.")
        return [[one[layer] for one in found] for layer in range(len(plain))]


class _Gathered(Sequence["Positions"]):
    """What was gathered of the images that have something, read whenever it is asked for.

    classes: where each has weights of its own, the names in the order in which images show them.
    """

    def __init__(self, lessons: Lessons, by_class: bool) -> None:
        self._lessons, self._ids, seen = lessons, [], {}
        for image_id in lessons.image_ids:
            if held := lessons.gathered(image_id):
                self._ids.append(image_id)
                seen.update(dict.fromkeys(held["classes"].tolist() if by_class else ()))
        self.classes: Sequence[str] = tuple(seen)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, place: Any) -> Any:
        from methods.layer_fit import Positions

        held = self._lessons.gathered(self._ids[place])
        rows = [self.classes.index(name) for name in held["classes"].tolist()] if self.classes else None
        return Positions(held["maps"], held["labels"], None if rows is None else np.array(rows, np.int64))


def _numbers(held: Any) -> tuple[float, ...]:
    return tuple(float(one) for one in held)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the positions, spread evenly."""
    return np.arange(min(count, most), dtype=np.int64) * count // min(count, most)


def _nearest(side: int, wanted: int) -> NDArray[np.int64]:
    """For each of `wanted` positions the one of `side` that lies at its centre."""
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * side // (2 * wanted)
