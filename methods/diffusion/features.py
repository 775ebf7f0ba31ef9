"""What one pass of a diffusion model left of a batch flows in; features, an image or a group at a time, flow out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor

from harness.contracts import Image
from methods.diffusion.layers import Layer, Spec
from methods.diffusion.together import Together


@dataclass(eq=False)
class DiffusionFeatures:
    """Verbs over the attention of one image; all results are float32 on the network's device, and the asker's own.

    alone: the attention. image: what was looked at, as the query gave it.
    """

    alone: Together
    image: Image | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of the network."""
        return self.alone.layers

    @property
    def latent(self) -> tuple[int, int]:
        """(height, width)."""
        return self.alone.latent

    @property
    def classes(self) -> int:
        """How many were asked for."""
        return self.alone.classes[0]

    def class_maps(self, spec: Spec = "all", tokens: str = "mean", heads: str = "mean") -> list[tuple[Layer, Tensor]]:
        """Attention from image to class, one (layer, (classes, height, width)) for each layer, in network order.

        Probabilities over all tokens of the prompt, at the class's tokens: `mean`, `sum`, `max` or `last` of them, and
        `mean` or `max` over heads, or `each`: (heads, classes, height, width). `max` and `each` need the part `heads`.
        """
        return [(layer, maps[0]) for layer, maps in self.alone.class_maps(spec, tokens, heads)]

    def propagate(self, maps: Tensor, spec: Spec, times: int = 1, rows: str = "mean") -> Tensor:
        """S applied `times` times to maps (classes, height, width) at the layers' own resolution.

        S is the mean over heads, layers and prompts (`rows`: `mean`, or `first` for the first prompt only) of
        softmax(Q K^T / sqrt(width)). It is never formed: the maps stand in for the values of fused attention.
        """
        return self.alone.propagate(maps[None], spec, times, rows)[0]

    def self_attention(self, spec: Spec, rows: str = "mean", heads: Sequence[int] | None = None) -> Tensor:
        """S itself, (positions, positions), rows sum to 1, for refiners that change it entry by entry.

        Costly: positions squared floats (64 MiB at 64 x 64) and as much again while it is summed, a head at a time.
        """
        return self.alone.self_attention(spec, rows, heads)

    def heads_of(self, index: int) -> int:
        """How many heads of a layer's class maps are kept; 1 where none is."""
        return self.alone.heads_of(index)

    def side(self, spec: Spec) -> tuple[int, int]:
        """(height, width) that the layers share; MethodError when they do not share one."""
        return self.alone.side(spec)

    def crop(self, maps: Tensor) -> Tensor:
        """The part of maps (.., height, width) that shows the image, without padding."""
        return self.alone.crop(maps)


class DiffusionBatch(Sequence[DiffusionFeatures]):
    """Features of every image of a batch, in order; groups: the same, so many images at once as are worked on together.

    Which images are in a group depends on the batch's size alone.
    """

    def __init__(self, groups: Sequence[Together], images: Sequence[Image | None]) -> None:
        self.groups, self._images = tuple(groups), tuple(images)

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> DiffusionFeatures: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[DiffusionFeatures]: ...
    def __getitem__(self, place: int | slice) -> DiffusionFeatures | Sequence[DiffusionFeatures]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        number = range(len(self))[place]
        group = next(group for group in reversed(self.groups) if group.start <= number)
        return DiffusionFeatures(group.only(number - group.start), self._images[number])
