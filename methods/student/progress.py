"""Lines of a curve and states of a training flow in; files flow out, and from them how far a training had come."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.contracts.checkpoint import read_checkpoint, write_checkpoint
from methods.student.averaging import RunningAverage


@dataclass
class Curve:
    """What is recorded of a training: JSON lines of step, loss, learning rate, validation."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    def go_back_to(self, step: int) -> None:
        """Drop what was recorded after a step, by a training that was killed."""
        if self.path.exists():
            found = [_parsed(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
            self.lines = [line for line in found if line.get("step", step + 1) <= step]
        _replace(self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode())

    def add(self, **line: Any) -> None:
        """One more line, at once in the file."""
        self.lines.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Resumed:
    """How far a training has come: steps done and the state after them. broken: why it begins anew, in a clause."""

    step: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)
    broken: str = ""


def resumed_from(folder: Path, steps: int) -> Resumed:
    """What the checkpoint of a training of so many steps says; nothing is reached without one, or with a broken one."""
    path = checkpoint_in(folder)
    try:
        content = read_checkpoint(path)
        if content is None:
            return Resumed()
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not 0 < held["step"] <= steps:
            raise ValueError(f"{path} is at step {held['step']} of {steps}")
        return Resumed(int(held["step"]), held)
    except ValueError as problem:
        return Resumed(broken=str(problem))
    except (pickle.UnpicklingError, KeyError, TypeError, RuntimeError) as problem:
        return Resumed(broken=f"{path} holds no state of a training ({type(problem).__name__})")


def checkpoint_in(folder: Path) -> Path:
    """Where a training that writes to a folder leaves how far it has come."""
    return folder / "unfinished" / "checkpoint.pt"


def save_checkpoint(
    checkpoint: Path, network: nn.Module, optimiser: torch.optim.Optimizer, average: RunningAverage, step: int
) -> None:
    """What `resumed_from` reads."""
    content = io.BytesIO()
    states = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average.held}
    torch.save({"step": step, **states}, content)
    write_checkpoint(checkpoint, content.getvalue())


def _replace(path: Path, content: bytes) -> None:
    waiting = path.with_suffix(".new")
    waiting.write_bytes(content)
    os.replace(waiting, path)


def _parsed(line: str) -> dict[str, Any]:
    """A line of a curve; an empty one when it was cut short."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
