"""A sweep for tests: says in a file when workers are at work, then waits for them until it is interrupted."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
from toy_workers import shard_of

from harness.contracts import Recipe
from harness.executors.cluster import RayExecutor


def main(plugins: str) -> int:
    """One image is done, the next one takes for ever; the exit code after Ctrl-C is 130."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    try:
        with RayExecutor(Recipe.of("toy_workers:Harmful", folder=plugins), workers=1) as executor:
            for _ in executor.run([shard_of("s", ["a"], [["i0"], ["i1sleeps"]])]):
                Path("family").write_text(" ".join(str(one.pid) for one in psutil.Process().children(recursive=True)))
                Path("family").rename("at work")
    except KeyboardInterrupt:
        return 130
    return 0 if before else 1
