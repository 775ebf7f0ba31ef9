"""A script for tests: a sweep on a private Ray whose raylet is killed after the first batch; prints how it ended."""

import json
import sys
import time

import psutil
from toy_workers import shard_of

from harness.contracts import Recipe
from harness.errors import ClusterError
from harness.executors.cluster import RayExecutor


def main(plugins: str) -> None:
    """The error, and the seconds from the kill to it."""
    killed = 0.0
    try:
        with RayExecutor(Recipe.of("toy_workers:Slow", folder=plugins), workers=1) as executor:
            for _ in executor.run([shard_of("s", ["a"], [[f"i{k}"] for k in range(1000)])]):
                killed = killed or kill("raylet")
    except ClusterError as error:
        print(json.dumps({"error": str(error), "seconds": time.monotonic() - killed}))


def kill(name: str) -> float:
    """Kill the child process of this name; when that was."""
    family = psutil.Process().children(recursive=True)
    next(process for process in family if process.name() == name).kill()
    return time.monotonic()


if __name__ == "__main__":
    main(sys.argv[1])
