"""A network flows in after every step of its training; the running average of its weights flows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningAverage:
    """a <- d a + (1 - d) w after every step, d = min(decay, (1 + n) / (10 + n)) after step n; none for a decay of 0.

    It begins with the weights that the training begins with. Statistics of batch normalisation are averaged too, whole
    numbers are the network's.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.held: dict[str, Tensor] = {}
        if decay:
            self.held = {name: one.detach().clone() for name, one in _floats(network).items()}

    def load(self, held: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint held."""
        for name, one in held.items():
            self.held[name].copy_(one)

    @torch.no_grad()
    def take(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step (counted from 1) in."""
        if self.held:
            kept = min(self._decay, (1 + step) / (10 + step))
            now = _floats(network)
            torch._foreach_lerp_(list(self.held.values()), [now[name] for name in self.held], 1.0 - kept)

    def give(self, network: nn.Module) -> None:
        """Put the average in place of the network's weights."""
        _put(self.held, network)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """The network has the average for a while, and its own weights after."""
        own = {name: one.detach().clone() for name, one in _floats(network).items() if name in self.held}
        self.give(network)
        try:
            yield
        finally:
            _put(own, network)


def _floats(network: nn.Module) -> dict[str, Tensor]:
    return {name: one for name, one in network.state_dict().items() if one.is_floating_point()}


@torch.no_grad()
def _put(held: Mapping[str, Tensor], network: nn.Module) -> None:
    now = network.state_dict()
    for name, one in held.items():
        now[name].copy_(one)
