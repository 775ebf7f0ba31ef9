"""Stored rows -> what a sweep wants to know at a glance: seconds an image, the score of a run, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import polars as pl

from harness.contracts import Run
from results.counts.estimators import counts_of, miou
from results.counts.tally import tally
from results.folder.held import Held
from results.folder.store import Store


def seconds_per_image(store: Store, held: Held) -> dict[str, float]:
    """Mean seconds of a good row, by address of the method. held: what is stored."""
    uses = {run_id: recipe.method["use"] for run_id, recipe in store.recipes().items()}
    spent: dict[str, tuple[float, int]] = {}
    for run_id, (seconds, rows) in held.timings.items():
        if use := uses.get(run_id):
            before = spent.get(use, (0.0, 0))
            spent[use] = before[0] + seconds, before[1] + rows
    return {use: seconds / rows for use, (seconds, rows) in spent.items()}


def miou_of(store: Store, run: Run, image_ids: Sequence[str], classes: int) -> float | None:
    """The mIoU of a run over some images, 0..1, by which a protocol is chosen; None where it is undefined."""
    background = [run.run_id] if run.protocol.background != "ignored" else []
    wanted = pl.col("image_id").is_in(list(image_ids))
    sums = tally((chunk.filter(wanted) for chunk in store.chunks([run.run_id])), background)
    own = sums.confusions.filter(pl.col("true") <= classes)
    return miou(counts_of(own, classes, bool(background)))


def errors(store: Store, run_ids: Sequence[str]) -> list[tuple[str, int]]:
    """The errors of images that lack a good row, with how many image results each cost, the most frequent first."""
    counted: Counter[str] = Counter()
    for chunk in store.chunks(run_ids):
        failed = chunk.filter(pl.col("status") != "ok")["error"].fill_null("no reason given")
        counted.update(failed.to_list())
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def runs_of_another_identity(store: Store, held: Held, scheme: int) -> int:
    """How many runs with rows have ids of another kind than `scheme`, so that they are not resumed."""
    return sum(recipe.identity != scheme for run_id, recipe in store.recipes().items() if run_id in held)
