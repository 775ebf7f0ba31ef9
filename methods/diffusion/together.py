"""What one pass of a diffusion model left of some images flows in; class maps and refined maps of all of them at once
flow out.

Every plane is worked on by itself, with arithmetic whose result does not depend on how many planes there are: images
are offered different numbers of classes, and planes that only others have (zeros) must change no bit of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import MethodError
from methods.diffusion.aside import Piece, in_memory
from methods.diffusion.attention import attend, filled_up, probabilities
from methods.diffusion.layers import Layer, Spec, canonical, select
from methods.diffusion.many_prompts import LARGE, Weighed, under_mean
from methods.diffusion.maps import mean_in_order
from methods.diffusion.places import Places, bags_of

Value = TypeVar("Value")
Pieces: TypeAlias = "list[tuple[Piece, Piece]]"  # queries and keys, each (rows, heads, positions, width), in order
AT_ONCE = 2**30  # bytes of a card's probabilities, when they are formed: of 16 heads of 64 x 64 positions
MODES = {"mean": "mean", "sum": "sum", "max": "max", "last": "sum"}  # of a name's tokens: how a bag of them is joined


class Bags(NamedTuple):
    """Which columns belong to every class, one after the other, where each class's begin, and (images, classes)."""

    flat: Tensor
    starts: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, bags: Tensor) -> Bags:
        """Bags (images, classes, tokens) of one length."""
        images, classes, tokens = bags.shape
        starts = torch.arange(0, bags.numel(), tokens, dtype=bags.dtype, device=bags.device)
        return cls(bags.flatten(), starts, (images, classes))


