"""A sweep for tests: the raylet of its private Ray is killed after the first batch; prints how that ended."""

from __future__ import annotations

import psutil
from toy_workers import shard_of

from harness.contracts import Recipe
from harness.errors import ClusterError
from harness.executors.cluster import RayExecutor


def main(plugins: str) -> int:
    """The second image takes for ever: if nobody told of the death, this would not end."""
    try:
        with RayExecutor(Recipe.of("toy_workers:Harmful", folder=plugins), workers=1) as executor:
            for _ in executor.run([shard_of("s", ["a"], [["i0"], ["i1sleeps"]])]):
                kill("raylet")
    except ClusterError as error:
        print(error, flush=True)
    return 0


def kill(name: str) -> None:
    """Kill the child process of this name."""
    family = psutil.Process().children(recursive=True)
    next(process for process in family if process.name() == name).kill()
