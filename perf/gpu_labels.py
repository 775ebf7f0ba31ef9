"""Images of Shapes flow in; label maps of the shipped models flow out, and how they differ between two devices.

python -m perf.gpu_labels FILE IMAGES       on whatever this process sees
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts import ProtocolSettings, Recipe
from harness.planning import plan as plans
from harness.work.worker import ShardWorker
from perf.pipeline import OneRun

PLAIN = [("none", "float32"), ("sar", "float32"), ("samap", "float32")]
FORMATS = [("sar", "bfloat16"), ("sar", "float16")]
BATCH = 8
PRESENT = ProtocolSettings("present")


def made(images: int) -> dict[str, NDArray[np.int64]]:
    """By run: all label maps end to end, under the run's name, and its counts under that name and `counts`."""
    world = Recipe.of("benchmarks.shapes:Shapes", images=images)
    cells = [
        OneRun(Recipe.of("methods.stableseg:StableSeg", model="shapes", refine=refine, dtype=dtype), world,
               f"StableSeg {refine} {dtype}", protocol=PRESENT)
        for refine, dtype in (*PLAIN, *FORMATS)
    ]  # fmt: skip
    cells += [
        OneRun(
            Recipe.of("methods.maskclip:MaskCLIP", model="shapes", dtype=dtype),
            world,
            f"MaskCLIP {dtype}",
            protocol=PRESENT,
        )
        for dtype in ("float32", "bfloat16")
    ]
    plan = plans.make("labels", cells, min(BATCH, images), keep=images)
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    maps: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names.values()}
    side = 1 + max(len(one.run.classes) for one in plan.runs)
    counts = {name: np.zeros((side, side), np.int64) for name in names.values()}
    worker = ShardWorker()
    for row in (row for shard in plan.shards() for done in worker.run(shard) for row in done.rows):
        if row.status != "ok" or row.label_map is None:
            raise SystemExit(f"{names[row.run_id]} on {row.image_id}: {row.error}")
        maps[names[row.run_id]].append(np.asarray(Image.open(io.BytesIO(row.label_map))).astype(np.int64).ravel())
        inside = row.predicted < side
        np.add.at(counts[names[row.run_id]], (row.true[inside], row.predicted[inside]), row.pixels[inside])
    return {name: np.concatenate(held) for name, held in maps.items()} | {
        f"{name} counts": held for name, held in counts.items()
    }


def beside_cpu(here: Mapping[str, NDArray[np.int64]], cpu: Mapping[str, NDArray[np.int64]]) -> Iterator[str]:
    """A line a run of `made`: mIoU over the classes, and pixels whose label is not the CPU's."""
    yield "| run | mIoU here | mIoU on a CPU | pixels that differ from the CPU's in the same format |"
    yield "|---|---|---|---|"
    for name in (name for name in here if not name.endswith("counts")):
        differing = int((here[name] != cpu[name]).sum())
        found = [100 * mean_iou(held[f"{name} counts"]) for held in (here, cpu)]
        yield f"| {name} | {found[0]:.3f} | {found[1]:.3f} | {differing} of {here[name].size} |"


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Of (true, predicted) pixels, over all classes but the background, which this protocol does not score."""
    right = np.diag(counts)[1:]
    union = counts.sum(axis=0)[1:] + counts.sum(axis=1)[1:] - right
    return float((right[union > 0] / union[union > 0]).mean())


def main() -> None:
    file, images = Path(sys.argv[1]), int(sys.argv[2])
    arrays: dict[str, NDArray[np.int64]] = made(images)
    with file.open("wb") as opened:
        np.savez(opened, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
