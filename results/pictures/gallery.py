"""A folder's kept pictures and label maps go in; the images that people can look at come out, with every run's map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from results.folder import keepsakes
from results.folder.recipes import RunRecipe
from results.tables.evidence import Column, Evidence


@dataclass(frozen=True, eq=False)
class Room:
    """The kept images of one column of the leaderboard. maps: run id -> image id -> file; runs in ranked order.

    pictures: image id -> files of the image and its truth, of the images of which some run has a map.
    """

    column: Column
    recipe: RunRecipe
    pictures: Mapping[str, tuple[Path, Path]]
    maps: Mapping[str, Mapping[str, Path]]


def rooms(evidence: Evidence) -> list[Room]:
    """One room for every column that has anything to look at."""
    by_run = evidence.images.group_by("run_id").agg("image_id").iter_rows()
    images = {str(run_id): list(ids) for run_id, ids in by_run}
    kept = keepsakes.kept_label_maps(evidence.store.folder, images)
    found = (_room(evidence, column, kept) for column in evidence.columns)
    return [room for room in found if room.pictures]


def _room(evidence: Evidence, column: Column, kept: Mapping[str, Mapping[str, Path]]) -> Room:
    recipe = evidence.recipes[column.entries[0].run_id]
    maps = {entry.run_id: kept[entry.run_id] for entry in column.entries if entry.run_id in kept}
    names = sorted({image for files in maps.values() for image in files})
    paths = {image: keepsakes.picture_paths(evidence.store.folder, recipe.benchmark, image) for image in names}
    return Room(column, recipe, {i: two for i, two in paths.items() if all(p.exists() for p in two)}, maps)


def fitted_size(size: tuple[int, int], longest: int, enlarge: bool = False) -> tuple[int, int]:
    """(width, height) made small enough that no side is longer than `longest`; or so large that one is."""
    factor = longest / max(size) if enlarge else min(1.0, longest / max(size))
    width, height = (max(1, round(side * factor)) for side in size)
    return width, height
