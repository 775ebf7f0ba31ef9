"""Nothing but its own processor -> what the driver costs: planning, resuming, and a row from the wire to the disk.

    python -m perf.driver [plan] [resume] [rows] [small] [--write]

plan: 300 runs x 50,000 images, nothing stored (promised: 5 s, 300 MB). resume: a folder of 10 million good rows, one
image of each run missing (10 s, 500 MB). rows: batches of 16 images under 10 runs as workers send them, through
scheduling, checks, sums and the store (3 microseconds a row). small: the same under 6 runs, as in perf.simulation.
Each in a process of its own, whose peak memory is taken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from perf import machine

RUNS, IMAGES = 300, 50_000
ROWS, STORED_RUNS = 10_000_000, 300
BATCH = 16


def plan(_: Path) -> str:
    """Plan 300 runs x 50,000 images and cut all shards."""
    from harness.planning import plan as plans
    from harness.planning.report import plan_summary
    from perf.driver_parts import runs_on_images

    started, used = time.perf_counter(), time.process_time()
    made = plans.make("scale", runs_on_images(RUNS, IMAGES), BATCH)
    planned = time.perf_counter() - started
    summary, shards = plan_summary(made, {}, 1), made.shards()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    assert len(made.runs) == RUNS and sum(len(shard.batches) for shard in shards) == IMAGES // BATCH and summary
    return (
        f"| {RUNS} runs x {IMAGES:,} images planned (runs {planned:.1f} s, cost and {len(shards)} shards the rest) | "
        f"{seconds:.1f} s ({used:.1f} of processor time), {machine.peak_mebibytes():.0f} MiB | 5 s, 300 MB |"
    )


def resume(folder: Path) -> str:
    """Read what is stored, plan, and cut the shards of what is missing."""
    from harness import stages
    from harness.planning import plan as plans
    from harness.planning.report import plan_summary
    from perf.driver_parts import stored_cells
    from results.folder.store import Store
    from results.tables import overview

    if not (folder / "rows").is_dir():  # in another process: its memory is not ours
        made = f"from perf.driver_parts import fill_with_rows as fill; fill({str(folder)!r}, {ROWS}, {STORED_RUNS})"
        subprocess.run([sys.executable, "-c", made], check=True)
    images = ROWS // STORED_RUNS
    started, used = time.perf_counter(), time.process_time()
    store = Store.open(folder)
    held = store.held()
    made = plans.make("scale", stored_cells(folder, STORED_RUNS, images), BATCH, held, shelf=stages.shelf(store, held))
    summary, shards = plan_summary(made, overview.seconds_per_image(store, held), 1), made.shards()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    assert made.images_missing == STORED_RUNS and len(shards) == 1 and summary
    return (
        f"| a folder of {ROWS:,} rows ({STORED_RUNS} runs) resumed, one image missing | "
        f"{seconds:.1f} s ({used:.1f} of processor time), {machine.peak_mebibytes():.0f} MiB | 10 s, 500 MB |"
    )


def rows(folder: Path, runs: int = 10) -> str:
    """Messages of workers through the driver."""
    from perf.driver_parts import OVERLAPS, drive

    count, seconds = drive(folder, batches=4000, batch=BATCH, runs=runs)
    return (
        f"| a row at the driver, {count:,} of them in batches of {BATCH} images x {runs} runs, "
        f"{OVERLAPS} overlaps each | "
        f"{1e6 * seconds / count:.2f} microseconds of processor time, {machine.peak_mebibytes():.0f} MiB | "
        "3 microseconds |"
    )


def small(folder: Path) -> str:
    """The same in batches of fewer rows: most of the price is one of batches."""
    return rows(folder, runs=6)


CLAIMS: dict[str, Callable[[Path], str]] = {"plan": plan, "resume": resume, "rows": rows, "small": small}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", choices=[*CLAIMS, []], help="all by default")
    parser.add_argument("--folder", type=Path, help="where the results folders lie, kept for the next time")
    parser.add_argument("--write", action="store_true", help="write perf/results/driver.md")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.claims or list(CLAIMS)
    if options.here:
        print(CLAIMS[names[0]](options.folder))
        return
    lines = ["| what | measured | promised |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = (options.folder or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "perf.driver", name, "--here", "--folder", str(folder)]
            lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
            print(lines[-1], flush=True)
    if options.write:
        print(machine.write("driver", "What the driver costs", ["`python -m perf.driver`:", "", *lines]))


if __name__ == "__main__":
    main()
