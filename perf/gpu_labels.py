"""Images of Shapes flow in; label maps of the shipped models flow out, and how they differ between two devices.

python -m perf.gpu_labels FILE IMAGES       on whatever this process sees
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.contracts import ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.work.worker import ShardWorker
from perf.pipeline import OneRun

BATCH = 8
PRESENT = ProtocolSettings("present")


class Way(NamedTuple):
    """How a run computes. plain: what its name is without the setting of cards, which is for cards alone."""

    plain: str
    recipe: Recipe
    card: str = ""

    @property
    def name(self) -> str:
        return f"{self.plain} {self.card}".strip()


def stableseg(refine: str, dtype: str, card: str = "") -> Way:
    use, more = "methods.stableseg:StableSeg", {"card": card} if card else {}
    return Way(f"StableSeg {refine} {dtype}", Recipe.of(use, model="shapes", refine=refine, dtype=dtype, **more), card)


def maskclip(dtype: str, card: str = "") -> Way:
    more = {"card": card} if card else {}
    return Way(f"MaskCLIP {dtype}", Recipe.of("methods.maskclip:MaskCLIP", model="shapes", dtype=dtype, **more), card)


WAYS = [
    stableseg("none", "float32"), stableseg("sar", "float32"), stableseg("samap", "float32"),
    stableseg("sar", "bfloat16"), stableseg("sar", "float16"), maskclip("float32"), maskclip("bfloat16"),
]  # fmt: skip
ON_CARDS = [
    stableseg("sar", "float32", "tf32"), stableseg("sar", "bfloat16", "channels_last"), maskclip("float32", "tf32"),
    *[stableseg("sar", "bfloat16", kernel) for kernel in ("flash", "efficient", "cudnn", "math")],
]  # fmt: skip


def made(images: int) -> dict[str, NDArray[Any]]:
    """By run: all label maps end to end, under the run's name, and its counts under that name and `counts`; of a run
    that failed why, under its name and `failed`."""
    world = Recipe.of("benchmarks.shapes:Shapes", images=images)
    ways = [*WAYS, *(ON_CARDS if torch.cuda.is_available() else ())]
    plan = plans.make("labels", [OneRun(way.recipe, world, way.name, protocol=PRESENT) for way in ways],
                      min(BATCH, images), keep=images)  # fmt: skip
    rows: dict[str, list[Row]] = {one.run.run_id: [] for one in plan.runs}
    worker = ShardWorker(threads=int(os.environ.get("OMP_NUM_THREADS", "0")) or None)
    for row in (row for shard in plan.shards() for done in worker.run(shard) for row in done.rows):
        rows[row.run_id].append(row)
    side = 1 + max(len(one.run.classes) for one in plan.runs)
    found: dict[str, NDArray[Any]] = {}
    for one in plan.runs:
        found |= of_run(one.run.method_name, rows[one.run.run_id], side)
    return found


def of_run(name: str, rows: list[Row], side: int) -> dict[str, NDArray[Any]]:
    """What `made` has of one run. side: of the table of counts."""
    failed = [row.error for row in rows if row.status != "ok" or row.label_map is None]
    if failed or not rows:
        return {f"{name} failed": np.array(f"{len(failed)} of {len(rows)} rows failed, {failed[:1]}")}
    counts, maps = np.zeros((side, side), np.int64), []
    for row in rows:
        maps.append(np.asarray(Image.open(io.BytesIO(row.label_map or b""))).astype(np.int64).ravel())
        inside = row.predicted < side
        np.add.at(counts, (row.true[inside], row.predicted[inside]), row.pixels[inside])
    return {name: np.concatenate(maps), f"{name} counts": counts}


def beside_cpu(here: Mapping[str, NDArray[Any]], cpu: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """A line a run of `made`: mIoU over the classes, and pixels whose label is not the CPU's."""
    yield "| run | mIoU here | mIoU on a CPU | pixels that differ from the CPU's in the same format |"
    yield "|---|---|---|---|"
    for way in [*WAYS, *ON_CARDS]:
        name, plain = way.name, way.plain
        if f"{name} failed" in here:
            yield f"| {name} | {str(here[f'{name} failed'])[:200]} | | |"
        elif name in here:
            beside = "does not run" if f"{plain} failed" in cpu else "not there"
            told = f"{100 * mean_iou(here[f'{name} counts']):.3f} | {beside} | "
            if plain in cpu:
                differing = int((here[name] != cpu[plain]).sum())
                both = [f"{100 * mean_iou(held):.3f}" for held in (here[f"{name} counts"], cpu[f"{plain} counts"])]
                told = f"{' | '.join(both)} | {differing} of {here[name].size}"
            yield f"| {name} | {told} |"


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Of (true, predicted) pixels, over all classes but the background, which this protocol does not score."""
    right = np.diag(counts)[1:]
    union = counts.sum(axis=0)[1:] + counts.sum(axis=1)[1:] - right
    return float((right[union > 0] / union[union > 0]).mean())


def main() -> None:
    file, images = Path(sys.argv[1]), int(sys.argv[2])
    aside = file.with_suffix(".part")
    with aside.open("wb") as opened:
        np.savez(opened, allow_pickle=False, **made(images))
    os.replace(aside, file)


if __name__ == "__main__":
    main()
