"""Lessons (image, pseudo mask) and a network flow in; a trained network flows out, alone or as one of several workers.

What is drawn at random depends on seed, step and place in the batch alone. So a training that was killed goes on from
its last checkpoint to the same bits, and the number of workers changes no bit either.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts.sending import sent
from methods.student.averaging import RunningAverage
from methods.student.course import Course, Example, Material, examples_ahead
from methods.student.crops import unsure
from methods.student.network import logits, parameter_groups
from methods.student.progress import Curve, Resumed, checkpoint_in, save_checkpoint
from methods.student.synchronised import BatchShare, JoinedNetwork
from methods.student.workers import flat, summed, unflatten

CHECKPOINTS = 10  # of one training
LINES = 50  # of the loss curve
IGNORE = -100  # of a mask, while the network is at work on it


def train_student(
    network: nn.Module,
    course: Course,
    material: Material,
    folder: Path,
    rank: int = 0,
    world: int = 1,
    since: Resumed | None = None,
) -> list[dict[str, Any]]:
    """Train a network (already on its device) in place; the lines of the curve.

    folder: `curve.jsonl` and `unfinished/checkpoint.pt` lie there; workers of one training share it, and call this with
    their rank, torch.distributed being set up by whoever starts them. Only rank 0 writes. since: where it goes on.
    """
    layout = _layout(_device(network))
    network.train().to(memory_format=layout)
    optimiser = _optimiser(network, course)
    since = since or Resumed()
    start, average = since.step, RunningAverage(network, course.ema)
    if since.state:
        network.load_state_dict(since.state["network"])
        optimiser.load_state_dict(since.state["optimiser"])
        average.load(since.state.get("average", {}))
    curve = Curve(folder / "curve.jsonl")
    if rank == 0:
        checkpoint_in(folder).parent.mkdir(parents=True, exist_ok=True)
        curve.go_back_to(start)
    if rank == 0 and since.broken:
        curve.add(step=0, steps=course.steps, notice=f"begins anew, because its checkpoint {since.broken}")
    began = time.perf_counter()
    shared, joint = _parted(course, _device(network).type == "cuda", rank, world)
    together = JoinedNetwork(network, shared) if joint else None
    for step, batch in enumerate(examples_ahead(course, material, start, shared, _device(network)), start=start):
        with together.at_work() if together else nullcontext():
            loss = _step(network, optimiser, course, step, batch, shared, together)
        done = step + 1
        average.take(network, done)
        if rank == 0 and (done % max(1, course.steps // LINES) == 0 or done == course.steps):
            lost, seconds = float(loss), round(time.perf_counter() - began, 2)
            curve.add(step=done, steps=course.steps, loss=lost, rate=course.rate(step), seconds=seconds)
        if rank == 0 and material.held_out and course.validate_every and _due(done, course.validate_every, course):
            with average.in_place(network):
                curve.add(step=done, steps=course.steps, **validate(network, material))
        if rank == 0 and _due(done, course.checkpoint_every or max(1, course.steps // CHECKPOINTS), course):
            save_checkpoint(checkpoint_in(folder), network, optimiser, average, done)
    average.give(network)
    return curve.lines


def _due(done: int, every: int, course: Course) -> bool:
    return done % every == 0 or done == course.steps


@torch.no_grad()
def validate(network: nn.Module, material: Material) -> dict[str, float]:
    """Cross-entropy and mIoU of the held-out lessons against their pseudo masks."""
    network.eval()
    sums = np.zeros((3, 1), np.int64)  # pixels of every output: right, told, guessed
    total, pixels = 0.0, 0
    for lesson in material.held_out:
        image, mask = material.whole(lesson)
        answer = logits(network, image)
        target = torch.from_numpy(mask.astype(np.int64)).to(answer.device)
        total += float(F.cross_entropy(answer[None], target[None], ignore_index=unsure(mask), reduction="sum"))
        sure = mask != unsure(mask)
        told, guessed = mask[sure], answer.argmax(dim=0).cpu().numpy()[sure]
        pixels += len(told)
        counted = (told[told == guessed], told, guessed)
        sums = sums + np.stack([np.bincount(one, minlength=len(answer)) for one in counted])
    network.train()
    right, told, guessed = sums
    there = told > 0
    miou = float((right[there] / (told + guessed - right)[there]).mean()) if there.any() else 0.0
    return {"validation_loss": total / max(1, pixels), "validation_miou": miou}


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    course: Course,
    step: int,
    batch: Sequence[list[Example]],
    shared: BatchShare,
    together: JoinedNetwork | None,
) -> Tensor:
    """One update from the parts of a batch that this worker has; the mean loss a pixel over all workers, where the
    network is."""
    for settings in optimiser.param_groups:
        settings["lr"] = course.learning_rate * course.rate(step) * settings["share"]
    if together is None:
        tally, gradients = _group_by_group(network, optimiser, course, step, batch, shared)
    else:
        tally, gradients = _all_together(network, course, step, batch, shared, together)
    torch._foreach_mul_(gradients, 1.0 / tally[1].clamp(min=1.0))  # no number comes home: nobody waits for a card
    if course.clip_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), course.clip_norm)
    optimiser.step()
    return tally[0] / tally[1].clamp(min=1.0)


def _group_by_group(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    course: Course,
    step: int,
    batch: Sequence[list[Example]],
    shared: BatchShare,
) -> tuple[Tensor, list[Tensor]]:
    """What all groups count, and their gradients, added up; running statistics are the mean of what each leaves."""
    running = [one for name, one in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    before = [one.clone() for one in running]
    given = []
    for number, examples in zip(range(shared.rank, len(shared.parts), shared.world), batch, strict=True):
        torch._foreach_copy_(running, before)
        optimiser.zero_grad(set_to_none=False)
        torch.manual_seed(_number(course.seed, step, number))
        tally = _learn(network, course, examples)
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        given.append(flat([*gradients, *running, tally]))
    left = [torch.empty_like(one) for one in running]
    unflatten(summed(given, len(shared.parts), shared.rank, shared.world), [*gradients, *left, tally])
    torch._foreach_mul_(left, 1.0 / tally[2])
    torch._foreach_copy_(running, left)
    for name, one in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            one += len(shared.parts) - len(batch)  # those of other workers
    return tally, gradients


def _all_together(
    network: nn.Module,
    course: Course,
    step: int,
    batch: Sequence[list[Example]],
    shared: BatchShare,
    together: JoinedNetwork,
) -> tuple[Tensor, list[Tensor]]:
    """What all parts count, and their gradients, added up; their statistics are those of the batch."""
    where = _device(network)
    pixels, masks = _shown([example for part in batch for example in part], where)
    parts = shared.split(masks)
    with _mixed(where, course.precision):
        given = together.learn(step, pixels, lambda answer, part: _loss(answer, parts[part]))
    gradients, tally = together.gradients(), torch.empty_like(given[0][-1])
    rows = [flat(row) for row in given]
    unflatten(summed(rows, len(shared.parts), shared.rank, shared.world), [*gradients, tally])
    return tally, gradients


def _learn(network: nn.Module, course: Course, examples: Sequence[Example]) -> Tensor:
    """Gradients of one group, added to those that are there; (loss, labelled pixels, 1)."""
    where = _device(network)
    pixels, masks = _shown(examples, where)
    with _mixed(where, course.precision):
        answer = network(pixels)
    loss, tally = _loss(answer, masks)
    loss.backward()  # type: ignore[no-untyped-call]
    return tally


def _shown(examples: Sequence[Example], where: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels, and masks of whole numbers in which `IGNORE` is left out."""
    pixels = sent(torch.from_numpy(np.stack([one for one, _ in examples])), where).to(memory_format=_layout(where))
    told = np.stack([mask for _, mask in examples])
    masks = np.where(told == unsure(told), IGNORE, told.astype(np.int64))
    return pixels, sent(torch.from_numpy(masks), where)


