"""grids/paper.yaml with ten methods, and workers in virtual time -> how busy one driver keeps how many of them.

    python -m perf.simulation [--workers 128 512 ...] [--batches 200] [--losses 0.01] [--rate 150] [--write]

The plan, the scheduler, the pool that speaks to Ray, the packing of messages, the store and all between them are the
real ones. How much processor time they take a batch is measured first on a quarter of the work, twice: with a driver
that is infinitely fast, then with one that is as late as the first says, which finds as many answers at once as it will
(or it is said by --message, where this machine has other things to do). Then a driver that takes so long drives all of
it in virtual time. Ray itself takes --call microseconds more a message, and a round of its waiting --wait
and --front for every call that is open, as `python -m perf.ray_calls` measures them. Workers are as fast as --rate says
and have their networks open; data sets have as many images as --batches for every worker take.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from harness.contracts import Recipe, Shard
from harness.grid import reading as grids
from harness.grid.cells import Cell
from harness.planning import plan as plans
from harness.planning.plan import Plan
from perf import machine
from perf.fleet import Messages, Sailed, sail
from perf.virtual_ray import Pace, VirtualRay

GRID = Path(__file__).parents[1] / "grids" / "paper.yaml"
OTHERS = ("daam:DAAM", "diffsegmenter:DiffSegmenter", "dataset_diffusion:DatasetDiffusion", "plain_clip:CLIP",
          "sclip:SCLIP", "clearclip:ClearCLIP", "naclip:NACLIP", "gem:GEM")  # fmt: skip
SMALLER = {"GEM": {"depth": 2}}  # than the small model
# Images and classes of the grid's data sets, as docs/data tells them.
SIZES = {
    "PAS-20": (1449, 20), "PC-59": (5104, 59), "A-150": (2000, 150), "City": (500, 19), "FoodPix": (1000, 102),
    "FoodSeg": (2135, 103),
}  # fmt: skip
WORKERS = (64, 128, 256, 512, 1024, 2048, 4096)
JITTER = 0.1  # of the seconds that a batch takes
START = 20.0  # seconds until a worker is ready; the steady state begins later, with all networks open


def ten_methods() -> list[Cell]:
    """The cells of the grid with eight methods more; small models, which plan alike, and data sets without files."""
    written = yaml.safe_load(GRID.read_text("utf-8"))
    written["methods"] += [{"name": use.partition(":")[2], "use": f"methods.{use}", "with": {}} for use in OTHERS]
    for method in written["methods"]:
        method["with"] |= {"model": "shapes", **SMALLER.get(method["name"], {})}
    for place in written["benchmarks"]:
        images, classes = SIZES[place["name"]]
        settings = {"images": images, "number_of_classes": classes, "name": place["name"]}
        place.update({"use": "perf.stand_ins:EmptyImages", "with": settings})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(yaml.safe_dump({**written, "keep": {"label_maps": 0}}))
        return list(grids.read_grid(path).cells)


def planned(batches: int, batch: int = 16) -> Plan:
    """The plan of the grid on data sets that are so much larger that there are so many batches in all."""
    cells = ten_methods()
    groups = len(plans.make("paper", cells, batch).groups) / len(SIZES)
    factor = max(1.0, batches / groups / sum(images // batch for images, _ in SIZES.values()))
    return plans.make("paper", [_larger(cell, factor) for cell in cells], batch)


def _larger(cell: Cell, factor: float) -> Cell:
    settings = cell.benchmark.as_dict()
    images = int(settings["images"] * factor)
    return replace(cell, benchmark=Recipe.of(cell.benchmark.use, **{**settings, "images": images}))


@dataclass(frozen=True)
class Found:
    """busy: the share of the workers' time that they worked in the steady state. driver: the share of the time that the
    driver worked. message: microseconds of the driver a batch, without Ray's part. mebibytes: more than for the plan.
    """

    workers: int
    busy: float
    driver: float
    batches_a_second: float
    rows_a_second: float
    message: float
    mebibytes: float
    lost: int

    def line(self) -> str:
        return (
            f"| {self.workers} | {self.busy:.3f} | {self.driver:.2f} | {self.batches_a_second:,.0f} | "
            f"{self.rows_a_second:,.0f} | "
            f"{self.message:.0f} | {self.mebibytes:.0f} MiB | {self.lost} |"
        )


def simulate(workers: int, options: argparse.Namespace) -> Found:
    """One size of a fleet."""

    def seconds(shard: Shard, chance: random.Random, worker: int) -> float:
        return len(shard.batches[0].slots) / options.rate * chance.uniform(1 - JITTER, 1 + JITTER)

    def driven(batches: int, message: float) -> Sailed:
        plan = planned(batches, options.batch)
        wait, front = (one / 2e6 if message else 0.0 for one in (options.wait, options.front))  # a round waits twice
        pace = Pace(seconds, START, message, wait, front)
        world = VirtualRay(workers, pace, Messages(), options.seed, options.losses)
        before = machine.peak_mebibytes()
        with tempfile.TemporaryDirectory() as folder:
            sailed = sail(plan, world, Path(folder))
        sailed.mebibytes = machine.peak_mebibytes() - before
        wanted = sum(len(one.missing) for one in plan.work)
        assert sailed.rows == wanted, f"{sailed.rows} rows of {wanted}"
        return sailed

    batches = options.batches * workers
    taken = options.message / 1e6
    for _ in range(2 if not taken else 0):
        used = driven(batches // 4, taken and taken + options.call / 1e6).used
        begun, ended = len(used) // 10, _last(len(used), workers)
        taken = (used[ended] - used[begun]) / (ended - begun)
    return _found(workers, driven(batches, taken + options.call / 1e6), 1e6 * taken)


def _last(batches: int, workers: int) -> int:
    """The batch with which the steady state ends."""
    return batches - min(10 * workers, batches // 10)


def _found(workers: int, sailed: Sailed, message: float) -> Found:
    """The steady state: from when all workers are ready, until each has ten batches to do, on average."""
    times, world = sailed.times, sailed.world
    start, end = 1.2 * START, times[_last(len(times), workers)]
    span, working = end - start, times[-1] - times[0]
    done = sum(start <= time <= end for time in times)
    return Found(
        workers, world.busy(start, end) / (workers * span), world.driver_seconds / working, done / span,
        done * sailed.rows / len(times) / span, message, sailed.mebibytes, world.deaths,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--batches", type=int, default=200, help="for each worker")
    parser.add_argument("--batch", type=int, default=16, help="images of a batch")
    parser.add_argument("--losses", type=float, default=0.01, help="share of the workers that is lost in an hour")
    parser.add_argument("--rate", type=float, default=150, help="images a second of a worker")
    parser.add_argument("--call", type=float, default=24, help="microseconds of the driver that Ray takes a call")
    parser.add_argument("--wait", type=float, default=63, help="the same, a round of waiting")
    parser.add_argument("--front", type=float, default=0.4, help="the same, for every open call of a round")
    parser.add_argument("--message", type=float, default=0, help="microseconds of the driver a batch; 0: measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write perf/results/simulation.md")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(simulate(options.workers[0], options).line())
        return
    lines = [
        "| workers | busy | driver busy | batches a second | rows a second | microseconds of the driver a batch | "
        "memory over the plan | workers lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for workers in options.workers:
        batches = options.batches if workers <= 512 else max(8, options.batches * 512 // workers)
        command = [sys.executable, "-m", "perf.simulation", "--here", "--workers", str(workers)]
        command += ["--batches", str(batches), "--losses", str(options.losses), "--rate", str(options.rate)]
        command += ["--call", str(options.call), "--wait", str(options.wait), "--front", str(options.front)]
        command += ["--seed", str(options.seed), "--message", str(options.message), "--batch", str(options.batch)]
        lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        print(lines[-1], flush=True)
    if options.write:
        print(machine.write("simulation", "How many workers one driver feeds", lines))


if __name__ == "__main__":
    main()
