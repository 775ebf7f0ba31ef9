"""A model's name flows in; the network of transformers that is opened from its folder, and its colours, flow out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harness.contracts import ModelError
from methods.checkpoints import fetch, variant
from methods.clip.pixels import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from methods.hub import reason
from methods.quiet import quiet

BILINEAR, BICUBIC = 2, 3  # of pillow


def opened_network(
    classes: tuple[Any, Any],
    kind: str,
    model: str,
    revision: str | None = None,
    *,
    dtype: str,
    called: str,
    **more: Any,
) -> tuple[Any, Path]:
    """The model at its place, and the folder. classes: the model's and its configuration's; more: what the former
    needs besides. ModelError, one sentence, when it cannot be had; `called` is its first words."""
    folder = fetch(model, kind, revision)
    weights = variant(folder)
    network, configuration = classes
    try:
        with quiet("transformers"):
            found, notes = network.from_pretrained(
                folder, config=configuration.from_pretrained(folder), dtype=getattr(torch, dtype), use_safetensors=True,
                variant=weights or None, local_files_only=True, output_loading_info=True, **more,
            )  # fmt: skip
    except Exception as problem:  # a library's own tree of errors, and those of safetensors below it
        raise ModelError(f"{called} {model!r} cannot be opened from {folder}: {reason(problem)}.") from problem
    if absent := sorted(notes["missing_keys"]):
        raise ModelError(f"{called} {model!r} in {folder} lacks {len(absent)} of its weights, {absent[0]} first.")
    return found, folder


def colours(folder: Path, resample: int) -> Normalisation:
    """As the folder says, else ImageNet's and this filter."""
    return Normalisation.of_folder(folder) or Normalisation(IMAGENET_MEAN, IMAGENET_STD, resample)


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
