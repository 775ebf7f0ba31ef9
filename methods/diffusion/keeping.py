"""Queries and keys of the attention layers of a batch flow in, call by call; what readers asked of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from harness.contracts import Image
from methods.diffusion.attention import Wanted, by_token
from methods.diffusion.features import DiffusionBatch
from methods.diffusion.layers import Layer
from methods.diffusion.places import Places, columns_of
from methods.diffusion.prompts import Prompt
from methods.diffusion.together import Pieces, Together, rows_between

AT_A_TIME = {"cpu": 2**24}  # bytes of probabilities, or of class maps, that are worked on together, by kind of device
ON_A_CARD = 2**31
CLASSES = 64  # of an image, when it is said how many images are worked on together


class UNetRow(NamedTuple):
    """One row of a UNet call: which image of the batch, which of its prompts."""

    image: int
    place: int
    prompt: Prompt


class Kept:
    """What is kept of one pass. places: by image. step: rows of a call. rows: of all calls."""

    def __init__(self, places: Sequence[Places], rows: Sequence[UNetRow], step: int, wanted: Wanted) -> None:
        self._places, self._rows, self._step, self._wanted = places, rows, step, wanted
        self._width = max(one.used for one in places)
        self._cross: dict[int, Tensor] = {}
        self._heads: dict[int, Tensor] = {}
        self._own: dict[int, Pieces] = {}
        self._first: dict[int, Pieces] = {}
        self._start, self._columns = 0, torch.empty(0, device="cpu")

    def begin(self, start: int, full: Sequence[UNetRow]) -> None:
        """The next call is of these rows, the first of which has that number."""
        self._start = start
        self._columns = columns_of([(self._places[row.image], row.place) for row in full], self._width)

    def take(self, kind: str, index: int, queries: Tensor, keys: Tensor) -> None:
        """What is wanted of one layer; copies that fill a call up are left out of what is read later."""
        if kind == "attn2":
            self._take_cross(index, queries, keys)
        if kind == "attn1" and index in self._wanted.own:
            self._own.setdefault(index, []).append((queries, keys))
        elif kind == "attn1":
            part = self._rows[self._start : self._start + self._step]
            firsts = [number for number, row in enumerate(part) if row.place == 0]
            if firsts and len(firsts) < len(queries):  # the others need not stay in memory
                queries, keys = (torch.stack([one[number] for number in firsts]) for one in (queries, keys))
            if firsts:
                self._first.setdefault(index, []).append((queries, keys))

    def _take_cross(self, index: int, queries: Tensor, keys: Tensor) -> None:
        """The probabilities of all tokens live only until the columns are picked: of a few rows at a time on a CPU."""
        rows, heads, positions, _ = queries.shape
        whole = -(-len(self._rows) // self._step) * self._step
        if index not in self._cross:
            fresh = partial(torch.empty, dtype=torch.float32, device=queries.device)
            self._cross[index] = fresh(whole, self._width, positions)
            if self._wanted.heads:
                self._heads[index] = fresh(whole, heads, self._width, positions)
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
        before = [sum(one.prompts for one in self._places[:place]) for place in range(count + 1)]
        groups = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            rows = slice(before[start], before[stop])
            groups.append(
                Together(
                    layers, latent, tuple(contents[start:stop]), tuple(self._places[start:stop]),
                    cross={index: kept[rows] for index, kept in self._cross.items()},
                    heads={index: kept[rows] for index, kept in self._heads.items()},
                    own={index: rows_between(kept, rows.start, rows.stop) for index, kept in self._own.items()},
                    first={index: rows_between(kept, start, stop) for index, kept in self._first.items()},
                    start=start,
                    memo={},
                )
            )  # fmt: skip
        return DiffusionBatch(groups, images)


def together(count: int, size: int, device: torch.device) -> int:
    """How many of `count`, of `size` bytes each, are worked on at a time: as many as divide it and fit."""
    most = max(1, AT_A_TIME.get(device.type, ON_A_CARD) // max(1, size))
    return max(step for step in range(1, count + 1) if count % step == 0 and (step <= most or step == 1))
