"""Nothing flows in; how long commands take that compute next to nothing flows out: what a start costs.

One image of Shapes under StableSeg with the shipped model: planned, swept in the command's own process, swept on a
private Ray with one worker, and swept again when all is stored. Seconds on the clock; once before, all is read that the
system keeps in memory.

    python -m perf.start [--rounds 3] [--write]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perf import machine

GRID = """
name: start
methods:
  - {name: StableSeg, use: "methods.stableseg:StableSeg", with: {model: shapes}}
benchmarks:
  - {name: Shapes, use: "benchmarks.shapes:Shapes", with: {images: 1}}
"""
WAYS = {
    "--plan": ["--plan"],
    "a sweep with --local": ["--local"],
    "the same again, all stored": ["--local"],
    "a sweep on a private Ray, one worker": ["--workers", "1", "--results", "on-ray"],
}


def starts() -> dict[str, float]:
    """All ways, one after the other, in a new folder. CalledProcessError where a command fails."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "grid.yaml").write_text(GRID, encoding="utf-8")
        for way, words in WAYS.items():
            started = time.perf_counter()
            command = [sys.executable, "-m", "harness.sweep", "grid.yaml", "--no-report", *words]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            found[way] = time.perf_counter() - started
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="leave perf/results/start.md")
    options = parser.parse_args()
    starts()
    rounds = [starts() for _ in range(options.rounds)]
    lines = ["`python -m perf.start`: one image; the median of each.", "", "| command | seconds |", "|---|---|"]
    lines += [f"| {way} | {statistics.median(one[way] for one in rounds):.2f} |" for way in WAYS]
    print("\n".join(lines))
    if options.write:
        machine.write("start", "What a start costs", lines)


if __name__ == "__main__":
    main()
