"""A folder goes in and is filled with results whose numbers are drawn at random: runs, images, maps, a hole, a failure.

Two benchmarks of different sizes of image and vocabulary; a class, a method and an image bear names that a careless
page would take for HTML.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.contracts import Picture, Row
from harness.contracts.facts import digest
from results.folder import keepsakes
from results.folder.proof import stamped
from results.folder.recipes import RunRecipe, file_name_of
from results.folder.store import Store

EVIL = "<script>window.caught = 1</script>"
EVIL_METHOD = '"><img src=x onerror="window.caught = 1">'
EVIL_IMAGE = "../<b>one</b>&'%"
CLASSES = ("disc", EVIL, "ring_1 & co", "star")
PROTOCOL = {"vocabulary": "present", "background": "ignored", "threshold": 0.5, "templates": ["a photo of a {}"]}
SIZES = ((18, 30), (24, 16))  # (height, width)
TABLES: list[dict[str, Any]] = [
    {"name": "main", "caption": "mIoU of 50 % of {methods} & <more>.", "rows": "method", "columns": "benchmark",
     "where": {"method": ["Seg", "Clip", "Seg+"], "refine": "sar", "timestep": 1}, "published": "1 main"},
    {"name": "refinement", "rows": "refine", "columns": ["benchmark", "timestep"], "value": "miou",
     "where": {"method": "Seg"}, "labels": {"sar": "w/ SAR", "none": "w/o SAR"}},
    {"name": "accuracy", "rows": ["method", "variant"], "columns": "benchmark", "value": "pixel_accuracy"},
    {"name": "careless", "rows": "method", "columns": "benchmark", "value": "miou"},
]  # fmt: skip


def runs(images: int) -> list[tuple[RunRecipe, float]]:
    """Recipes, each with the share of pixels that its method gets right."""
    made = []
    for benchmark in ("Toys", "Bricks"):
        for t, right in ((1, 0.8), (300, 0.6)):
            for refine, gain in (("sar", 0.1), ("none", 0.0)):
                settings = {"timestep": t, "refine": refine, "layers": [1, 2], "size": None}
                made.append(
                    (_recipe("Seg", f"timestep={t} refine={refine}", benchmark, settings, images), right + gain)
                )
        made.append((_recipe("Clip", "", benchmark, {"form": "value"}, images), 0.55))
        made.append((_recipe(EVIL_METHOD, "", benchmark, {}, images), 0.3))
    return made


def _recipe(method: str, variant: str, benchmark: str, settings: Mapping[str, Any], images: int) -> RunRecipe:
    run_id = file_name_of(f"{method} {variant} {benchmark}")
    model = {"use": "toy:Net", "settings": {"model": "owner/clip-vit-base-patch16"}, "fingerprint": "weights-0123"}
    ids = digest(sorted(image_ids(images)))
    return RunRecipe(
        run_id, method, variant, {"use": "toy:Method", "settings": dict(settings), "source": "v1"}, benchmark,
        {"use": "toy:Benchmark", "settings": {"split": "val", "name": benchmark}, "images": ids, "classes": "def"},
        PROTOCOL, CLASSES, images, (model,), 8, {"python": "3.11", "numpy": "2.0"}, "0123456789ab-dirty",
    )  # fmt: skip


def image_ids(images: int) -> list[str]:
    """The first one is a trap."""
    return [EVIL_IMAGE, *(f"img-{n:04d}" for n in range(1, images))]


def truth(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width): two classes in halves, a strip of background, a strip that is ignored."""
    labels = np.zeros(size, np.uint8)
    first, second = rng.choice(len(CLASSES), 2, replace=False) + 1
    labels[:, : size[1] // 2], labels[:, size[1] // 2 :] = first, second
    labels[:3], labels[-2:] = 0, 255
    return labels


def predicted(rng: np.random.Generator, labels: NDArray[np.uint8], right: float) -> NDArray[np.uint8]:
    """A label map that gets about `right` of the truth right, image by image more or less."""
    share = np.clip(rng.normal(right, 0.08), 0.02, 0.98)
    guess = rng.integers(1, len(CLASSES) + 1, labels.shape).astype(np.uint8)
    return np.where(rng.random(labels.shape) < share, np.where(labels % 255 == 0, guess, labels), guess)


def row(run_id: str, image_id: str, labels: NDArray[np.uint8], given: NDArray[np.uint8]) -> Row:
    """The overlaps of a label map with the truth, background and ignored pixels left out, counted pixel by pixel."""
    pairs: dict[tuple[int, int], int] = {}
    for true, guess in zip(labels.ravel().tolist(), given.ravel().tolist(), strict=True):
        if 0 < true < 255:
            pairs[true, guess] = pairs.get((true, guess), 0) + 1
    columns = (np.array([pair[n] for pair in pairs]) for n in (0, 1))
    return Row(run_id, image_id, "ok", 0.05, None, *columns, np.array(list(pairs.values())))


def fill(
    folder: Path, images: int = 30, keep: int = 6, seed: int = 0, tables: Sequence[Mapping[str, Any]] = TABLES
) -> Store:
    """Write everything. The last method misses an image on the second benchmark and fails on one of the first."""
    store = Store.open(folder)
    made = runs(images)
    rows: list[Row] = []
    for place, benchmark in enumerate(("Toys", "Bricks")):
        own = [(recipe, right) for recipe, right in made if recipe.benchmark_name == benchmark]
        for number, image_id in enumerate(image_ids(images)):
            rng = np.random.default_rng([seed, place, number])
            labels = truth(rng, SIZES[place])
            for recipe, right in own:
                given = predicted(rng, labels, right)
                rows.append(row(recipe.run_id, image_id, labels, given))
                if number < keep:
                    path = keepsakes.label_map_path(folder, recipe.run_id, image_id)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(stamped(_png(given), path))
            if number < keep:
                photo = rng.integers(0, 255, (*SIZES[place], 3)).astype(np.uint8)
                picture = Picture(image_id, _png(photo, "JPEG"), _png(labels))
                keepsakes.keep_pictures(folder, own[0][0].benchmark, [picture])
    rows = _with_holes(rows, made)
    for recipe, _ in made:
        store.write_recipe(recipe.run_id, recipe.as_dict())
    store.set_table("toys & <b>more</b>", [recipe.run_id for recipe, _ in made], tables)
    with store.writer() as writer:
        writer.append(rows)
    store.event(
        {"event": "sweep", "name": "toys", "runs": 12, "images": len(rows), "passes": 40, "passes_unshared": 160}
    )
    store.event({"event": "batch", "rows": len(rows), "passes": 40, "seconds": 12.5})
    return store


def _with_holes(rows: Sequence[Row], made: Sequence[tuple[RunRecipe, float]]) -> list[Row]:
    last = {r.benchmark_name: r.run_id for r, _ in made if r.method_name == EVIL_METHOD}
    kept = [r for r in rows if not (r.run_id == last["Bricks"] and r.image_id == "img-0003")]
    failed = Row(last["Toys"], "img-0002", "failed", 0.1, "MethodError: <i>it</i> gave up")
    return [failed if (r.run_id, r.image_id) == (last["Toys"], "img-0002") else r for r in kept]


def _png(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    text = io.BytesIO()
    Pillow.fromarray(pixels).save(text, form)
    return text.getvalue()
