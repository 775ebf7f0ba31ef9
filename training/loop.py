"""A model, a loss and a stage flow in; trained weights flow out, and a stopped training goes on where it was."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from training.settings import TrainingStage

Loss = Callable[[int, torch.Generator], dict[str, Tensor]]  # must hold "loss"; the rest is only logged
Check = Callable[[int, nn.Module], dict[str, float]]


def rate_at(stage: TrainingStage, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to `floor` times the peak."""
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.rate * (stage.floor + (1.0 - stage.floor) * 0.5 * (1.0 + math.cos(math.pi * done)))


def step_generator(seed: int, name: str, step: int) -> torch.Generator:
    """The random numbers of one step, which depend on nothing before it: so a resumed training repeats itself."""
    letters = sum(ord(letter) * 131**place for place, letter in enumerate(name)) % 10**6
    return torch.Generator().manual_seed((seed * 10**6 + letters) * 10**7 + step)


def train(
    model: nn.Module,
    loss: Loss,
    stage: TrainingStage,
    folder: Path,
    seed: int,
    check: Check | None = None,
    stop: int | None = None,
) -> nn.Module:
    """Trains the model in place from the last checkpoint in `folder` on; returns it with the averaged weights.

    stop: leave after this many steps (a checkpoint is written), to be taken up again later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(_groups(model, stage.decay), lr=stage.rate, betas=stage.betas)
    averages = {name: value.detach().clone() for name, value in model.state_dict().items()} if stage.average else None
    start = _resume(folder / f"{stage.name}.pt", model, optimiser, averages)
    last = stage.steps if stop is None else min(stop, stage.steps)
    began = time.time()
    with _bar() as bar:
        task = bar.add_task(stage.name, total=stage.steps, completed=start, note="")
        for step in range(start, last):
            values = _one_step(model, loss, optimiser, stage, step, seed)
            if averages is not None:
                _average(averages, model, stage.average or 0.0, step)
            if (step + 1) % stage.every == 0 or step + 1 == last:
                _save(folder / f"{stage.name}.pt", step + 1, model, optimiser, averages)
                if check is not None:
                    values |= _checked(model, averages, check, step + 1)
            if (step + 1) % 25 == 0 or step + 1 == last:
                _log(folder / f"{stage.name}.jsonl", step + 1, values, time.time() - began)
            bar.update(task, advance=1, note=f"loss {values['loss']:.4f}")
    if averages is not None:
        model.load_state_dict(averages)
    return model


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices and kernels only."""
    trained = [value for value in model.parameters() if value.requires_grad]
    return [
        {"params": [value for value in trained if value.ndim > 1], "weight_decay": decay},
        {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
    ]


def _one_step(
    model: nn.Module, loss: Loss, optimiser: torch.optim.Optimizer, stage: TrainingStage, step: int, seed: int
) -> dict[str, float]:
    for group in optimiser.param_groups:
        group["lr"] = rate_at(stage, step)
    values = loss(step, step_generator(seed, stage.name, step))
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(values["loss"])
    norm = nn.utils.clip_grad_norm_([value for value in model.parameters() if value.requires_grad], 1.0)
    if not torch.isfinite(norm):
        raise RuntimeError(
            f"The gradient of {stage.name} is not finite at step {step}; lower the learning rate and resume."
        )
    optimiser.step()
    return {name: float(value.detach()) for name, value in values.items()}


@torch.no_grad()
def _average(averages: dict[str, Tensor], model: nn.Module, limit: float, step: int) -> None:
    decay = min(limit, (1 + step) / (10 + step))
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            averages[name].lerp_(value, 1.0 - decay)


def _checked(model: nn.Module, averages: dict[str, Tensor] | None, check: Check, step: int) -> dict[str, float]:
    """Runs the check on the averaged weights and puts the trained ones back."""
    if averages is None:
        return check(step, model)
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(averages)
    found = check(step, model)
    model.load_state_dict(kept)
    return found


def _save(
    path: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, averages: dict[str, Tensor] | None
) -> None:
    state = {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "averages": averages}
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, averages: dict[str, Tensor] | None) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    if averages is not None:
        averages.update(state["averages"])
    return int(state["step"])


def _log(path: Path, step: int, values: dict[str, float], seconds: float) -> None:
    line = {"step": step, **{name: round(value, 6) for name, value in values.items()}, "seconds": round(seconds, 1)}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        refresh_per_second=0.5,
    )
