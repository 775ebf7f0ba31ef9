"""A folder's evidence goes in; every run of it is written into a tracker that others keep: trackio, or W&B.

Both are used through what they share (init, log, finish). Neither is needed by anything else here.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from harness.errors import StoreError
from results.tables.evidence import Evidence

TRACKERS = ("trackio", "wandb")


def tracker(name: str) -> ModuleType:
    """The library. StoreError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise StoreError(f"{name} is not installed here; `pip install {name}`, and export again") from None


def track(evidence: Evidence, library: ModuleType, project: str) -> int:
    """A run of the tracker for every run that has a score, of those with holes only where they are asked for: settings
    and protocol as its configuration, scores as what it logged, in percent. How many they are."""
    asked = [entry for entry in evidence.board.entries if entry.complete or evidence.board.partial]
    scored = [entry for entry in asked if entry.miou is not None]
    for entry in scored:
        recipe = evidence.recipes[entry.run_id]
        config: dict[str, Any] = {
            "method": entry.method, "variant": entry.variant, "benchmark": entry.benchmark, "run_id": entry.run_id,
            "images": entry.images, "failed": entry.failed, "missing": entry.missing, "official": entry.official,
            **entry.settings,
            **{f"protocol.{name}": str(one) for name, one in recipe.protocol.items()},
        }  # fmt: skip
        classes = evidence.class_ious(entry.run_id)
        library.init(project=project, name=f"{entry.name} on {entry.benchmark}", config=config)
        scores = {"miou": entry.miou, "image_miou": entry.image_miou, "pixel_accuracy": entry.pixel_accuracy}
        named = {**scores, **{f"iou/{name}": iou for name, iou in classes.items()}}
        library.log({name: 100 * one for name, one in named.items() if one is not None})
        library.finish()
    return len(scored)
