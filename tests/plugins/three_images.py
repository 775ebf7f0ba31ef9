"""A results folder of a few runs on three images: what tests of its files damage, merge and mend."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.contracts import Row
from results.folder.recipes import RunRecipe
from results.folder.store import Store

IMAGES = ("0", "1", "2")


def row(run_id: str, image_id: str, right: int = 60) -> Row:
    """100 pixels of class 1 and 50 of class 2, `right` of the first and all of the second given their own class."""
    return Row(
        run_id, image_id, "ok", 0.5, None, np.array([1, 1, 2]), np.array([1, 2, 2]), np.array([right, 100 - right, 50])
    )


def recipe(run_id: str, background: str = "ignored", images: int = 3) -> RunRecipe:
    protocol = {"vocabulary": "all", "background": background}
    facts = {"use": "m:M", "settings": {"id": run_id}}
    return RunRecipe(run_id, f"M {run_id}", "", facts, "B", {"use": "b:B"}, protocol, ("x", "y"), images)


def filled(folder: Path, *run_ids: str) -> Store:
    """A store with one part a run."""
    store = Store.open(folder)
    for place, run_id in enumerate(run_ids):
        with store.writer() as writer:
            writer.append([row(run_id, image, 60 + place) for image in IMAGES])
        store.write_recipe(run_id, recipe(run_id).as_dict())
    store.set_table("t", run_ids)
    return store
