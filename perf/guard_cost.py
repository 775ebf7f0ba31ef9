"""What looking after plug-ins costs flows out: processor time a call and a batch, and its share of a root grid sweep.

`python perf/guard_cost.py` times calls that do nothing, under everything that a sweep watches. `--seconds` is the
processor time that the images of one batch of grid.yaml take; by default it is measured on two batches. It is told for
a process in which our own plug-ins are alone, as in that grid, and for one in which a stranger's had a turn.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from harness.foreign.calls import Guard
from harness.foreign.lending import LentImage
from harness.grid import reading as grids
from harness.planning import plan as plans
from harness.work.worker import ShardWorker

ROOT = Path(__file__).parents[1]
REPEATS = 9
STRANGER = "careless_helper:Tabled"  # a plug-in with variables that are looked at


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="processor time of one batch of the root grid")
    options = parser.parse_args()
    grid = grids.read_grid(ROOT / "grid.yaml")
    plan = plans.make(grid.name, grid.cells, grid.batch, {}, 2 * grid.batch)
    (shard,) = [one for one in plan.shards() if len(one.runs) > 4][:1]
    worker = ShardWorker(threads=1)
    calls, ask = [0], Guard.ask

    def counted(self: Guard, *given: object, **named: object) -> object:
        calls[0] += 1
        return ask(self, *given, **named)  # type: ignore[arg-type]

    Guard.ask = counted  # type: ignore[method-assign,assignment]
    for _ in worker.run(shard):  # opens the networks
        pass
    calls[0], began = 0, time.process_time()
    batches = len(list(worker.run(shard)))
    seconds = options.seconds or (time.process_time() - began) / batches
    each = calls[0] / batches
    Guard.ask = ask  # type: ignore[method-assign]
    print(f"{each:.0f} calls a batch of {grid.batch} images, which takes {1e3 * seconds:.0f} ms")
    print_cost("ours alone", each, seconds)
    strangers = Guard()
    strangers.settle()
    sys.path.append(str(ROOT / "tests" / "plugins"))
    importlib.import_module(STRANGER.partition(":")[0])
    strangers.ask(STRANGER, ("run", "image"), lambda: None)
    print_cost("beside a stranger's", each, seconds)
    print_cost("a stranger's own", each, seconds, STRANGER)


def print_cost(where: str, each: float, seconds: float, who: str = "benchmarks.x:X") -> None:
    """Print what calls of a plug-in, a batch and both together cost in a process as it is now."""
    guard = Guard()
    guard.settle()
    image = LentImage(np.zeros((96, 96, 3), np.uint8))
    call = best(lambda: guard.ask(who, ("run", "image"), lambda: None, (image,)), 200)
    batch = best(lambda: (guard.settle(), guard.rare_traces(), guard.leave()), 20)
    cost = each * call + batch
    print(f"{where}: a call {1e6 * call:.0f} us, a batch {1e3 * batch:.2f} ms: {cost / seconds:.2%}")


def best(function: Callable[[], object], count: int) -> float:
    """The least processor time of a call, in seconds."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(count):
            function()
        times.append((time.process_time() - began) / count)
    return min(times)


if __name__ == "__main__":
    main()
