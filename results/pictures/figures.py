"""Kept label maps and runs go in; the poster's pictures come out: comparison and timestep strip, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import WIDE_IGNORED
from harness.errors import StoreError, nearest
from results.folder.durable import write_text, write_whole
from results.folder.keepsakes import read_image, read_map
from results.pictures.colours import Labels, Rgb, colour, hatched_over, over, paint_labels, scored
from results.pictures.gallery import Room, rooms
from results.pictures.sheet import PANEL, Figure, to_png, to_svg
from results.tables.evidence import Evidence

IMAGES, RUNS = 4, 6  # how many are shown by themselves


def comparison(evidence: Evidence, room: Room, run_ids: Sequence[str] = (), image_ids: Sequence[str] = ()) -> Figure:
    """Image, truth and label maps of runs, a row an image. StoreError for a run or image of which no map is kept."""
    runs = _chosen(run_ids, list(room.maps), RUNS, "run")
    images = _chosen(image_ids, _shared(room, runs), IMAGES, "image")
    names = [(evidence.entry(i).method, evidence.entry(i).variant) for i in runs]
    headings = ("image", "truth", *(f"{method}\n{variant}".strip() for method, variant in names))
    return _figure(room, headings, runs, images, with_truth=True)


def timestep_strip(evidence: Evidence, room: Room, image_ids: Sequence[str] = ()) -> Figure | None:
    """The image and the label maps of the runs that differ from the best of them only in `timestep`, in its order."""
    series = _timesteps(room, evidence)
    if not series:
        return None
    runs = [run_id for _, run_id in series]
    entry = evidence.entry(runs[0])
    rest = " ".join(word for word in entry.variant.split() if not word.startswith("timestep="))
    headings = ("image", *(f"{entry.method} {rest}".rstrip() + f"\nt = {t:g}" for t, _ in series))
    return _figure(room, headings, runs, _chosen(image_ids, _shared(room, runs), IMAGES, "image"), with_truth=False)


def _timesteps(room: Room, evidence: Evidence) -> list[tuple[float, str]]:
    """(t, run id) of the longest series of runs that differ in nothing but `timestep`; of equals the best one's."""
    series: dict[str, list[tuple[float, str]]] = {}
    for run_id in room.maps:
        recipe = evidence.recipes[run_id]
        settings = dict(recipe.method.get("settings", {}))
        t = settings.pop("timestep", None)
        if isinstance(t, int | float):
            series.setdefault(repr((recipe.method_name, recipe.method["use"], sorted(settings.items()))), []).append(
                (t, run_id)
            )
    longest = max(series.values(), key=len, default=[])
    return sorted(longest) if len(longest) > 1 else []


def _chosen(asked: Sequence[str], known: Sequence[str], number: int, what: str) -> list[str]:
    for one in asked:
        if one not in known:
            raise StoreError(
                f"no label map of {what} {one!r} is kept{nearest(one, known)}; "
                "the grid's `keep:` says of which images they are"
            )
    if not known:
        raise StoreError("these runs have no kept image in common; write `keep: {label_maps: 8}` into the grid")
    return list(asked) or list(known)[:number]


def _shared(room: Room, run_ids: Sequence[str]) -> list[str]:
    return [image for image in room.pictures if all(image in room.maps[run_id] for run_id in run_ids)]


def _figure(
    room: Room, headings: Sequence[str], run_ids: Sequence[str], image_ids: Sequence[str], with_truth: bool
) -> Figure:
    background = room.recipe.scores_background
    rows: list[tuple[Pillow.Image, ...]] = []
    seen: set[int] = set()
    hatched = False
    for image_id in image_ids:
        photo, truth = read_image(room.pictures[image_id][0]), read_map(room.pictures[image_id][1])
        maps = [*([truth] if with_truth else []), *(read_map(room.maps[run_id][image_id]) for run_id in run_ids)]
        counts = scored(truth, background)
        seen.update(*(np.unique(labels[counts]).tolist() for labels in maps))
        hatched |= not counts.all()
        size = (PANEL, max(1, round(PANEL * photo.height / photo.width)))
        small = photo.resize(size, Pillow.Resampling.LANCZOS)
        rows.append((small, *(_panel(small, labels, counts, background) for labels in maps)))
    names = ("background", *room.recipe.classes)
    kept = [k for k in sorted(seen) if k < len(names) and (k or background)]
    legend: list[tuple[str, Rgb | None]] = [(names[k], colour(k)) for k in kept]
    return Figure(tuple(headings), tuple(rows), (*legend, *([("not scored", None)] if hatched else [])))


def _panel(photo: Pillow.Image, labels: Labels, counts: NDArray[np.bool_], background: bool) -> Pillow.Image:
    """A label map laid over the image, hatched where pixels do not count, as in the report."""
    painted = over(photo, paint_labels(np.where(counts, labels, np.uint16(WIDE_IGNORED)), background))
    unscored = Pillow.fromarray(~counts).resize(photo.size, Pillow.Resampling.NEAREST)
    return hatched_over(painted, np.asarray(unscored))


def write_figure(figure: Figure, name: str, folder: Path) -> list[Path]:
    """Write NAME.png and NAME.svg into a folder, which is made; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, drawing = folder / f"{name}.png", folder / f"{name}.svg"
    content = to_png(figure)
    write_whole(picture, lambda file: file.write(content))
    write_text(drawing, to_svg(figure))
    return [picture, drawing]


def room_of(evidence: Evidence, benchmark: str | None = None) -> Room:
    """The kept label maps of a benchmark, by itself the first that has any. StoreError when there are none."""
    found = rooms(evidence)
    if not found:
        raise StoreError(
            f"{evidence.store.folder} keeps no label maps; write `keep: {{label_maps: 8}}` into the grid "
            "and run it again"
        )
    names = [room.column.benchmark for room in found]
    if benchmark is not None and benchmark not in names:
        raise StoreError(f"no label maps of {benchmark!r} are kept (benchmarks: {', '.join(names)})")
    return found[names.index(benchmark) if benchmark else 0]
