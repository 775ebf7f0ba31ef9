"""Two checkouts -> what the safeguards of one cost on an undisturbed sweep, side by side, in processor and wall time.

Each checkout has one process, which sweeps once unmeasured (networks are opened, files are read), then both sweep in
turns, each time into a fresh folder, the order changing from round to round. What is compared is the median over rounds
of the ratio of neighbours, so that a machine that gets slower meanwhile disturbs both alike.

    python perf/safeguards.py OTHER_CHECKOUT [--grid grid.yaml] [--limit 24] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
MOST = 0.03  # of the other's time


def serve_sweeps(grid: str, limit: int) -> None:
    """In a checkout's own process: a sweep for every line that comes, answered by its seconds."""
    from harness import sweep

    for _ in sys.stdin:
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
            said, sys.stdout = sys.stdout, nowhere
            began, used = time.perf_counter(), time.process_time()
            code = sweep.main([grid, "--local", "--no-report", "--limit", str(limit), "--results", folder])
            taken = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used, "code": code}
            sys.stdout = said
        print(json.dumps(taken), flush=True)


class Checkout:
    """The process of one checkout."""

    def __init__(self, folder: Path, grid: Path, limit: int) -> None:
        command = [sys.executable, __file__, "--serve", str(grid), "--limit", str(limit)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def sweep(self) -> dict[str, Any]:
        """Seconds of one sweep."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print("sweep", file=self.process.stdin, flush=True)
        taken: dict[str, Any] = json.loads(self.process.stdout.readline())
        if taken["code"]:
            raise SystemExit(f"the sweep of {self.process.args} ended with {taken['code']}")
        return taken

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout without the safeguards")
    parser.add_argument("--grid", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", metavar="GRID", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_sweeps(options.serve, options.limit)
        return 0
    grid = options.grid.resolve()
    ours, theirs = (Checkout(folder, grid, options.limit) for folder in (HERE, options.other.resolve()))
    for one in (ours, theirs):
        one.sweep()
    rounds = []
    for number in range(options.rounds):
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        taken = {id(one): one.sweep() for one in (first, second)}
        rounds.append((taken[id(ours)], taken[id(theirs)]))
        print(" ".join(f"{one[kind]:.2f}" for kind in ("cpu", "wall") for one in rounds[-1]), flush=True)
    for one in (ours, theirs):
        one.close()
    costs = {kind: statistics.median(a[kind] / b[kind] for a, b in rounds) - 1 for kind in ("cpu", "wall")}
    for kind, cost in costs.items():
        print(f"{kind}: {100 * cost:+.2f} % (median of {len(rounds)} rounds; promised: at most {100 * MOST:.0f} %)")
    return int(costs["cpu"] > MOST)


if __name__ == "__main__":
    sys.exit(main())
