"""A room of the gallery goes in; small pictures in the report's folder and the data of its image browser come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import WIDE_IGNORED
from results.counts import estimators
from results.counts.image_counts import ImageCounts, image_counts
from results.folder.keepsakes import read_image, read_map
from results.pictures.colours import Labels, colour, error_map, hatch, hex_of, paint_errors, paint_labels, scored
from results.pictures.gallery import Room, fitted_size
from results.tables.evidence import Evidence

LONGEST = 640  # pixels of a picture's longer side in the report


def write_browser(evidence: Evidence, found: Iterable[Room], folder: Path) -> list[dict[str, object]]:
    """Write the pictures of all rooms below `folder/images`; the browser's data, a room each."""
    return [_room(evidence, room, folder, Path("images") / str(number)) for number, room in enumerate(found)]


def _room(evidence: Evidence, room: Room, folder: Path, place: Path) -> dict[str, Any]:
    # Files bear numbers and run ids: no name from a data set becomes a path.
    background = room.recipe.scores_background
    (folder / place).mkdir(parents=True)
    images = [_image(room, image_id, folder, place / str(n)) for n, image_id in enumerate(room.pictures)]
    names = ("background", *room.recipe.classes)
    runs = []
    for run_id, maps in room.maps.items():
        entry = evidence.entry(run_id)
        (folder / place / run_id).mkdir()
        own = _image_scores(evidence.images, run_id)
        cells = [
            _map(room, maps[i], i, own.get(i), folder, place / run_id / str(n)) if i in maps else None
            for n, i in enumerate(room.pictures)
        ]
        runs.append({"id": run_id, "label": entry.name, "miou": entry.miou, "cells": cells})
    _add_class_scores(evidence, room, runs)
    title = room.column.title if len({r.benchmark for r in evidence.columns}) == len(evidence.columns) else (
        f"{room.column.title} [{room.column.apart or room.column.protocol}]"
    )  # fmt: skip
    colours = [hex_of(colour(number)) for number in range(len(names))]
    return {
        "title": title, "classes": names, "colours": colours, "background": background, "images": images, "runs": runs
    }  # fmt: skip


def _image(room: Room, image_id: str, folder: Path, place: Path) -> dict[str, object]:
    """Write an image and its truth; what the browser knows of them."""
    photo, truth = read_image(room.pictures[image_id][0]), read_map(room.pictures[image_id][1])
    size = fitted_size(photo.size, LONGEST)
    photo.resize(size).save(folder / f"{place}.jpg", quality=88)
    painted = paint_labels(truth, room.recipe.scores_background)
    _save(painted, size, folder / f"{place}.png")
    unscored = _hatching(~scored(truth, room.recipe.scores_background), folder, place)
    present = [int(k) for k in np.unique(truth) if k <= len(room.recipe.classes)]
    if not room.recipe.scores_background:
        present = [k for k in present if k > 0]
    return {
        "id": image_id, "image": f"{place}.jpg", "truth": f"{place}.png", "unscored": unscored, "classes": present,
        "size": size,
    }  # fmt: skip


def _hatching(mask: NDArray[np.bool_], folder: Path, place: Path) -> str | None:
    """Write a hatching over pixels, as large as pictures get, so that lines are fine on small images too."""
    if not mask.any():
        return None
    size = fitted_size((mask.shape[1], mask.shape[0]), LONGEST, enlarge=True)
    large = np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST))
    _save(hatch(large), size, folder / f"{place}-unscored.png")
    return f"{place}-unscored.png"


def _map(room: Room, path: Path, image_id: str, score: float | None, folder: Path, place: Path) -> dict[str, Any]:
    """Write a label map, what of it is not scored by itself, and its error map; what the browser knows of them."""
    truth, predicted = read_map(room.pictures[image_id][1]), read_map(path)
    background = room.recipe.scores_background
    counts = scored(truth, background)
    unmarked = np.uint16(WIDE_IGNORED)
    layers = {"map": np.where(counts, predicted, unmarked), "rest": np.where(counts, unmarked, predicted)}
    size = fitted_size((predicted.shape[1], predicted.shape[0]), LONGEST)
    known: dict[str, Any] = {"miou": score, "errors": f"{place}-errors.png"}
    _save(paint_errors(error_map(predicted, truth, background)), size, folder / known["errors"])
    for name, labels in layers.items():
        known[name] = f"{place}-{name}.png"
        _save(paint_labels(labels, background), size, folder / known[name])
    return {**known, "classes": _given(layers["map"], room), "rest_classes": _given(layers["rest"], room)}


def _given(labels: Labels, room: Room) -> list[int]:
    return [int(k) for k in np.unique(labels) if k <= len(room.recipe.classes)]


def _save(picture: Pillow.Image, size: tuple[int, int], path: Path) -> None:
    # Nearest: a class number between two classes would be a third one.
    small = picture.resize(size, Pillow.Resampling.NEAREST)
    small.save(path, transparency=picture.info.get("transparency"), optimize=True)


def _image_scores(images: pl.DataFrame, run_id: str) -> Mapping[str, float | None]:
    own = images.filter(pl.col("run_id") == run_id).select("image_id", "image_miou")
    return dict(own.iter_rows())


def _add_class_scores(evidence: Evidence, room: Room, runs: list[dict[str, Any]]) -> None:
    """To every run's cell the IoU of each class of that image, so that images can be sorted by one class."""
    background = room.recipe.scores_background
    wanted = pl.col("image_id").is_in(list(room.pictures)) & (pl.col("status") == "ok")
    rows = pl.concat(chunk.filter(wanted) for chunk in evidence.store.chunks(room.maps))
    parts = rows.partition_by("run_id", as_dict=True)
    for run in runs:
        if (run["id"],) not in parts:
            continue
        counts = image_counts([parts[run["id"],]], [run["id"]], len(room.recipe.classes), background)
        place = {image_id: n for n, image_id in enumerate(counts.image_ids)}
        for image_id, cell in zip(room.pictures, run["cells"], strict=True):
            if cell and image_id in place:
                cell["iou"] = _ious(counts, place[image_id], 0 if background else 1)


def _ious(counts: ImageCounts, image: int, first: int) -> dict[int, float]:
    ious = estimators.ratio(counts.intersection[0, image], counts.union[0, image])
    return {int(k) + first: round(float(ious[k]), 4) for k in np.flatnonzero(~np.isnan(ious))}
