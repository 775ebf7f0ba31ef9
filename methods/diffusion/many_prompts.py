"""Queries and keys of all prompts of an image flow in; maps under the mean of their self-attention flow out.

On a CPU, of as many positions as Stable Diffusion has: fused attention multiplies every head's probabilities with the
maps, and computes them anew for every slice of classes and every time they are applied. The mean of all probabilities
is one for all of that; it is formed a few positions at a time, and multiplied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from methods.diffusion.aside import Piece, in_memory

MEAN = 2**24  # bytes of the mean that exist at once
POSITIONS = 128  # whose probabilities are computed together
LARGE = 1024  # positions from which on the mean is less work for one prompt and few classes, too


class Weighed(NamedTuple):
    """Queries and keys, each (rows, heads, positions, width), and for how many rows each of theirs stands."""

    queries: Piece
    keys: Piece
    rows: int


def under_mean(pieces: Sequence[Weighed], values: Tensor, width: int, times: int) -> Tensor:
    """Values (positions, columns) `times` times under the mean over pieces, their rows and heads of
    softmax(Q K^T / sqrt(width)), in slices of `width` columns, so that none depends on how many others there are."""
    positions, columns = values.shape
    step = max(1, MEAN // (4 * positions))
    whole = mean_probabilities(pieces, slice(0, positions)) if step >= positions else None
    for _ in range(times):
        found = torch.empty_like(values)
        slices = [values[:, start : start + width].contiguous() for start in range(0, columns, width)]
        for start in range(0, positions, step):
            own = slice(start, min(start + step, positions))
            mean = mean_probabilities(pieces, own) if whole is None else whole
            for place, part in enumerate(slices):
                found[own, place * width : (place + 1) * width] = mean @ part
        values = found
    return values


def mean_probabilities(pieces: Sequence[Weighed], own: slice) -> Tensor:
    """The rows of the mean that belong to some positions, (positions of those, positions)."""
    positions, count = pieces[0].queries.shape[2], 0
    fresh = partial(torch.empty, dtype=torch.float32, device="cpu")
    total = fresh(len(range(positions)[own]), positions).zero_()
    for laid_queries, laid_keys, rows in pieces:
        for queries, keys in zip(in_memory(laid_queries), in_memory(laid_keys), strict=True):
            scaled = queries[:, own].float() * queries.shape[-1] ** -0.5
            _add(scaled, keys.float().transpose(1, 2).contiguous(), total, rows)
            count += rows * len(queries)
    return total.div_(max(1, count))


def _add(queries: Tensor, keys: Tensor, total: Tensor, rows: int) -> None:
    """The probabilities of all heads, so many times. queries: scaled (heads, positions of those, width). keys: (heads,
    width, positions). All heads of some positions come one after the other: their sum stays in the processor's cache.
    """
    shares = torch.empty(POSITIONS, total.shape[1], dtype=torch.float32, device="cpu")
    for start in range(0, len(total), POSITIONS):
        sums = total[start : start + POSITIONS]
        own = shares[: len(sums)]
        for query, key in zip(queries[:, start : start + POSITIONS], keys, strict=True):
            torch.mm(query, key, out=own)
            sums.add_(torch.softmax(own, dim=-1, out=own), alpha=rows)
