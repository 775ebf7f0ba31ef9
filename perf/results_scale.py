"""A synthetic results folder -> time and memory of the leaderboard and of the bootstrap at the sizes we promise.

Leaderboard: 100 million stored overlaps (20 runs x 50,000 images x 100 overlaps, 150 classes), made here, written by
the store's own writer, and read by `python -m results.leaderboard` in a process of its own whose peak memory is taken.
Bootstrap: 20 runs x 2,000 images x 150 classes, 10,000 resamples.

    python -m perf.results_scale [--folder DIR] [--overlaps 100000000]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from results.counts import image_effects, significance
from results.folder.store import Store

RUNS, CLASSES, OVERLAPS, PER_PART = 20, 150, 100, 5000


def make_folder(folder: Path, overlaps: int) -> int:
    """Write the folder; returns the images a run."""
    images = overlaps // (RUNS * OVERLAPS)
    store = Store.open(folder)
    rng = np.random.default_rng(0)
    with store.writer() as writer:
        for run in range(RUNS):
            store.write_recipe(f"run{run:02d}", recipe(run, images))
            for start in range(0, images, PER_PART):
                writer.write(part(rng, f"run{run:02d}", range(start, min(start + PER_PART, images))))
    store.set_table("scale", [f"run{run:02d}" for run in range(RUNS)])
    return images


def part(rng: np.random.Generator, run_id: str, images: range) -> pl.DataFrame:
    """Rows of random overlaps, each (true, predicted) pair once an image, half of them on the diagonal."""
    count = len(images)
    true = np.sort(rng.permuted(np.tile(np.arange(1, CLASSES + 1, dtype=np.uint16), (count, 1)), axis=1)[:, :OVERLAPS])
    wrong = rng.integers(1, CLASSES + 1, true.shape, dtype=np.uint16)
    predicted = np.where(rng.random(true.shape) < 0.5, true, wrong)
    pixels = rng.integers(1, 20_000, true.shape, dtype=np.uint32)
    columns = {"run_id": [run_id] * count, "image_id": [f"{i:07d}" for i in images], "status": ["ok"] * count}
    return pl.DataFrame(columns).with_columns(
        seconds=pl.lit(0.1), error=pl.lit(None, pl.String), true=pl.Series(true), predicted=pl.Series(predicted),
        pixels=pl.Series(pixels),
    ).with_columns(pl.col("true", "predicted", "pixels").arr.to_list())  # fmt: skip


def recipe(run: int, images: int) -> dict[str, object]:
    classes = [f"class {k}" for k in range(1, CLASSES + 1)]
    facts = {"use": "synthetic:Synthetic", "settings": {"run": run}}
    names = {
        "run_id": f"run{run:02d}",
        "method_name": f"method {run:02d}",
        "variant": "",
        "benchmark_name": "synthetic",
    }
    rules = {"vocabulary": "all", "background": "ignored"}
    return {**names, "method": facts, "benchmark": facts, "protocol": rules, "classes": classes, "images": images}


def time_leaderboard(folder: Path) -> tuple[float, float]:
    """Seconds and peak GiB of the leaderboard's own process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "results.leaderboard", str(folder)], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return time.perf_counter() - started, peak


def statistics() -> float:
    """Seconds for all intervals and comparisons, from counts of every image and class."""
    rng = np.random.default_rng(1)
    union = rng.integers(0, 50_000, (RUNS, 2000, CLASSES))
    inside = (union * rng.random(union.shape)).astype(np.int64)
    started = time.perf_counter()
    effects = image_effects.of_arrays(inside, union, union.min(axis=0))
    significance.groups(effects)
    significance.all_pairs(effects)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--overlaps", type=int, default=100_000_000)
    options = parser.parse_args()
    print(
        f"bootstrap: {statistics():.1f} s for 10,000 resamples x 2,000 images x {CLASSES} classes x {RUNS} runs",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        images = make_folder(folder, options.overlaps)
        size = sum(path.stat().st_size for path in (folder / "rows").iterdir()) / 2**30
        print(
            f"store: {RUNS} runs x {images} images, {RUNS * images * OVERLAPS:,} overlaps, {size:.2f} GiB", flush=True
        )
        seconds, peak = time_leaderboard(folder)
        print(f"leaderboard: {seconds:.0f} s, peak {peak:.2f} GiB, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
