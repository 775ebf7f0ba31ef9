"""Batch normalisation over all parts of a batch: against float64, against one worker, and whoever has the parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from harness.contracts import ModelError
from methods.student.synchronised import BatchShare, JoinedNetwork
from methods.student.training import _sliced

PARTS = [range(0, 1), range(1, 3), range(3, 4)]  # of sizes that differ, as where GPUs do not divide a batch


def branches(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Normalisation behind a convolution and behind two in parallel, one of them over a whole image."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, bias=False)  # a bias before normalisation has no gradient
            self.second, self.third = nn.Conv2d(4, 5, 1, bias=False), nn.Conv2d(4, 5, 1, bias=False)
            self.norms = nn.ModuleList([norm(4), norm(5), norm(5)])

        def forward(self, pixels: Tensor) -> Tensor:
            maps = self.norms[0](self.first(pixels)).relu()
            whole = self.norms[1](self.second(maps.mean(dim=(2, 3), keepdim=True)))
            return self.norms[2](self.third(maps)).sigmoid() * whole.tanh()  # type: ignore[no-any-return]

    torch.manual_seed(2)
    network = Branches()
    for module in network.norms:
        nn.init.uniform_(module.weight, 0.5, 1.5)  # type: ignore[arg-type]
        nn.init.uniform_(module.bias, -0.5, 0.5)  # type: ignore[arg-type]
    return network.train()


def squared(answer: Tensor) -> Tensor:
    return (answer - answer.flip(-1) * 0.3 + 0.1).square().sum()


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("parts", [PARTS, _sliced(range(4), 2), [range(4)]], ids=["uneven", "even", "one"])
def test_gradients_and_statistics_are_those_of_the_whole_batch(kind: Any, parts: list[range]) -> None:
    """As torch's own normalisation has them of the batch in one go, in double precision."""
    pixels = torch.randn(4, 3, 7, 9, generator=torch.Generator().manual_seed(1)) * 2 + 1
    plain = branches(kind).double()
    squared(plain(pixels.double())).backward()
    network = branches(kind)
    together = JoinedNetwork(network, BatchShare(parts, 0, 1, seed=0))
    with together.at_work():
        rows = together.learn(0, pixels, lambda answer, part: (squared(answer), torch.ones(1)))
    assert len(rows) == len(parts) and all(float(row[-1]) == 1.0 for row in rows)
    summed = [sum(row[place].double() for row in rows) for place in range(len(rows[0]) - 1)]
    for (name, one), found in zip(plain.named_parameters(), summed, strict=True):
        assert one.grad is not None and float((one.grad - found).norm() / one.grad.norm()) < 1e-4, name
    for name, buffer in plain.named_buffers():
        assert torch.allclose(buffer.double(), network.get_buffer(name).double(), atol=1e-6), name
    assert not any("forward" in vars(module) for module in network.modules())  # it is left as it was


def test_a_network_in_evaluation_is_as_it_was() -> None:
    network = branches().eval()
    pixels = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    before = network(pixels)
    with JoinedNetwork(network, BatchShare(PARTS, 0, 1, seed=0)).at_work():
        assert torch.equal(network(pixels), before)


def test_what_is_dropped_hangs_on_step_and_place_alone() -> None:
    """Not on who has an image, nor on what this process has drawn before."""

    def kept(parts: list[range], rank: int, world: int, step: int) -> Tensor:
        network = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(1, 1, 1), nn.Dropout2d(0.5)).train()
        shared = BatchShare(parts, rank, world, seed=7)
        together, seen = JoinedNetwork(network, shared), []
        torch.manual_seed(rank)
        network[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))  # type: ignore[arg-type]
        with together.at_work():
            size = sum(len(part) for part in shared.mine)
            together.learn(step, torch.ones(size, 1, 5, 6), lambda answer, _: (answer.sum(), torch.ones(1)))
        return torch.cat(seen)

    alone = kept([range(4)], 0, 1, step=3)
    halves = [kept([range(0, 4, 2), range(1, 4, 2)], rank, 2, step=3) for rank in (0, 1)]
    assert torch.equal(torch.stack(halves, dim=1).flatten(0, 1), alone)
    assert len({tuple(one.flatten().tolist()) for one in alone}) == 4  # every image has its own
    assert not torch.equal(kept([range(4)], 0, 1, step=4), alone)


def test_parts_of_an_encoder_that_cannot_be_taken_apart_are_refused() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.norm = nn.Parameter(torch.ones(3)), nn.BatchNorm2d(3)

    network = nn.Sequential(Mixed())
    with (
        pytest.raises(ModelError, match="A Mixed of this encoder has parameters beside batch normalisation or dropout"),
        JoinedNetwork(network, BatchShare(PARTS, 0, 1, seed=0)).at_work(),
    ):
        pass
    with JoinedNetwork(network, BatchShare([range(0, 2), range(2, 4)], 0, 2, seed=0)).at_work():
        pass  # one part a worker needs no gradients apart
