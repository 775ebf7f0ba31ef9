"""Nothing flows in; what a grid costs beside its cells one by one flows out: three refinements at eight timesteps.

The model has the real shapes of Stable Diffusion 1.x and random weights. One image of Shapes, at 512 x 512 as the
networks see it, goes through all 24 runs as one grid, and through each alone; the network is open before. Processor
time of one thread, which other work on the machine hardly changes. A cell by itself, as a command, would open the
network besides.

    python -m perf.one_by_one [--size real] [--write]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from harness.contracts import Recipe
from harness.executors.seam import LocalExecutor
from harness.grid import reading as grids
from harness.planning import plan as plans
from perf import machine
from perf.gpu_models import write_diffusion

TIMESTEPS = [1, 50, 100, 200, 300, 500, 700, 900]
GRID = """
name: one by one
batch: 1
methods:
  - name: StableSeg
    use: methods.stableseg:StableSeg
    with: {{model: {model}, timestep: {timesteps}, refine: [none, sar, samap]}}
benchmarks:
  - {{name: Shapes, use: "benchmarks.shapes:Shapes", with: {{images: 1}}}}
"""


def cpu_seconds(executor: LocalExecutor, plan: plans.Plan) -> float:
    """Processor time; RuntimeError where a row failed."""
    started = time.process_time()
    rows = [row for done in executor.run(plan.shards()) for row in done.rows]
    spent = time.process_time() - started
    if any(row.status != "ok" for row in rows) or len(rows) != len(plan.runs):
        raise RuntimeError(f"A row failed: {[row.error for row in rows]}.")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("real", "small"), default="real")
    parser.add_argument("--write", action="store_true", help="leave perf/results/one_by_one.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, path = write_diffusion(Path(folder) / "model", options.size, "cpu"), Path(folder) / "grid.yaml"
        path.write_text(GRID.format(model=model, timesteps=TIMESTEPS), encoding="utf-8")
        grid = grids.read_grid(path)
        executor = LocalExecutor(Recipe.of("harness.work.worker:ShardWorker", folder=folder, threads=1))
        plan = plans.make(grid.name, grid.cells, grid.batch)
        alone = [plans.make(grid.name, [cell], grid.batch) for cell in grid.cells]
        opening = cpu_seconds(executor, alone[0])
        grid_seconds, cells = cpu_seconds(executor, plan), [cpu_seconds(executor, own) for own in alone]
    opening -= cells[0]
    lines = [
        f"`python -m perf.one_by_one --size {options.size}`: {len(alone)} runs of StableSeg, one image, one thread, "
        "processor time.",
        "",
        "| way | seconds | of the grid |",
        "|---|---|---|",
        f"| as one grid | {grid_seconds:.1f} | 1 |",
        f"| its cells one by one, the network open | {sum(cells):.1f} | {sum(cells) / grid_seconds:.2f} |",
    ]
    whole, apart = grid_seconds + opening, sum(cells) + opening * len(cells)
    lines.append(f"| each opening the network ({opening:.1f} s), as commands do | {apart:.1f} | {apart / whole:.2f} |")
    print("\n".join(lines))
    if options.write:
        machine.write("one_by_one", "A grid beside its cells one by one", lines)


if __name__ == "__main__":
    main()
