"""Class maps flow in, and flow out constant within regions that self-attention holds together: R6.

Regions are found as in DiffSeg (google/diffseg, segmentor.py): the rows of S at a grid of anchors are merged while the
mean of KL(a|b) and KL(b|a) is below a threshold; every position then joins the merged row that is largest there. Each
region takes the mean of C over its positions, or (take=majority) 1 for the class most of them prefer. Forms S: costly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Parts
from harness.contracts.sending import sent
from methods.diffusion.layers import own_part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from methods.diffusion.features import DiffusionFeatures


@dataclass(frozen=True)
class Vote:
    """anchors: a side of their grid. threshold: in nats (DiffSeg, 64 x 64: 1.1 on COCO, .9 on Cityscapes)."""

    resolution: str = "largest"
    anchors: int = 16
    threshold: float = 1.0
    merges: int = 3
    take: str = "mean"
    rows: str = "mean"

    def parts(self) -> Parts:
        return frozenset({own_part(self.resolution, self.rows)})

    def refine(self, maps: Tensor, features: DiffusionFeatures) -> Tensor:
        from methods.diffusion.maps import resized

        side = features.side(self.resolution)
        inner = resized(maps, side).flatten(1)
        attention = features.self_attention(self.resolution, self.rows)
        rows = merged(attention, anchor_positions(side, self.anchors), self.threshold, self.merges)
        member = memberships(rows.argmax(dim=0), len(rows)).to(inner.dtype)  # (positions, regions)
        if self.take == "majority":
            inner = memberships(inner.argmax(dim=0), len(inner)).to(inner.dtype).T
        share = (inner @ member) / member.sum(dim=0).clamp(min=1.0)
        if self.take == "majority":
            share = memberships(share.argmax(dim=0), len(share)).to(inner.dtype).T
        return resized((share @ member.T).reshape(len(maps), *side), (maps.shape[1], maps.shape[2]))


def anchor_positions(side: tuple[int, int], count: int) -> list[int]:
    """Flat positions of an even grid of at most count x count places."""
    rows, columns = (
        [(2 * place + 1) * length // (2 * min(count, length)) for place in range(min(count, length))] for length in side
    )
    return [row * side[1] + column for row in rows for column in columns]


def merged(attention: Tensor, anchors: list[int], threshold: float, merges: int) -> Tensor:
    """Rows of attention that stand for regions, (regions, positions): anchors first join all rows near to them, then
    what is near to each other is joined, in order, again and again."""
    import torch

    first = attention.index_select(0, sent(torch.tensor(anchors, dtype=torch.int64, device="cpu"), attention.device))
    near = distances(first, attention) < threshold
    proposals = (near.to(attention.dtype) @ attention) / near.sum(dim=1, keepdim=True).clamp(min=1)
    for _ in range(merges):
        close = distances(proposals, proposals) < threshold
        proposals = joined_rows(proposals, groups_of(close.cpu().numpy()))  # one wait for a card, in place of one a row
    return proposals


def groups_of(close: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Which rows are joined: in order, every one that is free with all free ones that are close to it."""
    import numpy as np

    free, groups = np.ones(len(close), bool), []
    for place, near in enumerate(close):
        if free[place]:
            near = near & free
            near[place] = True
            groups.append(np.flatnonzero(near))
            free &= ~near
    return groups


def joined_rows(proposals: Tensor, groups: Sequence[NDArray[np.int64]]) -> Tensor:
    """The mean row of every group; on a card by one product."""
    import numpy as np
    import torch

    if proposals.device.type == "cpu":
        return torch.stack([proposals[torch.from_numpy(one)].mean(dim=0) for one in groups])
    shares = np.zeros((len(groups), len(proposals)), np.float32)
    for number, one in enumerate(groups):
        shares[number, one] = 1 / len(one)
    return sent(torch.from_numpy(shares), proposals.device).to(proposals.dtype) @ proposals


def memberships(region: Tensor, count: int) -> Tensor:
    """(positions, regions), 1 where a position is of a region; nobody waits for a card to say how many regions have
    positions."""
    import torch

    if region.device.type == "cpu":
        return torch.nn.functional.one_hot(region, count)
    return region[:, None] == torch.arange(count, device=region.device)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Mean of both Kullback-Leibler divergences between rows: (a, n) and (b, n) -> (a, b), in nats."""
    first, second = first.clamp(min=1e-20), second.clamp(min=1e-20)
    log_first, log_second = first.log(), second.log()
    own = (first * log_first).sum(dim=1)[:, None] + (second * log_second).sum(dim=1)[None]
    return (own - first @ log_second.T - log_first @ second.T) / 2.0
