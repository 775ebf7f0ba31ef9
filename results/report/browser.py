"""A room of the gallery goes in; small pictures in the report's folder and the data of its image browser come out."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import WIDE_IGNORED
from results.folder.keepsakes import read_image, read_map
from results.pictures.colours import (
    ERROR_COLOURS,
    Labels,
    colour,
    error_map,
    hatch,
    hex_of,
    paint_errors,
    paint_labels,
    scored,
)
from results.pictures.gallery import Room, fitted_size
from results.report.image_scores import ImageScores, image_scores, names_of
from results.tables.evidence import Evidence

NEAREST = Pillow.Resampling.NEAREST
LONGEST = 640  # pixels of a picture's longer side in the report


def write_browser(
    evidence: Evidence, found: Iterable[Room], asked: Sequence[str], folder: Path
) -> list[dict[str, object]]:
    """Write the pictures of all rooms below `folder/images`; the browser's data, a room each.

    asked: the scores that tables of this folder ask for, which images can be sorted by too.
    """
    names = names_of(asked)
    return [_room(evidence, room, names, folder, Path("images") / str(number)) for number, room in enumerate(found)]


def _room(evidence: Evidence, room: Room, names: Sequence[str], folder: Path, place: Path) -> dict[str, Any]:
    # Files bear numbers and run ids: no name from a data set becomes a path.
    background = room.recipe.scores_background
    (folder / place).mkdir(parents=True)
    images = [_image(room, image_id, folder, place / str(n)) for n, image_id in enumerate(room.pictures)]
    classes = ("background", *room.recipe.classes)
    scores = image_scores(evidence, room, names)
    runs = []
    for run_id, maps in room.maps.items():
        entry = evidence.entry(run_id)
        (folder / place / run_id).mkdir()
        own = scores[run_id]
        cells = [
            {**_map(room, maps[i], i, folder, place / run_id / str(n)), **_scored(own.get(i))} if i in maps else None
            for n, i in enumerate(room.pictures)
        ]
        runs.append({"id": run_id, "label": entry.name, "miou": entry.miou, "cells": cells})
    title = room.column.title if len({r.benchmark for r in evidence.columns}) == len(evidence.columns) else (
        f"{room.column.title} [{room.column.apart or room.column.protocol}]"
    )  # fmt: skip
    colours = [hex_of(colour(number)) for number in range(len(classes))]
    return {
        "title": title, "classes": classes, "colours": colours, "errors": ERROR_COLOURS, "background": background,
        "scores": names, "images": images, "runs": runs,
    }  # fmt: skip


def _image(room: Room, image_id: str, folder: Path, place: Path) -> dict[str, object]:
    """Write an image and its truth; what the browser knows of them."""
    photo, truth = read_image(room.pictures[image_id][0]), read_map(room.pictures[image_id][1])
    size = fitted_size(photo.size, LONGEST)
    photo.resize(size).save(folder / f"{place}.jpg", quality=88)
    painted = paint_labels(truth, room.recipe.scores_background)
    _save(painted, size, folder / f"{place}.png")
    _numbers(truth, size, folder, place)
    unscored = _hatching(~scored(truth, room.recipe.scores_background), folder, place)
    present = [int(k) for k in np.unique(truth) if k <= len(room.recipe.classes)]
    if not room.recipe.scores_background:
        present = [k for k in present if k > 0]
    return {
        "id": image_id, "image": f"{place}.jpg", "truth": f"{place}.png", "unscored": unscored, "classes": present,
        "size": size, "numbers": str(place),
    }  # fmt: skip


def _hatching(mask: NDArray[np.bool_], folder: Path, place: Path) -> str | None:
    """Write a hatching over pixels, as large as pictures get, so that lines are fine on small images too."""
    if not mask.any():
        return None
    size = fitted_size((mask.shape[1], mask.shape[0]), LONGEST, enlarge=True)
    large = np.asarray(Pillow.fromarray(mask).resize(size, NEAREST))
    _save(hatch(large), size, folder / f"{place}-unscored.png")
    return f"{place}-unscored.png"


def _map(room: Room, path: Path, image_id: str, folder: Path, place: Path) -> dict[str, Any]:
    """Write a label map, what of it is not scored by itself, and its error map; what the browser knows of them."""
    truth, predicted = read_map(room.pictures[image_id][1]), read_map(path)
    background = room.recipe.scores_background
    counts = scored(truth, background)
    unmarked = np.uint16(WIDE_IGNORED)
    layers = {"map": np.where(counts, predicted, unmarked), "rest": np.where(counts, unmarked, predicted)}
    size = fitted_size((predicted.shape[1], predicted.shape[0]), LONGEST)
    known: dict[str, Any] = {"errors": f"{place}-errors.png", "numbers": str(place)}
    _numbers(predicted, size, folder, place)
    _save(paint_errors(error_map(predicted, truth, background)), size, folder / known["errors"])
    for name, labels in layers.items():
        known[name] = f"{place}-{name}.png"
        _save(paint_labels(labels, background), size, folder / known[name])
    return {**known, "classes": _given(layers["map"], room), "rest_classes": _given(layers["rest"], room)}


def _scored(scores: ImageScores | None) -> dict[str, Any]:
    return {"scores": scores.values, "iou": scores.ious} if scores else {}


def _numbers(labels: Labels, size: tuple[int, int], folder: Path, place: Path) -> None:
    """Write which class has which pixel, red the number's low byte and green its high one, as a script beside pictures.

    A page from the disk may look into no file's pixels, but into those of a picture that a script holds.
    """
    parts = [Pillow.fromarray((labels >> shift & 255).astype(np.uint8)).resize(size, NEAREST) for shift in (0, 8)]
    stream = io.BytesIO()
    Pillow.merge("RGB", (*parts, Pillow.new("L", size))).save(stream, "PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    held = f'(window.NUMBERS ??= {{}})[{json.dumps(place.as_posix())}] = "{address}";\n'
    (folder / f"{place}.js").write_text(held, encoding="utf-8")


def _given(labels: Labels, room: Room) -> list[int]:
    return [int(k) for k in np.unique(labels) if k <= len(room.recipe.classes)]


def _save(picture: Pillow.Image, size: tuple[int, int], path: Path) -> None:
    # Nearest: a class number between two classes would be a third one.
    small = picture.resize(size, NEAREST)
    small.save(path, transparency=picture.info.get("transparency"), optimize=True)
