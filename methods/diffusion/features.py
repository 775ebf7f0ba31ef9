"""What one pass of a diffusion model leaves for one image: class maps per layer, and self-attention to apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from harness.contracts import Image, MethodError
from methods.diffusion.attention import attend, probabilities
from methods.diffusion.layers import Layer, Spec, canonical, select

Places: TypeAlias = "tuple[tuple[int, tuple[int, ...]], ...]"  # (class, its columns among those kept of a row)


@dataclass(eq=False)
class DiffusionFeatures:
    """Verbs over the attention of one image; all results are float32 on the network's device.

    layers: all of the network. latent: (height, width). content: the part of it, from the top left corner, that holds
    the image (all of it unless the image was padded). classes: how many were asked for. image: what was looked at, as
    the query gave it.
    """

    layers: tuple[Layer, ...]
    latent: tuple[int, int]
    content: tuple[int, int]
    classes: int
    rows: tuple[Places, ...]  # one a prompt
    cross: dict[int, list[Tensor]] = field(default_factory=dict)  # layer -> per prompt (heads or 1, positions, columns)
    own: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)  # layer -> per prompt queries and keys
    image: Image | None = None

    def class_maps(self, spec: Spec = "all", tokens: str = "mean", heads: str = "mean") -> list[tuple[Layer, Tensor]]:
        """Attention from image to class, one (layer, (classes, height, width)) for each layer, in network order.

        Probabilities over all tokens of the prompt, at the class's tokens: `mean`, `sum`, `max` or `last` of them, and
        `mean` or `max` over heads, or `each`: (heads, classes, height, width). `max` and `each` need the part `heads`.
        """
        return [(self.layers[index], self._class_map(index, tokens, heads)) for index in select(spec, self.layers)]

    def propagate(self, maps: Tensor, spec: Spec, times: int = 1, rows: str = "mean") -> Tensor:
        """S applied `times` times to maps (classes, height, width) at the layers' own resolution.

        S is the mean over heads, layers and prompts (`rows`: `mean`, or `first` for the first prompt only) of
        softmax(Q K^T / sqrt(width)). It is never formed: the maps stand in for the values of fused attention.
        """
        layers = self._same_side(spec, maps)
        flat = maps.flatten(1).T
        for _ in range(times):
            parts = [attend(queries, keys, flat) for layer in layers for queries, keys in self._own(layer, rows)]
            flat = torch.stack(parts).mean(dim=0)
        return flat.T.reshape(maps.shape)

    def self_attention(self, spec: Spec, rows: str = "mean", heads: Sequence[int] | None = None) -> Tensor:
        """S itself, (positions, positions), rows sum to 1, for refiners that change it entry by entry.

        Costly: positions squared floats (64 MiB at 64 x 64) and as much again while it is summed, a head at a time.
        """
        layers = self._same_side(spec)
        total, count = None, 0
        for layer in layers:
            for queries, keys in self._own(layer, rows):
                for head in range(len(queries)) if heads is None else heads:
                    part = probabilities(queries[head : head + 1], keys[head : head + 1])[0]
                    total = part if total is None else total.add_(part)
                    count += 1
        if total is None:
            raise MethodError(f"No heads were chosen of the self-attention of the layers {canonical(spec)!r}.")
        return total.div_(count)

    def side(self, spec: Spec) -> tuple[int, int]:
        """(height, width) that the layers share; MethodError when they do not share one."""
        return self._same_side(spec)[0].resolution

    def crop(self, maps: Tensor) -> Tensor:
        """The part of maps (classes, height, width) that shows the image, without padding."""
        height, width = (
            max(1, round(side * held / full))
            for side, held, full in zip(maps.shape[1:], self.content, self.latent, strict=True)
        )
        return maps[:, :height, :width]

    def _class_map(self, index: int, tokens: str, heads: str) -> Tensor:
        if self.rows and index not in self.cross:
            raise MethodError(f"The class maps of layer {index} were not asked for: declare `cross:{index}` as a part.")
        height, width = self.layers[index].resolution
        maps: list[Tensor | None] = [None] * self.classes
        for places, kept in zip(self.rows, self.cross.get(index, []), strict=True):
            by_head = kept if heads == "each" else _over_heads(kept, heads)
            for position, columns in places:
                maps[position] = _over_tokens(by_head[..., columns], tokens)
        found = [one for one in maps if one is not None]
        if not found:
            return torch.zeros(0, height, width, dtype=torch.float32, device="cpu")
        stacked = torch.stack(found, dim=-2)
        return stacked.reshape(*stacked.shape[:-1], height, width)

    def _same_side(self, spec: Spec, maps: Tensor | None = None) -> list[Layer]:
        layers = [self.layers[index] for index in select(spec, self.layers)]
        sides = {layer.resolution for layer in layers}
        if len(sides) > 1:
            raise MethodError(f"The layers {canonical(spec)!r} have several sides, {sorted(sides)}: choose one side.")
        if maps is not None and tuple(maps.shape[1:]) != layers[0].resolution:
            raise MethodError(
                f"Maps of {tuple(maps.shape[1:])} meet self-attention of {layers[0].resolution}: resize them to that."
            )
        return layers

    def _own(self, layer: Layer, rows: str) -> list[tuple[Tensor, Tensor]]:
        kept = self.own.get(layer.index, [])
        needed = 1 if rows == "first" else len(self.rows)
        if len(kept) < needed or not kept:
            part = "self-first" if rows == "first" else "self"
            raise MethodError(f"Self-attention of layer {layer.index} was not asked for: declare {part}:{layer.index}.")
        return kept[:needed]


def _over_heads(kept: Tensor, how: str) -> Tensor:
    if how == "mean":
        return kept.mean(dim=0)
    if how == "max":
        return kept.amax(dim=0)
    raise MethodError(f"Heads cannot be joined by {how!r}; it is `mean`, `max` or `each`.")


def _over_tokens(kept: Tensor, how: str) -> Tensor:
    """(..., tokens) of one class -> (...)."""
    if how == "mean":
        return kept.mean(dim=-1)
    if how == "sum":
        return kept.sum(dim=-1)
    if how == "max":
        return kept.amax(dim=-1)
    if how == "last":
        return kept[..., -1]
    raise MethodError(f"Tokens of a name cannot be joined by {how!r}; it is `mean`, `sum`, `max` or `last`.")
