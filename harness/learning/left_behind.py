"""The folder of an artefact flows in, before a fit and after it; what no card could answer for is taken away or told.

A try begins with what is in `unfinished` alone, and the curve; what it leaves are plain files under names of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from harness.contracts import ModelError

CARD, KEPT, HALF_WRITTEN = "card.json", ("unfinished", "curve.jsonl"), ".tmp"

_OURS = ("lessons.json", "told.json", "gathered", "ray")  # in `unfinished`: what the harness writes there


def clear(folder: Path) -> None:
    """Take away what an earlier try left beside its checkpoints."""
    for path in folder.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def take_card(folder: Path) -> bool:
    """Whether a learner wrote what makes an artefact whole; it is taken away."""
    path = folder / CARD
    there = path.is_symlink() or path.exists()
    if there:
        path.unlink()
    return there


def check(folder: Path, carded: bool, told: object) -> None:
    """ModelError for files whose digests no card can hold. carded: it had written a card itself. told: what it
    returned, which stands on the card, and may be all that it learned."""
    if carded:
        raise ModelError(f"it wrote {CARD}, which only a sweep may write; give the file another name")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(f"{KEPT[0]}/"):
            continue
        if path.is_symlink():
            raise ModelError(f"it left the link {name}, behind which anything may change; write files")
        if name.endswith(HALF_WRITTEN):
            raise ModelError(f"it left {name}: what ends in {HALF_WRITTEN} counts as half written; name it otherwise")
    if not told and (name := _all_there_is(folder)):
        raise ModelError(
            f"all that it left is {name}, and {KEPT[0]}/ is thrown away once it has learned; write what it has learned "
            "beside that folder"
        )


def _all_there_is(folder: Path) -> str:
    """A file of a learner's own that would be thrown away, where nothing would be kept; empty where there is none."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [name for name in names if name not in KEPT and not name.startswith(f"{KEPT[0]}/")]
    thrown = [name for name in names if name.startswith(f"{KEPT[0]}/") and name.split("/")[1] not in _OURS]
    return thrown[0] if thrown and not kept else ""


def on_a_card(told: Mapping[str, Any], seconds: float) -> str:
    """What a fit returned, as JSON. ModelError for what JSON cannot hold."""
    try:
        return json.dumps({"learner_tells": dict(told), "seconds": round(seconds, 2)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        pairs = told.items() if isinstance(told, Mapping) else ()  # a stranger's fit returns anything
        odd = [f"{name} is {value}" for name, value in pairs if isinstance(value, float) and not isfinite(value)]
        raise ModelError(
            f"what it returns cannot stand on a card ({', '.join(odd) or error}); return finite numbers, texts, lists "
            "and mappings"
        ) from None
