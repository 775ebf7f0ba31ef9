"""A network and the parts of a batch flow in; its gradients, with statistics that all parts have in common, flow out.

Parts are images that go through the network together, on one worker; batch normalisation looks at all parts of the
batch, whoever has them. torch.nn.SyncBatchNorm does so on GPUs alone, and its sums hang on the number of workers. Here
the moments of every part are handed round and joined in the order of the parts, and a part has gradients of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.contracts import ModelError

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BatchShare:
    """Who has which places of a batch: part q is with worker q % world. seed: of what is drawn while training."""

    parts: Sequence[range]
    rank: int
    world: int
    seed: int

    @property
    def mine(self) -> Sequence[range]:
        """The parts of this worker."""
        return self.parts[self.rank :: self.world]

    def split(self, tensor: Tensor) -> Sequence[Tensor]:
        """By this worker's parts: of what has one or several rows an image."""
        sizes = [len(places) for places in self.mine]
        return torch.split(tensor, [size * (len(tensor) // sum(sizes)) for size in sizes])

    def gathered(self, rows: Tensor) -> Tensor:
        """A row of each part here (parts of this worker, numbers) -> those of all parts, in their order."""
        if self.world == 1:
            return rows
        import torch.distributed as workers

        most = -(-len(self.parts) // self.world)
        sent = nn.functional.pad(rows, (0, 0, 0, most - len(rows)))
        held = [torch.empty_like(sent) for _ in range(self.world)]
        workers.all_gather(held, sent)
        return torch.stack([held[part % self.world][part // self.world] for part in range(len(self.parts))])


class JoinedNetwork:
    """A network whose training sees a batch as one, while this process holds a share of it."""

    def __init__(self, network: nn.Module, shared: BatchShare) -> None:
        self._network, self._shared = network, shared
        self._step = self._calls = 0
        self._wrapped: list[nn.Module] = []
        several = len(shared.mine) > 1
        held = dict.fromkeys(network.parameters())
        self._own = [{one: _alias(one) if several else one for one in held} for _ in shared.mine]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While it is, modules in training do what this class is for; in evaluation they are as they were."""
        try:
            self._wrap(self._network)
            yield
        finally:
            for module in self._wrapped:
                del module.forward
            self._wrapped.clear()

    def learn(
        self, step: int, pixels: Tensor, loss_of: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    ) -> list[list[Tensor]]:
        """For every part of this worker the gradients, and after them what it counted.

        pixels: of all its parts, in their order. loss_of: the logits of a part, and which of this worker's it is, to
        its loss and what is counted.
        """
        self._step, self._calls = step, 0
        for own in self._own:
            for one in own.values():
                one.grad = None
        found = [loss_of(answer, part) for part, answer in enumerate(self._shared.split(self._network(pixels)))]
        torch.stack([loss for loss, _ in found]).sum().backward()  # type: ignore[no-untyped-call]
        rows = zip(self._own, found, strict=True)
        return [[*(a.grad for a in own.values() if a.grad is not None), counted] for own, (_, counted) in rows]

    def gradients(self) -> list[Tensor]:
        """Where the optimiser looks for the gradients of the batch, in the order of those of a part."""
        for parameter, first in self._own[0].items():
            if first.grad is not None and parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
        return [parameter.grad for parameter in self._network.parameters() if parameter.grad is not None]

    def _wrap(self, module: nn.Module) -> None:
        several = len(self._shared.mine) > 1
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if len(self._shared.parts) > 1:
                self._put(module, self._normalised)
        elif _draws(module):
            self._put(module, self._by_image)
        elif several and next(module.parameters(recurse=False), None) is not None:
            if any(isinstance(one, nn.modules.batchnorm._BatchNorm) or _draws(one) for one in module.modules()):
                raise ModelError(
                    f"A {type(module).__name__} of this encoder has parameters beside batch normalisation or dropout, "
                    "and cannot be shown parts of a batch one by one: give no `part`, or another encoder."
                )
            self._put(module, self._by_part)
        else:
            for child in module.children():
                self._wrap(child)

    def _put(self, module: nn.Module, how: Callable[[nn.Module, Forward, Tensor], Tensor]) -> None:
        before: Forward = module.forward

        def forward(tensor: Tensor) -> Tensor:
            return how(module, before, tensor) if module.training else before(tensor)

        module.forward = forward
        self._wrapped.append(module)

    def _by_part(self, module: nn.Module, forward: Forward, tensor: Tensor) -> Tensor:
        """Every part meets parameters of its own: the same numbers, and gradients apart."""
        answers = []
        for own, rows in zip(self._own, self._shared.split(tensor), strict=True):
            with _parameters(module, own):
                answers.append(forward(rows))
        return torch.cat(answers)

    def _by_image(self, module: nn.Module, forward: Forward, tensor: Tensor) -> Tensor:
        """What is drawn for an image hangs on its place in the batch, and on nothing of this process."""
        places = [place for part in self._shared.mine for place in part]
        self._calls += 1
        answers = []
        for place, rows in zip(places, tensor.chunk(len(places)), strict=True):
            drawn = np.random.default_rng([self._shared.seed, 4, self._step, place, self._calls])
            torch.manual_seed(int(drawn.integers(2**62)))
            answers.append(forward(rows))
        return torch.cat(answers)

    def _normalised(self, module: nn.Module, _: Forward, tensor: Tensor) -> Tensor:
        """Batch normalisation over all parts; what comes with it in one module (timm's BatchNormAct2d) after it."""
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        parts = self._shared.split(tensor.detach())
        mean, variance, count = _joined(self._shared.gathered(torch.stack([_moments(part) for part in parts])))
        if module.running_mean is not None and module.running_var is not None:
            _take(module, mean, variance * (count / (count - 1.0).clamp(min=1.0)))
        inverse = (variance + module.eps).rsqrt()
        affine = [own[one] for one in (module.weight, module.bias) if one is not None for own in self._own]
        answer: Tensor = _Normalise.apply(tensor, mean, inverse, count, self._shared, *affine)
        for child in module.children():
            answer = child(answer)
        return answer


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias, over all but axis 1; its backward hands the sums of every part round.

    affine: the weights of this worker's parts, then their biases, or nothing.
    """

    @staticmethod
    def forward(
        ctx: Any, tensor: Tensor, mean: Tensor, inverse: Tensor, count: Tensor, shared: BatchShare, *affine: Tensor
    ) -> Tensor:
        ctx.save_for_backward(tensor, mean, inverse, count, *affine[:1])
        ctx.shared, ctx.affine = shared, len(affine)
        answer = _standard(tensor, mean, inverse)
        if affine:
            answer = answer * _along(affine[0], tensor) + _along(affine[-1], tensor)
        return answer.to(tensor.dtype)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        tensor, mean, inverse, count, *weight = ctx.saved_tensors
        standard, gradient, shared = _standard(tensor, mean, inverse), given.float(), ctx.shared
        plain = [_summed(part) for part in shared.split(gradient)]
        scaled = [_summed(part) for part in shared.split(gradient * standard)]
        rows = torch.stack([torch.cat(pair) for pair in zip(plain, scaled, strict=True)])
        of_all, of_all_scaled = (_in_order(shared.gathered(rows.double())) / count).chunk(2)
        back = gradient - _along(of_all, tensor) - standard * _along(of_all_scaled, tensor)
        factor = inverse.float() * weight[0].float() if weight else inverse
        affine = (*scaled, *plain) if ctx.affine else ()
        return (back * _along(factor, tensor)).to(tensor.dtype), None, None, None, None, *affine


def _moments(part: Tensor) -> Tensor:
    """(2 channels + 1) float64: mean and variance of every channel, and how many numbers a channel has."""
    variance, mean = torch.var_mean(part.float(), dim=_others(part), correction=0)
    count = mean.new_full((1,), part.numel() / part.shape[1])
    return torch.cat([mean, variance, count]).double()


def _joined(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of parts (parts, 2 channels + 1) -> mean, variance (channels) and count of all together."""
    counts, (means, variances) = moments[:, -1:], moments[:, :-1].chunk(2, dim=1)
    count = _in_order(counts)
    mean = _in_order(counts * means) / count
    return mean, _in_order(counts * (variances + (means - mean) ** 2)) / count, count


def _take(module: nn.modules.batchnorm._BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Take the statistics of a batch into the running ones."""
    assert module.running_mean is not None and module.running_var is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked += 1
    share = 1.0 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
    module.running_mean.lerp_(mean.to(module.running_mean.dtype), share)
    module.running_var.lerp_(variance.to(module.running_var.dtype), share)


def _standard(tensor: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    return (tensor.float() - _along(mean, tensor)) * _along(inverse, tensor)


def _along(channels: Tensor, tensor: Tensor) -> Tensor:
    return channels.float().view(1, -1, *[1] * (tensor.dim() - 2))


def _others(tensor: Tensor) -> list[int]:
    return [axis for axis in range(tensor.dim()) if axis != 1]


def _summed(part: Tensor) -> Tensor:
    return part.sum(dim=_others(part))


def _in_order(rows: Tensor) -> Tensor:
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    return total


def _alias(parameter: nn.Parameter) -> nn.Parameter:
    """The same numbers in the same memory, with a gradient of its own."""
    return nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)


@contextmanager
def _parameters(module: nn.Module, own: dict[nn.Parameter, nn.Parameter]) -> Iterator[None]:
    """A module, with all below it, has other parameters for a while."""
    held = [(one, one._parameters) for one in module.modules()]
    try:
        for one, before in held:
            one._parameters = {name: value if value is None else own[value] for name, value in before.items()}
        yield
    finally:
        for one, before in held:
            one._parameters = before


def _draws(module: nn.Module) -> bool:
    """Whether it is a dropout that drops something (torch's, timm's DropPath and DropBlock)."""
    share = getattr(module, "p", getattr(module, "drop_prob", 1.0))
    return "Drop" in type(module).__name__ and not list(module.children()) and share != 0
