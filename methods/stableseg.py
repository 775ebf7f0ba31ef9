"""Attention of one Stable Diffusion forward flows in; scores of every offered class flow out. No training, no masks.

A reconstruction of StableSeg (Honbu and Yanai, "Training-Free Region Prediction with Stable Diffusion", MMM 2024) from
its poster: what the poster leaves open is a setting. Decision, background and resizing to the truth are the protocol's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast

import numpy as np

from harness.contracts import MethodError, Parts, Pass, Recipe, Vocabulary
from methods.cards import check_card
from methods.diffusion import STABLE_DIFFUSION, Diffusion, DiffusionPass, check_choices
from methods.diffusion.layers import CROSS, HEADS, Spec, canonical, select
from methods.diffusion.passes import REFUSED
from methods.layer_weights import Weights, layer_weights, weights_stamp
from methods.refine import Refiner, refiner

if TYPE_CHECKING:
    from torch import Tensor

    from methods.diffusion.features import DiffusionBatch, DiffusionFeatures
    from methods.diffusion.together import Together

Attention: TypeAlias = "DiffusionFeatures | Together"  # of an image, or of several with a leading axis
CHOICES = {
    "head_agg": ("mean", "max"),
    "subtoken_agg": ("mean", "sum", "max", "last"),
    "norm_order": ("resize_first", "norm_first"),
    "map_norm": ("minmax", "none", "max", "sum"),
    "map_interp": ("bilinear", "bicubic", "nearest"),
    "class_norm": ("minmax", "none", "softmax", "max", "sum"),
    "prompt_self": ("mean", "first"),
}


@dataclass(frozen=True)
class StableSeg:
    """Class maps from cross-attention, averaged over layers, refined by self-attention.

    The defaults are those of Stable Diffusion, but for `prompt`: `joint` (one UNet row an image, all offered names in
    one prompt, split where they do not fit) instead of `per_class` (one row a class), since with the present classes
    offered it is the cheap form, and names compete inside the softmax over tokens.

    model, revision, dtype, size, resize, latents, latent_cache, card: the backbone (methods.diffusion:Diffusion).
    timestep, add_noise, seed, latent, prompt, template, joiner, whose_names: the pass (DiffusionPass).
    noise_draws: refined maps are averaged over them.
    layers: `all`, a side `1/2`, indices `4-8`. layer_weights: `uniform`, numbers, `1/8:.3, 1/4:.5`, or
    a .json file. head_agg, subtoken_agg: how heads and tokens of a name are joined. map_size: `latent`, a share of it
    (`1/2`), or `HxW`. map_norm: scale of a map before layers are joined; norm_order: after resizing or before.
    refine: a key of methods.refine with settings in brackets; refine_resolution and refine_power replace the key's.
    prompt_self: with several prompts, S is their `mean` or that of the `first`. class_norm: the last scaling.
    """

    places: ClassVar[tuple[str, ...]] = ("latent_cache",)
    refused: ClassVar[Mapping[str, str]] = {
        "guidance": "guidance mixes two noise predictions, and none is read; the attention of the conditional half, "
        "which is read, would stay as it is, at twice the UNet rows an image"
    }

    model: str = STABLE_DIFFUSION
    revision: str | None = None
    dtype: str = "float32"
    size: int | tuple[int, int] | None = None
    resize: str = "stretch"
    latents: str = "float32"
    latent_cache: str | None = None
    timestep: int = 1
    add_noise: bool = True
    noise_draws: int = 1
    seed: int = 0
    latent: str = "mean"
    prompt: str = "joint"
    template: str | None = None
    joiner: str | None = None
    whose_names: str = "own"
    layers: Spec = "all"
    layer_weights: Weights = "uniform"
    head_agg: str = "mean"
    subtoken_agg: str = "mean"
    map_size: str = "latent"
    map_interp: str = "bilinear"
    map_norm: str = "minmax"
    norm_order: str = "resize_first"
    refine: str = "sar"
    refine_resolution: str | None = None
    refine_power: int | None = None
    prompt_self: str = "mean"
    class_norm: str = "minmax"
    card: str = ""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)
        check_card(self.card, REFUSED)
        if self.noise_draws < 1:
            raise MethodError(f"noise_draws is {self.noise_draws}; at least one draw is needed.")

    @property
    def idle(self) -> Collection[str]:
        """The setting of cards where it is as it was before there was a choice."""
        return () if self.card else ("card",)

    def fingerprint(self) -> str:
        """Stands for a file of layer weights; the backbone answers for its own weights."""
        return weights_stamp(self.layer_weights)

    def passes(self) -> Mapping[Pass, Parts]:
        """One pass a noise draw, with the class maps of the layers and what the refiner reads."""
        parts = {CROSS + canonical(self.layers)} | self.refiner.parts()
        if self.head_agg != "mean":
            parts |= {HEADS}
        return {request: frozenset(parts) for request in self._requests}

    def read(self, features: Mapping[Pass, DiffusionFeatures], vocabulary: Vocabulary) -> Tensor:
        """Scores (classes, height, width), float32, at map size."""
        from methods.diffusion.maps import mean_in_order

        held = [features[request] for request in self._requests]
        maps = mean_in_order([self._refined(self._joined(one, [vocabulary]), one) for one in held])
        return self._final(held[0].crop(maps))

    def read_batch(
        self, features: Mapping[Pass, DiffusionBatch], vocabularies: Mapping[int, Vocabulary]
    ) -> Mapping[int, Tensor]:
        """The same by place of the batch, for all places at once; readers that weigh the same maps share them."""
        from methods.diffusion.maps import BY_PLANE

        batches = [features[request] for request in self._requests]
        if self.map_norm not in BY_PLANE:  # what sums over a map would feel how many classes others are offered
            alone = [{request: held[place] for request, held in features.items()} for place in vocabularies]
            return dict(zip(vocabularies, map(self.read, alone, vocabularies.values()), strict=True))
        found: dict[int, Tensor] = {}
        for groups in zip(*[batch.groups for batch in batches], strict=True):
            here = range(groups[0].start, groups[0].start + len(groups[0]))
            if wanted := [place for place in here if place in vocabularies]:
                names = [vocabularies.get(place) for place in here]
                scores = self._of_group(groups, names, [place - here.start for place in wanted])
                found.update(zip(wanted, scores, strict=True))
        return found

    @cached_property
    def refiner(self) -> Refiner:
        """The refiner that the settings name. MethodError when there is none of that name."""
        wishes = {"resolution": self.refine_resolution, "power": self.refine_power, "rows": self.prompt_self}
        return refiner(self.refine, **wishes)

    def class_maps(self, features: Attention) -> list[Tensor]:
        """Scaled maps of every chosen layer at map size, before they are weighted, each (.., classes, height, width).

        Layers of one side go through together.
        """
        import torch

        held = [maps for _, maps in features.class_maps(self.layers, self.subtoken_agg, self.head_agg)]
        large: dict[int, Tensor] = {}
        for shape in {maps.shape: None for maps in held}:
            same = [number for number, maps in enumerate(held) if maps.shape == shape]
            side = self.at_map_size(torch.stack([held[number] for number in same]), features)
            large.update(zip(same, side, strict=True))
        return [large[number] for number in range(len(held))]

    def at_map_size(self, maps: Tensor, features: Attention) -> Tensor:
        """Maps (.., classes, height, width) of layers, or of their heads, scaled and at map size."""
        from methods.diffusion.maps import resized, scaled

        size = self._size(features.latent)
        if self.norm_order == "norm_first":
            return resized(scaled(maps, self.map_norm), size, self.map_interp)
        return scaled(resized(maps, size, self.map_interp), self.map_norm)

    def weights_of(self, features: Attention, vocabulary: Vocabulary) -> Sequence[float | Sequence[float]]:
        """One weight for each of `class_maps`, or as many as there are classes offered."""
        return layer_weights(self.layer_weights, [features.layers[i] for i in select(self.layers, features.layers)])

    @property
    def shares_maps(self) -> bool:
        """Whether the weighted maps depend on these settings alone: not on whom they are weighted for."""
        return True

    @property
    def by_plane(self) -> bool:
        """Whether the last step looks at each class by itself."""
        from methods.diffusion.maps import BY_PLANE

        return self.class_norm in BY_PLANE

    def _of_group(
        self, groups: Sequence[Together], names: Sequence[Vocabulary | None], wanted: Sequence[int]
    ) -> list[Tensor]:
        """Scores of the images of those numbers in a group, of which there is one a noise draw."""
        from methods.diffusion.maps import mean_in_order, scaled
        from methods.refine import refined_together

        def joined(group: Together) -> Tensor:
            make = partial(self._joined, group, names)
            return group.once(self._key, make) if self.shares_maps else make()

        maps = mean_in_order(refined_together(self.refiner, joined(group), group, wanted) for group in groups)
        own, held = groups[0], [groups[0].classes[number] for number in wanted]
        if self.by_plane and own.whole:
            maps = scaled(maps, self.class_norm)
            return [maps[number, :classes] for number, classes in zip(wanted, held, strict=True)]
        pairs = zip(wanted, held, strict=True)
        return [self._final(own.crop(maps[number, :classes], number)) for number, classes in pairs]

    @property
    def _key(self) -> Hashable:
        """Equal for readers whose weighted maps of a pass are equal."""
        kind = type(self)
        names = (*CHOICES.keys() - {"class_norm", "prompt_self"}, "layers", "layer_weights", "map_size")
        settings = tuple([(name, repr(getattr(self, name))) for name in sorted(names)])
        return kind.class_maps, kind.at_map_size, kind.weights_of, settings

    def _joined(self, features: Attention, names: Sequence[Vocabulary | None]) -> Tensor:
        """The weighted sum of the class maps (.., classes, height, width). names: by image, None where it is nobody's
        to read."""
        maps = self.class_maps(features)
        weights = self._weights(features, names, maps[0])
        total = maps[0] * weights[0]
        for one, weight in zip(maps[1:], weights[1:], strict=True):
            total = total + one * weight
        return total

    def _weights(
        self, features: Attention, names: Sequence[Vocabulary | None], like: Tensor
    ) -> Sequence[float | Tensor]:
        """One number a map, or a tensor with one of its own for every class of every image."""
        import torch

        by_image = [None if one is None else self.weights_of(features, one) for one in names]
        known = next(one for one in by_image if one is not None)
        if not isinstance(known[0], Sequence):
            return cast("Sequence[float]", known)
        table = np.zeros((len(known), len(names), like.shape[-3]))
        for number, own in enumerate(by_image):
            if own is not None:
                weights = np.array(own)
                table[:, number, : weights.shape[1]] = weights
        found = torch.tensor(table, dtype=like.dtype, device=like.device)
        return [one.view(*like.shape[:-2], 1, 1) for one in found]

    def _refined(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        return self.refiner.refine(maps, features) if len(maps) else maps

    def _final(self, maps: Tensor) -> Tensor:
        """What becomes of an image's refined maps (classes, height, width), its padding cut off."""
        from methods.diffusion.maps import scaled

        return scaled(maps, self.class_norm)

    @cached_property
    def _requests(self) -> list[DiffusionPass]:
        backbone = Recipe.of(
            f"{Diffusion.__module__}:{Diffusion.__name__}",
            model=self.model,
            revision=self.revision,
            dtype=self.dtype,
            size=self.size,
            resize=self.resize,
            latents=self.latents,
            latent_cache=self.latent_cache,
            **({"card": self.card} if self.card else {}),
        )
        return [
            DiffusionPass(
                backbone,
                timestep=self.timestep,
                prompt=self.prompt,
                template=self.template,
                joiner=self.joiner,
                add_noise=self.add_noise,
                seed=self.seed,
                draw=draw,
                latent=self.latent,
                whose_names=self.whose_names,
            )
            for draw in range(self.noise_draws)
        ]

    def _size(self, latent: tuple[int, int]) -> tuple[int, int]:
        if self.map_size == "latent":
            return latent
        if share := re.fullmatch(r"1/(\d+)", self.map_size):
            return -(-latent[0] // int(share[1])), -(-latent[1] // int(share[1]))
        if sides := re.fullmatch(r"(\d+)x(\d+)", self.map_size):
            return int(sides[1]), int(sides[2])
        raise MethodError(f"The map_size is {self.map_size!r}; it can be 'latent', a share ('1/2') or 'HEIGHTxWIDTH'.")
