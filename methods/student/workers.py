"""What every group of a batch gave flows in; its sum flows out, the same bits however many workers had the groups.

Floats are added in the order of the groups' numbers, as one process adds them. So that this costs no more than a plain
sum over workers, each worker adds up its own slice of all groups, and the slices are handed round.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

THREADS = 1  # of one worker on CPUs: another number gives other last bits, and on small maps is hardly faster


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers in one row."""
    return torch.cat([one.reshape(-1) for one in tensors])


def unflatten(row: Tensor, tensors: Sequence[Tensor]) -> None:
    """Put the numbers of a row back into tensors."""
    for one, part in zip(tensors, torch.split(row, [one.numel() for one in tensors]), strict=True):
        one.copy_(part.view_as(one))


def summed(mine: Sequence[Tensor], groups: int, rank: int, world: int) -> Tensor:
    """The sum over all groups, group g being the (g // world)-th of worker g % world. mine: rows of equal length.

    Every worker takes part, with at least one group.
    """
    if world == 1:
        return _in_order(mine)
    import torch.distributed as workers

    length = len(mine[0])
    part = -(-length // world)
    given = torch.stack([torch.nn.functional.pad(row, (0, part * world - length)) for row in mine])
    sent = given.view(len(mine), world, part).transpose(0, 1).reshape(-1)
    held = [len(range(other, groups, world)) for other in range(world)]
    taken = sent.new_empty(sum(held) * part)
    workers.all_to_all_single(taken, sent, [count * part for count in held], [len(mine) * part] * world)
    slices = [one.view(-1, part) for one in torch.split(taken, [count * part for count in held])]
    own = _in_order([slices[group % world][group // world] for group in range(groups)])
    parts = [torch.empty_like(own) for _ in range(world)]
    workers.all_gather(parts, own)
    return torch.cat(parts)[:length]


def _in_order(rows: Sequence[Tensor]) -> Tensor:
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    return total
