"""This installation flows in: versions of what numbers rest on and the checkout's commit flow out, for recipes."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

VERSIONED = (
    "diffusers", "numpy", "open_clip_torch", "pillow", "polars", "pyarrow", "ray", "safetensors", "scipy",
    "segmentation_models_pytorch", "stableseg-harness", "timm", "tokenizers", "torch", "torchvision", "transformers",
)  # fmt: skip


def around() -> dict[str, Any]:
    """What the recipe of a run names of the sweep that added rows to it."""
    return {"versions": _versions(), "commit": _commit()}


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The checkout's commit, with a mark when it was changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    here = Path(__file__).parent
    try:
        answer = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
