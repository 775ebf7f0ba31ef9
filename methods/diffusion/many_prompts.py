"""Queries and keys of all prompts of an image flow in; maps under the mean of their self-attention flow out.

On a CPU fused attention would be computed anew for every slice of classes. The mean of all probabilities is one for all
classes and all times that it is applied; it is formed a few positions at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from methods.diffusion.aside import Piece, in_memory

MEAN = 2**24  # bytes of the mean that exist at once
POSITIONS = 128  # whose probabilities are computed together


def under_mean(pieces: Sequence[tuple[Piece, Piece]], values: Tensor, width: int, times: int) -> Tensor:
    """Values (positions, columns) `times` times under the mean over pieces, their rows and heads of
    softmax(Q K^T / sqrt(width)), in slices of `width` columns, so that none depends on how many others there are.

    pieces: queries and keys, each (rows, heads, positions, width).
    """
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


def mean_probabilities(pieces: Sequence[tuple[Piece, Piece]], own: slice) -> Tensor:
    """The rows of the mean that belong to some positions, (positions of those, positions)."""
    (first, _), *_ = pieces
    positions, count = first.shape[2], 0
    fresh = partial(torch.empty, dtype=torch.float32, device="cpu")
    total = fresh(len(range(positions)[own]), positions).zero_()
    logits, shares = fresh(POSITIONS, positions), fresh(POSITIONS, positions)
    for laid_queries, laid_keys in pieces:
        for queries, keys in zip(in_memory(laid_queries), in_memory(laid_keys), strict=True):
            for query, key in zip(queries[:, own], keys, strict=True):
                scaled, flipped = query.float() * query.shape[-1] ** -0.5, key.float().contiguous().T
                for start in range(0, len(query), POSITIONS):
                    some = scaled[start : start + POSITIONS]
                    torch.mm(some, flipped, out=logits[: len(some)])
                    torch.softmax(logits[: len(some)], dim=-1, out=shares[: len(some)])
                    total[start : start + len(some)] += shares[: len(some)]
                count += 1
    return total.div_(max(1, count))
