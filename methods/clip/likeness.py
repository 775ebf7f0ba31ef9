"""Tokens and how alike they are flow in; attention that keeps what is alike, and tokens gathered by it, flow out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 0.4  # likenesses below it gather nothing


def likeness(tokens: Tensor) -> Tensor:
    """Cosines (..., places, places) between tokens (..., places, width)."""
    unit = F.normalize(tokens, dim=-1)
    return unit @ unit.transpose(-1, -2)


def sharpened(alike: Tensor, beta: float, gamma: float, together: bool = False) -> Tensor:
    """Rows of softmax(gamma (s - beta mean s)) over what is positive, the mean of a whole matrix (..., places, places),
    or of all matrices together.

    A place always attends to itself, so that one picture of a single colour is no division by zero.
    """
    centred = alike - beta * (alike.mean() if together else alike.mean(dim=(-1, -2), keepdim=True))
    own = torch.eye(alike.shape[-1], dtype=torch.bool, device=alike.device)
    return (gamma * centred).masked_fill((centred < 0) & ~own, float("-inf")).softmax(dim=-1)


def gathered(tokens: Tensor, alike: Tensor) -> Tensor:
    """Every token (..., places, width) as the mean of those that are like it, weighted by how much."""
    weights = alike.where(alike >= FLOOR, alike.new_zeros(()))
    return weights @ tokens / (weights.sum(dim=-1, keepdim=True) + 1e-6)


def repaired(tokens: Tensor, odd: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (windows, patches, width); each odd one is the mean of those of its up to 8 neighbours that are not odd.

    odd: (windows, patches). One that has only odd neighbours is left as it is.
    """
    sound = F.pad((~odd).to(tokens.dtype).reshape(-1, 1, *grid), (1, 1, 1, 1))
    planes = F.pad(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid), (1, 1, 1, 1)) * sound
    around = tokens.new_ones(1, 1, 3, 3)
    around[..., 1, 1] = 0
    total = F.conv2d(planes.flatten(0, 1)[:, None], around).reshape(tokens.transpose(1, 2).shape).transpose(1, 2)
    count = F.conv2d(sound, around).reshape(*odd.shape, 1)
    return torch.where(odd[..., None] & (count > 0), total / count.clamp(min=1), tokens)
