"""This checkout and another one -> what small data sets pay for classes of 16 bits, side by side in one run.

Each side runs in processes of its own, by turns, and the least processor time counts: of an image from its decoded
arrays to its row and kept map, of a sweep of the controls on Shapes, of summing a results folder, whose bytes and peak
memory are told too. Then, of this checkout alone, what counting costs with ever more classes.

    python -m perf.wide_classes OTHER_CHECKOUT [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SETS = {"VOC": ((375, 500), 20), "ADE20K": ((512, 683), 150), "Cityscapes": ((1024, 2048), 19)}
WIDE = (150, 1000, 10_000, 65_534)
RUNS, IMAGES, OVERLAPS, CLASSES = 10, 2000, 60, 150
GRID = """
name: controls
methods:
  - {name: OneClass, use: "methods.controls:OneClass"}
  - {name: RandomLabels, use: "methods.controls:RandomLabels", with: {seed: [0, 1]}}
benchmarks: [{name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 150}}]
keep: {label_maps: 8}
"""


def labels(shape: tuple[int, int], classes: int, kind: type[np.unsignedinteger], cell: int = 24) -> np.ndarray:
    """A map in cells of one class, 5 % of its pixels of others: real maps are coherent."""
    rng = np.random.default_rng(classes)
    coarse = rng.integers(1, classes + 1, (-(-shape[0] // cell), -(-shape[1] // cell)))
    fine = coarse.repeat(cell, 0).repeat(cell, 1)[: shape[0], : shape[1]]
    return np.where(rng.random(shape) < 0.05, rng.integers(1, classes + 1, shape), fine).astype(kind)


def of_an_image(shape: tuple[int, int], classes: int, kind: type[np.unsignedinteger] = np.uint8) -> Callable[[], None]:
    """From what a benchmark gives and what a method answers to counts, digest and the kept map."""
    from harness.contracts import ProtocolSettings, Sample
    from harness.protocol.decision import predict
    from harness.protocol.given import checked_sample
    from harness.protocol.offering import numbers_of, offer, scored_truth
    from harness.recipes.origins import sample_digest
    from harness.work.pictures import encode_map
    from harness.work.scoring import overlaps

    truth = labels(shape, classes, kind)
    truth[:8] = np.iinfo(kind).max
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    names, rules = tuple((f"c{k}",) for k in range(classes)), ProtocolSettings(vocabulary="all")
    answer = labels(shape, classes, np.uint16).astype(np.int64) - 1

    def work() -> None:
        sample = checked_sample(Sample("a", image, truth), "a", classes)
        sample_digest(sample)
        offered = offer(numbers_of(sample.truth, classes, rules), names, rules)
        predicted = predict(answer, offered, shape, rules)
        overlaps(scored_truth(sample.truth, rules), predicted)
        encode_map(predicted)

    return work


def of_counting(classes: int) -> Callable[[], None]:
    """The counts of one image of half a megapixel, every class as likely as any other."""
    from harness.work.scoring import overlaps

    truth, predicted = (labels((512, 1024), classes, np.uint16, cell) for cell in (24, 31))
    return lambda: overlaps(truth, predicted) and None


def of_a_sweep() -> None:
    """The controls on Shapes, without a report."""
    from harness import sweep

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        (Path(folder) / "grid.yaml").write_text(GRID)
        arguments = [f"{folder}/grid.yaml", "--results", f"{folder}/runs", "--local", "--no-report"]
        if sweep.main(arguments):
            raise SystemExit("the sweep failed")


def of_a_folder(folder: Path) -> tuple[int, float]:
    """Bytes of the parts of a results folder, and the processor seconds in which they are summed."""
    import polars as pl

    from results.counts.tally import tally
    from results.folder.bounds import BOUNDARIES
    from results.folder.rows import SCHEMA
    from results.folder.store import Store

    store, rng = Store.open(folder), np.random.default_rng(0)
    pairs = np.sort(rng.permuted(np.tile(np.arange(CLASSES * 9), (IMAGES, 1)), axis=1)[:, :OVERLAPS], axis=1)
    true, predicted = 1 + pairs // 9, 1 + pairs // 9 + pairs % 9
    fixed = {"status": "ok", "seconds": 0.1, **dict.fromkeys(("error", "sample", "artefact", *BOUNDARIES))}
    with store.writer() as writer:
        for run in range(RUNS):
            pixels = rng.integers(1, 20_000, true.shape)
            frame = pl.DataFrame({"image_id": [f"{i:06d}" for i in range(IMAGES)], "run_id": f"run{run}", **fixed})
            lists = {"true": true, "predicted": predicted, "pixels": pixels}
            frame = frame.with_columns(pl.Series(name, list(one)) for name, one in lists.items())
            writer.write(frame.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()))
    started = time.process_time()
    tally(store.chunks())
    return sum(path.stat().st_size for path in (folder / "rows").iterdir()), time.process_time() - started


def fastest(work: Callable[[], None], times: int) -> float:
    """The least processor time of some, in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - started))
    return min(taken)


def measure_wide(what: str) -> dict[str, float]:
    """One side's numbers: milliseconds, bytes, MiB."""
    if what == "folder":
        with tempfile.TemporaryDirectory() as folder:
            size, seconds = of_a_folder(Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"bytes of parts": size, "summing them, ms": 1000 * seconds, "peak of that, MiB": peak}
    if what == "wide":
        found = {f"{n} classes, counts of an image, ms": fastest(of_counting(n), 7) for n in WIDE}
        found |= {f"{n} classes, an image, ms": fastest(of_an_image((512, 683), n, np.uint16), 3) for n in WIDE[1:]}
        return found | {"peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    found = {f"an image of {name}, ms": fastest(of_an_image(*of), 9) for name, of in SETS.items()}
    of_a_sweep()  # what is loaded once
    return found | {"a sweep of 450 results, ms": fastest(of_a_sweep, 2)}


def asked(checkout: Path, what: str) -> dict[str, float]:
    """The numbers of a checkout, from a process that runs there."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", what]
    place = {"PYTHONPATH": str(checkout), "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, cwd=checkout, env=os.environ | place, stdout=subprocess.PIPE, check=True)
    numbers: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=("images", "folder", "wide"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_wide(options.measure)))
        return
    if options.other is None:
        parser.error("name the checkout that this one is compared with")
    sides = {"before": options.other.resolve(), "now": Path(__file__).resolve().parents[1]}
    least: dict[str, dict[str, float]] = {side: {} for side in sides}
    for number in range(options.rounds):
        for side, checkout in list(sides.items())[:: -1 if number % 2 else 1]:
            for what in ("images", "folder"):
                for name, value in asked(checkout, what).items():
                    least[side][name] = min(value, least[side].get(name, np.inf))
    for name, before in least["before"].items():
        now = least["now"][name]
        print(f"| {name} | {before:,.1f} | {now:,.1f} | {now / before - 1:+.1%} |", flush=True)
    for name, value in asked(sides["now"], "wide").items():
        print(f"| {name} | | {value:,.1f} | |")


if __name__ == "__main__":
    main()
