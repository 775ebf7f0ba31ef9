"""The prompts of an image flow in; where the tokens of its classes stand flows out, as tensors on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.diffusion.prompts import Prompt

PROMPT = 2**20  # a token of a class is the number of its prompt times this, plus that of its column


@dataclass(frozen=True, eq=False)
class Places:
    """Token places of the prompts of one image.

    columns: (prompts, positions of the text encoder), the start mark's place, then those of all classes' tokens, then
    again the start mark's, which belongs to no class. bags: (classes, longest name), the tokens of every class, 0 where
    a name has no more. count: prompts, as a tensor. used: columns up to the last token of a class, at most.
    """

    columns: Tensor
    bags: Tensor
    count: Tensor
    used: int

    @property
    def prompts(self) -> int:
        return self.columns.shape[0]

    @property
    def classes(self) -> int:
        return self.bags.shape[0]


def places_of(prompts: Sequence[Prompt], positions: int, device: torch.device) -> Places:
    """Sent to the device once, for all images that are offered the same."""
    columns, bags = [], dict[int, list[int]]()
    for number, prompt in enumerate(prompts):
        held = [0]
        for position, tokens in prompt.places:
            bags[position] = [number * PROMPT + len(held) + place for place in range(len(tokens))]
            held += tokens
        columns.append(held)
    used, longest = (max(map(len, lists), default=1) for lists in (columns, bags.values()))
    table = [held + [0] * (max(positions, used) - len(held)) for held in columns]
    filled = [bags[position] + [0] * (longest - len(bags[position])) for position in sorted(bags)]
    there = partial(torch.tensor, dtype=torch.int64, device=device)
    return Places(
        there(table).reshape(len(table), -1 if table else positions),
        there(filled).reshape(len(filled), longest),
        there(len(columns)),
        used,
    )


def columns_of(places: Sequence[tuple[Places, int]], width: int) -> Tensor:
    """(rows, width) first columns of prompts, each the one of that number of an image's."""
    lines = [one.columns[number, :width] for one, number in places]
    return torch.stack([F.pad(line, (0, width - len(line))) if len(line) < width else line for line in lines])


def bags_of(places: Sequence[Places], width: int, last: bool = False) -> Tensor:
    """(images, classes, tokens): for the tokens of every class, or its last one, the rows of a table (images' prompts
    one after the other, `width` columns each). Row 0 stands for no token: of a class that others have and an image has
    not, all are. Nothing is sent to the device."""
    classes, longest = (max(one.bags.shape[axis] for one in places) for axis in (0, 1))
    filled = [
        one.bags if one.bags.shape == (classes, longest)
        else F.pad(one.bags, (0, longest - one.bags.shape[1], 0, classes - one.bags.shape[0]))
        for one in places
    ]  # fmt: skip
    held = torch.stack(filled)
    if last:
        held = held.amax(dim=-1, keepdim=True)
    counts = torch.stack([one.count for one in places])
    first = (counts.cumsum(dim=0) - counts).view(-1, 1, 1)
    prompt = torch.div(held, PROMPT, rounding_mode="floor")
    return ((prompt + first) * width + held - prompt * PROMPT) * (held > 0)