def _loss(answer: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, and what is counted: (loss, labelled pixels, 1)."""
    loss = F.cross_entropy(answer.float(), masks, ignore_index=IGNORE, reduction="sum")
    labelled = (masks != IGNORE).sum()
    return loss, torch.stack([loss.detach(), labelled.float(), torch.ones_like(loss.detach())])


def _parted(course: Course, on_gpu: bool, rank: int, world: int) -> tuple[BatchShare, bool]:
    """Which places of a batch go through the network together, and whether all of them have their statistics in common.

    GPUs take what each has in one go, and add up as they come anyway; on CPUs a part is as large whoever has it.
    """
    batch = range(course.batch)
    if course.group == course.batch and (course.part is not None or on_gpu):
        size = course.part
        parts = [batch[q::world] for q in range(world)] if size is None else _sliced(batch, size)
        return BatchShare(parts, rank, world, course.seed), True
    return BatchShare(_sliced(batch, course.group), rank, world, course.seed), False


def _sliced(batch: range, size: int) -> list[range]:
    return [batch[first : first + size] for first in range(0, len(batch), size)]


def _layout(where: torch.device) -> torch.memory_format:
    """Channels last is faster on tensor cores, and slower on CPUs (measured: a third)."""
    return torch.channels_last if where.type == "cuda" else torch.contiguous_format


def _mixed(where: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bfloat16 where it is fast: it needs no scaling of the loss."""
    if where.type != "cuda" or precision == "float32":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16)


def _number(seed: int, step: int, group: int) -> int:
    return int(np.random.default_rng([seed, 3, step, group]).integers(2**62))


def _optimiser(network: nn.Module, course: Course) -> torch.optim.Optimizer:
    parts = parameter_groups(network, course.learning_rate, course.encoder_rate)
    if course.optimiser == "sgd":
        return torch.optim.SGD(parts, momentum=course.momentum, weight_decay=course.weight_decay, fused=True)
    return torch.optim.AdamW(parts, betas=(course.momentum, 0.999), weight_decay=course.weight_decay, fused=True)


def _device(network: nn.Module) -> torch.device:
    return next(itertools.chain(network.parameters(), network.buffers())).device
