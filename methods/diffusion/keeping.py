"""Queries and keys of the attention layers of a batch flow in, call by call; what readers asked of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from harness.contracts import Image
from methods.diffusion.aside import Piece, TensorFile
from methods.diffusion.attention import Wanted, by_token
from methods.diffusion.features import DiffusionBatch
from methods.diffusion.layers import Layer
from methods.diffusion.places import Places, columns_of
from methods.diffusion.row_calls import UNetCall
from methods.diffusion.together import Pieces, Together, rows_between

AT_A_TIME = {"cpu": 2**24}  # bytes of probabilities, or of class maps, that are worked on together, by kind of device
ON_A_CARD = 2**31
CLASSES = 64  # of an image, when it is said how many images are worked on together


class Kept:
    """What is kept of one pass. places: by image. calls: of the UNet."""

    def __init__(self, places: Sequence[Places], calls: Sequence[UNetCall], wanted: Wanted) -> None:
        self._places, self._wanted = places, wanted
        self._width = max(one.used for one in places)
        self._cross: dict[int, Tensor] = {}
        self._heads: dict[int, Tensor] = {}
        self._own: dict[int, Pieces] = {}
        self._first: dict[int, Pieces] = {}
        self._laid = TensorFile() if max((one.prompts for one in places), default=0) > 1 else None
        self._call, self._start, self._columns = UNetCall((), 0), 0, torch.empty(0, device="cpu")
        self._images = [row.image for call in calls for row in call.asked]
        starts = accumulate((len(call.asked) for call in calls), initial=0)
        self._whole = max((start + len(call.rows) for start, call in zip(starts, calls, strict=False)), default=0)

    def begin(self, call: UNetCall) -> None:
        """The next call is this one."""
        self._start, self._call = self._start + len(self._call.asked), call
        self._columns = columns_of([(self._places[row.image], row.place) for row in call.rows], self._width)

    def take(self, kind: str, index: int, queries: Tensor, keys: Tensor) -> None:
        """What is wanted of one layer; copies that fill a call up are left out of what is read later."""
        if kind == "attn2":
            self._take_cross(index, queries, keys)
        asked = self._call.asked
        if kind == "attn1" and index in self._wanted.own:
            read = self._aside(queries[: len(asked)]), self._aside(keys[: len(asked)])
            self._own.setdefault(index, []).append(read)
        elif kind == "attn1":
            firsts = [number for number, row in enumerate(asked) if row.place == 0]
            if firsts and len(firsts) < len(queries):  # the others need not stay in memory
                queries, keys = (torch.stack([one[number] for number in firsts]) for one in (queries, keys))
            if firsts:
                self._first.setdefault(index, []).append((queries, keys))

    def _aside(self, tensor: Tensor) -> Piece:
        """Out of memory while other prompts of an image go through, unless it is a card's."""
        return tensor if self._laid is None or tensor.device.type != "cpu" else self._laid.put(tensor)

    def _take_cross(self, index: int, queries: Tensor, keys: Tensor) -> None:
        """The probabilities of all tokens live only until the columns are picked: of a few rows at a time on a CPU."""
        rows, heads, positions, _ = queries.shape
        if index not in self._cross:
            fresh = partial(torch.empty, dtype=torch.float32, device=queries.device)
            self._cross[index] = fresh(self._whole, self._width, positions)
            if self._wanted.heads:
                self._heads[index] = fresh(self._whole, heads, self._width, positions)
        step = together(rows, heads * positions * keys.shape[2] * 4, queries.device)
        for start in range(0, rows, step):
            own, there = slice(start, start + step), slice(self._start + start, self._start + start + step)
            seen = by_token(queries[own], keys[own])
            columns = self._columns[own, :, None].expand(-1, -1, positions)
            torch.gather(seen.mean(dim=1), 1, columns, out=self._cross[index][there])
            if self._wanted.heads:
                by_head = columns[:, None].expand(-1, heads, -1, -1)
                torch.gather(seen, 2, by_head, out=self._heads[index][there])

    def batch(
        self,
        layers: tuple[Layer, ...],
        latent: tuple[int, int],
        contents: Sequence[tuple[int, int]],
        images: Sequence[Image],
    ) -> DiffusionBatch:
        """What was kept, in groups of images that are worked on together."""
        count = len(images)
        step = together(count, len(layers) * CLASSES * latent[0] * latent[1] * 4, self._places[0].bags.device)
        groups = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            rows, firsts = self._spans(range(start, stop)), self._spans(range(start, stop), first=True)
            groups.append(
                Together(
                    layers, latent, tuple(contents[start:stop]), tuple(self._places[start:stop]),
                    cross={index: _joined(kept, rows) for index, kept in self._cross.items()},
                    heads={index: _joined(kept, rows) for index, kept in self._heads.items()},
                    own={index: _pieces(kept, rows) for index, kept in self._own.items()},
                    first={index: _pieces(kept, firsts) for index, kept in self._first.items()},
                    start=start,
                    memo={},
                )
            )  # fmt: skip
        return DiffusionBatch(groups, images)

    def _spans(self, images: range, first: bool = False) -> list[slice]:
        """Where the rows of some images lie among all that were asked, or among every image's first: one slice where
        they lie one after the other, as they do unless calls are of several sizes."""
        order = list(dict.fromkeys(self._images))
        counts = [1 if first else one.prompts for one in self._places]
        starts = dict(zip(order, accumulate((counts[image] for image in order), initial=0), strict=False))
        found: list[slice] = []
        for image in [image for image in images if image in starts]:  # one without names may have no row
            own = slice(starts[image], starts[image] + counts[image])
            if found and found[-1].stop == own.start:
                own = slice(found.pop().start, own.stop)
            found.append(own)
        return found


def _joined(kept: Tensor, spans: Sequence[slice]) -> Tensor:
    return torch.cat([kept[span] for span in spans]) if len(spans) > 1 else kept[spans[0] if spans else slice(0)]


def _pieces(kept: Pieces, spans: Sequence[slice]) -> Pieces:
    return [piece for span in spans for piece in rows_between(kept, span.start, span.stop)]


def together(count: int, size: int, device: torch.device) -> int:
    """How many of `count`, of `size` bytes each, are worked on at a time: as many as divide it and fit."""
    most = max(1, AT_A_TIME.get(device.type, ON_A_CARD) // max(1, size))
    return max(step for step in range(1, count + 1) if count % step == 0 and (step <= most or step == 1))
