"""Sizes -> what perf.driver measures with: cells of grids, a results folder full of rows, messages of workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from harness.contracts import Mark, Origin, ProtocolSettings, Recipe
from harness.foreign.opened import mark_of
from harness.grid.cells import Cell
from harness.planning import plan as plans
from results.folder import origins
from results.folder.store import Store

OVERLAPS = 9  # pairs of classes an image: three classes offered and three there
PER_PART = 100_000


def runs_on_images(runs: int, images: int, root: str = "") -> list[Cell]:
    """So many runs on one benchmark that share ten passes."""
    place = Recipe.of("perf.stand_ins:EmptyImages", images=images, root=root)
    readers = [Recipe.of("perf.stand_ins:EmptyReader", variant=n, timestep=n % 10) for n in range(runs)]
    return [Cell("Reader", f"variant={n}", one, "Images", place, ProtocolSettings()) for n, one in enumerate(readers)]


def stored_cells(folder: Path, runs: int, images: int) -> list[Cell]:
    """Of the runs whose rows `fill_with_rows` stored, and of one image that it did not."""
    return runs_on_images(runs, images + 1, str(folder / "images"))


def fill_with_rows(folder: str, rows: int, runs: int) -> None:
    """A results folder with good rows of so many runs, equally many each, and files that the images came from."""
    place, images = Path(folder), rows // runs
    (place / "images").mkdir(parents=True)
    made = plans.make("scale", stored_cells(place, runs, images), 16)
    image_ids = np.array(made.runs[0].image_ids[:images])
    for image_id in made.runs[0].image_ids:
        (place / "images" / image_id).touch()
    samples = np.array([f"{number:032x}" for number in range(images)])
    data = next(iter(made.data.values()))
    marks = ((mark_of(str(place / "images" / image_id)),) for image_id in image_ids)
    store = Store.open(place)
    origins.remember(place, data.key, map(_origin, image_ids.tolist(), samples.tolist(), marks))
    rng = np.random.default_rng(0)
    with store.writer() as writer:
        for planned in made.runs:
            store.write_recipe(planned.run.run_id, {"run_id": planned.run.run_id, **_recipe(planned.record)})
        for start in range(0, images, max(1, PER_PART // runs)):
            part = slice(start, start + max(1, PER_PART // runs))
            writer.write(_frame(rng, [one.run.run_id for one in made.runs], image_ids[part], samples[part]))


def _recipe(record: object) -> dict[str, object]:
    assert isinstance(record, dict)
    return {
        **record, "method_name": "Reading", "variant": "", "benchmark_name": "Images",
        "protocol": {"vocabulary": "present", "background": "ignored"},
    }  # fmt: skip


def _origin(image_id: str, sample: str, marks: tuple[Mark, ...]) -> Origin:
    return Origin(image_id, sample, marks, "numpy 2.0", sample)


def _frame(rng: np.random.Generator, run_ids: Sequence[str], images: np.ndarray, samples: np.ndarray) -> pl.DataFrame:
    """Rows of some images of all runs: as a sweep leaves them, which does all runs of a batch at once."""
    count = len(run_ids) * len(images)
    pairs = np.tile(np.arange(OVERLAPS, dtype=np.uint16), (count, 1))
    columns = {
        "run_id": np.repeat(np.array(run_ids), len(images)).tolist(),
        "image_id": np.tile(images, len(run_ids)).tolist(), "status": ["ok"] * count,
    }  # fmt: skip
    return pl.DataFrame(columns).with_columns(
        seconds=pl.Series(rng.random(count)), error=pl.lit(None, pl.String), true=pl.Series(pairs // 3 + 1),
        predicted=pl.Series(pairs % 3 + 1),
        pixels=pl.Series(rng.integers(1, 30_000, pairs.shape, dtype=np.uint32)),
        sample=pl.Series(np.tile(samples, len(run_ids)).tolist()),
    ).with_columns(pl.col("true", "predicted", "pixels").arr.to_list())  # fmt: skip


def drive(folder: Path, batches: int, batch: int, runs: int) -> tuple[int, float]:
    """Rows that went from the wire to the disk, and seconds of processor time of all threads that this took."""
    from perf.fleet import Messages, sail
    from perf.virtual_ray import Pace, VirtualRay

    made = plans.make("rows", runs_on_images(runs, batches * batch), batch)
    says = Messages(OVERLAPS)
    messages = {one.index: says(shard, one, 1) for shard in made.shards() for one in shard.batches}
    world = VirtualRay(4, Pace(lambda shard, chance, worker: 0.1), lambda shard, one, worker: messages[one.index])
    used = time.process_time()
    sailed = sail(made, world, folder)
    assert sailed.rows == batches * batch * runs
    return sailed.rows, time.process_time() - used - world.own_seconds