@dataclass(eq=False)
class Together:
    """Verbs over the attention of some images; all results are float32 on the network's device.

    layers: all of the network. latent: (height, width). contents: of every image, the part of it, from the top left
    corner, that holds the image. places: of every image, where its classes' tokens are; an image has a row a
    prompt. cross: by layer (rows, columns, positions), mean over heads. heads: the same with heads apart, (rows, heads,
    columns, positions). own, first: by layer, queries and keys of all rows, or of every image's first. start: the place
    of the first image in its batch. memo: what readers share.
    """

    layers: tuple[Layer, ...]
    latent: tuple[int, int]
    contents: tuple[tuple[int, int], ...]
    places: tuple[Places, ...]
    cross: dict[int, Tensor] = field(default_factory=dict)
    heads: dict[int, Tensor] = field(default_factory=dict)
    own: dict[int, Pieces] = field(default_factory=dict)
    first: dict[int, Pieces] = field(default_factory=dict)
    start: int = 0
    memo: dict[Hashable, Any] | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def classes(self) -> tuple[int, ...]:
        """How many were asked for, by image; planes beyond them are zeros."""
        return tuple([one.classes for one in self.places])

    def only(self, number: int) -> Together:
        """The image of that number alone, as views."""
        before = sum(one.prompts for one in self.places[:number])
        rows = slice(before, before + self.places[number].prompts)
        return Together(
            self.layers, self.latent, self.contents[number : number + 1], self.places[number : number + 1],
            cross={index: kept[rows] for index, kept in self.cross.items()},
            heads={index: kept[rows] for index, kept in self.heads.items()},
            own={index: rows_between(kept, rows.start, rows.stop) for index, kept in self.own.items()},
            first={index: rows_between(kept, number, number + 1) for index, kept in self.first.items()},
            start=self.start + number,
        )  # fmt: skip

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What was made under this key, for all who read the pass; they only look at it."""
        if self.memo is None:
            return make()
        if key not in self.memo:
            self.memo[key] = make()
        return cast(Value, self.memo[key])

    def class_maps(self, spec: Spec = "all", tokens: str = "mean", heads: str = "mean") -> list[tuple[Layer, Tensor]]:
        """Attention from image to class, one (layer, (images, classes, height, width)) for each layer, in network
        order; (images, heads, classes, height, width) for `each` head. See DiffusionFeatures."""
        if tokens not in MODES:
            raise MethodError(f"Tokens of a name cannot be joined by {tokens!r}; it is `mean`, `sum`, `max` or `last`.")
        if heads not in ("mean", "max", "each"):
            raise MethodError(f"Heads cannot be joined by {heads!r}; it is `mean`, `max` or `each`.")
        chosen, last = select(spec, self.layers), tokens == "last"
        width = max((kept.shape[-2] for one in (self.cross, self.heads) for kept in one.values()), default=0)
        bags = self.once(("bags", last), lambda: Bags.of(bags_of(self.places, width, last)))
        return [(self.layers[index], self._class_map(index, bags, tokens, heads)) for index in chosen]

    def propagate(self, maps: Tensor, spec: Spec, times: int = 1, rows: str = "mean") -> Tensor:
        """S applied `times` times to maps (images, classes, height, width). See DiffusionFeatures.

        On a CPU an image of several prompts, or of many positions, goes by itself, under the mean of all probabilities
        where that is less work."""
        layers, counts = self._same_side(spec, maps), self._counts(rows)
        large = maps.shape[-2] * maps.shape[-1] >= LARGE
        alone = maps.device.type == "cpu" and (large or max(counts) > 1)
        if alone and len(self) > 1:
            every = enumerate(torch.split(maps, 1))
            return torch.cat([self.only(number).propagate(own, spec, times, rows) for number, own in every])
        (queries, _), *_ = self._own(layers[0], rows)
        flat = filled_up(maps.flatten(2).transpose(1, 2), queries.shape[-1])
        if alone and (large or times > 1 or self.classes[0] > queries.shape[-1]):
            spread = under_mean(self._weighed(layers, rows), flat[0], queries.shape[-1], times)
            return spread[:, : maps.shape[1]].T.reshape(maps.shape)
        whose = [image for image, count in enumerate(counts) for _ in range(count)]
        for _ in range(times):
            values = flat if set(counts) == {1} else torch.stack([flat[image] for image in whose])
            total = self._under(values, layers[0], rows)
            for layer in layers[1:]:
                total = total + self._under(values, layer, rows)
            flat = _by_image(total, counts) / len(layers)
        return flat[..., : maps.shape[1]].transpose(1, 2).reshape(maps.shape)

    def self_attention(
        self, spec: Spec, rows: str = "mean", heads: Sequence[int] | None = None, number: int = 0
    ) -> Tensor:
        """S of the image of that number itself, (positions, positions). See DiffusionFeatures."""
        layers, total, count = self._same_side(spec), None, 0
        for queries, keys in ((queries, keys) for layer in layers for queries, keys in self._rows(layer, rows, number)):
            for own in _slices(queries, heads):
                part = probabilities(queries[own], keys[own])
                summed = part[0] if len(part) == 1 else part.sum(dim=0)
                total = summed if total is None else total.add_(summed)
                count += len(part)
        if total is None:
            raise MethodError(f"No heads were chosen of the self-attention of the layers {canonical(spec)!r}.")
        return total.div_(count)

    def heads_of(self, index: int) -> int:
        """How many heads of a layer's class maps are kept; 1 where none is."""
        return self.heads[index].shape[1] if index in self.heads else 1

    def side(self, spec: Spec) -> tuple[int, int]:
        """(height, width) that the layers share; MethodError when they do not share one."""
        return self._same_side(spec)[0].resolution

    @property
    def whole(self) -> bool:
        """Whether every image fills its latent."""
        return all(held == self.latent for held in self.contents)

    def crop(self, maps: Tensor, number: int = 0) -> Tensor:
        """The part of an image's maps (.., height, width) that shows it, without padding."""
        height, width = (
            max(1, round(side * held / full))
            for side, held, full in zip(maps.shape[-2:], self.contents[number], self.latent, strict=True)
        )
        return maps[..., :height, :width]

    def _class_map(self, index: int, bags: Bags, tokens: str, heads: str) -> Tensor:
        side, most = self.layers[index].resolution, max(self.classes)
        device = self.places[0].columns.device
        if not most:
            return torch.zeros(len(self), *[1] * (heads == "each"), 0, *side, dtype=torch.float32, device=device)
        kept = self.cross if heads == "mean" else self.heads
        if index not in kept:
            more = "" if heads == "mean" else f" and `heads` (they are joined by {heads!r})"
            raise MethodError(
                f"The class maps of layer {index} were not asked for: declare `cross:{index}`{more} as a part."
            )
        found, mode = kept[index], MODES[tokens]
        if heads == "each":
            joined = torch.stack([_joined(found[:, head], bags, mode) for head in range(found.shape[1])], dim=1)
        else:
            joined = _joined(found.amax(dim=1) if heads == "max" else found, bags, mode)
        return joined.reshape(*joined.shape[:-1], *side)

    def _counts(self, rows: str) -> list[int]:
        """How many rows every image has."""
        return [1 if rows == "first" else one.prompts for one in self.places]

    def _under(self, values: Tensor, layer: Layer, rows: str) -> Tensor:
        """Values (rows, positions, columns) under each row's own S of one layer."""
        found, start = [], 0
        for queries, keys in self._own(layer, rows):
            rows_there = in_memory(queries), in_memory(keys)
            found.append(attend(*rows_there, values[start : start + len(queries)]))
            start += len(queries)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _weighed(self, layers: Sequence[Layer], rows: str) -> list[Weighed]:
        """Queries and keys of the one image there is. The network's first self-attention comes before any prompt is
        looked at, so it is one for all prompts, and is computed once."""
        (count,), found = self._counts(rows), []
        for layer in layers:
            own, same = self._own(layer, rows), layer.index == 0
            pieces = rows_between(own, 0, 1) if same else own
            found += [Weighed(queries, keys, count if same else 1) for queries, keys in pieces]
        return found

    def _rows(self, layer: Layer, rows: str, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Queries and keys (heads, positions, width) of the rows of one image."""
        counts = self._counts(rows)
        before = sum(counts[:number])
        for queries, keys in rows_between(self._own(layer, rows), before, before + counts[number]):
            yield from zip(in_memory(queries), in_memory(keys), strict=True)

    def _same_side(self, spec: Spec, maps: Tensor | None = None) -> list[Layer]:
        layers = [self.layers[index] for index in select(spec, self.layers)]
        sides = {layer.resolution for layer in layers}
        if len(sides) > 1:
            raise MethodError(f"The layers {canonical(spec)!r} have several sides, {sorted(sides)}: choose one side.")
        if maps is not None and tuple(maps.shape[-2:]) != layers[0].resolution:
            raise MethodError(
                f"Maps of {tuple(maps.shape[-2:])} meet self-attention of {layers[0].resolution}: resize them to that."
            )
        return layers

    def _own(self, layer: Layer, rows: str) -> Pieces:
        if rows == "first" and layer.index in self.first:
            return self.first[layer.index]
        kept = self.own.get(layer.index)
        if not kept:
            part = "self-first" if rows == "first" else "self"
            raise MethodError(f"Self-attention of layer {layer.index} was not asked for: declare {part}:{layer.index}.")
        counts = self._counts("mean")
        if rows == "mean" or max(counts) == 1:
            return kept
        before = [sum(counts[:number]) for number in range(len(counts))]
        return [piece for row in before for piece in rows_between(kept, row, row + 1)]


def rows_between(pieces: Pieces, start: int, stop: int) -> Pieces:
    """Some rows of pieces that lie one after the other, as views."""
    found, before = [], 0
    for queries, keys in pieces:
        own = slice(max(0, start - before), max(0, stop - before))
        if own.start < len(queries) and own.stop > own.start:
            found.append((queries[own], keys[own]))
        before += len(queries)
    return found


def _slices(queries: Tensor, heads: Sequence[int] | None) -> list[slice]:
    """Which heads' probabilities exist at once: one, or on a card, where each costs launches, as many as fit."""
    if heads is not None:
        return [slice(head, head + 1) for head in heads]
    count, positions, _ = queries.shape
    step = 1 if queries.device.type == "cpu" else max(1, AT_ONCE // (4 * positions**2))
    return [slice(start, start + step) for start in range(0, count, step)]


def _joined(table: Tensor, bags: Bags, mode: str) -> Tensor:
    """(rows, columns, positions) -> (images, classes, positions): every class's bag of columns, one after the other."""
    found = F.embedding_bag(bags.flat, table.flatten(0, 1), bags.starts, mode=mode, padding_idx=0)
    return found.view(*bags.shape, -1)


def _by_image(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """The mean over every image's rows, added up in their order, however many the others have."""
    if len(set(counts)) == 1:
        return rows if counts[0] == 1 else mean_in_order(rows.view(-1, counts[0], *rows.shape[1:]).unbind(dim=1))
    return torch.stack([mean_in_order(own) for own in torch.split(rows, list(counts))])
