"""A room of the gallery goes in; every score of each of its images comes out, run by run, so that images can be sorted.

An image has all scores of rows by itself. Those of label maps, and a stranger's, it has where a table asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from harness.contracts import WIDE_IGNORED, WideTruth
from harness.errors import StoreError
from results.counts import boundaries, estimators, oracles, strangers
from results.counts.estimators import ClassCounts
from results.folder.keepsakes import read_map
from results.pictures.gallery import Room
from results.tables.evidence import Evidence

Score = Callable[[ClassCounts, WideTruth, WideTruth], float | None]  # of an image's counts, its truth and its map
_ORACLES = {"oracle_naming": oracles.named_by_oracle, "oracle_grouping": oracles.drawn_by_oracle}
_DIGITS = 6  # of shares: images are sorted by them, tables are made elsewhere


@dataclass(frozen=True)
class ImageScores:
    """One image of one run: shares in the order of the scores' names, and the IoU of every class that it has."""

    values: tuple[float | None, ...]
    ious: Mapping[int, float]


def names_of(asked: Sequence[str]) -> tuple[str, ...]:
    """The scores that an image has by itself, and those of the `asked` that are of one image and can be had here."""
    known = tuple(estimators.SCORES)
    return (*known, *(name for name in dict.fromkeys(asked) if name not in known and _further(name, 0, True)))


def image_scores(evidence: Evidence, room: Room, names: Sequence[str]) -> dict[str, dict[str, ImageScores]]:
    """Run id -> image id -> scores by `names`, of the kept images of a room that did not fail."""
    background, classes = room.recipe.scores_background, len(room.recipe.classes)
    further = {name: score for name in names if (score := _further(name, classes, background))}
    wanted = pl.col("image_id").is_in(list(room.pictures)) & (pl.col("status") == "ok")
    found: dict[str, dict[str, ImageScores]] = {run_id: {} for run_id in room.maps}
    for chunk in evidence.store.chunks(room.maps):
        lines = chunk.filter(wanted).select("run_id", "image_id", "true", "predicted", "pixels")
        for run_id, image_id, *overlaps in lines.iter_rows():
            if image_id in room.maps[run_id]:
                true, predicted, pixels = (np.array(overlap or (), np.int64) for overlap in overlaps)
                counts = ClassCounts.of(true, predicted, pixels, 0 if background else 1, classes)
                maps = _maps(room, run_id, image_id) if further else None
                values = tuple(_value(name, further.get(name), counts, maps) for name in names)
                found[run_id][image_id] = ImageScores(values, _ious(counts, 0 if background else 1))
    return found


def _maps(room: Room, run_id: str, image_id: str) -> tuple[WideTruth, WideTruth]:
    """The truth as it is scored, and what the run gave."""
    truth = read_map(room.pictures[image_id][1])
    if not room.recipe.scores_background:
        truth[truth == 0] = WIDE_IGNORED
    return truth, read_map(room.maps[run_id][image_id])


def _value(
    name: str, further: Score | None, counts: ClassCounts, maps: tuple[WideTruth, WideTruth] | None
) -> float | None:
    try:
        value = further(counts, *maps) if further and maps else estimators.SCORES[name](counts)
    except StoreError:  # a stranger's estimator, which says so in its table
        return None
    return None if value is None else round(float(value), _DIGITS)


def _further(name: str, classes: int, background: bool) -> Score | None:
    """A score that is not of rows alone, or a stranger's; None for one of many images, or that cannot be had here."""
    if name == "boundary_iou":
        return lambda _, *maps: boundaries.of_maps([maps], classes, background).iou
    if name in _ORACLES:
        count = partial(oracles.counts_under, oracle=_ORACLES[name], classes=classes, background=background)
        return lambda _, *maps: estimators.miou(count([maps]))
    try:
        if strangers.is_address(name):
            strangers.found(name)
            return lambda counts, *_: strangers.estimated(name, counts)
    except StoreError:
        pass
    return None


def _ious(counts: ClassCounts, first: int) -> dict[int, float]:
    ious = estimators.class_iou(counts)
    return {int(k) + first: round(float(ious[k]), _DIGITS) for k in np.flatnonzero(~np.isnan(ious))}
