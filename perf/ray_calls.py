"""Calls of Ray's actors flow in, as the driver makes them; microseconds of its thread that Ray takes of each flow out.

    python -m perf.ray_calls [--calls 600] [--fronts 0 128 512 1024]

perf.simulation assumes so much a call (`--call`). fronts: how many calls of others are open meanwhile, over all of
which the driver waits twice a round. A busy driver finds many answers a round, so that what a wait costs is shared.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import ray

ANSWER = b"x" * 6000  # as large as a batch of 96 rows
FAST = 2  # actors that answer


class Slow:
    """Never answers."""

    async def pending(self) -> None:
        await asyncio.sleep(1e6)


class Fast:
    """Answers at once."""

    def step(self) -> bytes:
        return ANSWER


def costs(slow: Any, fast: list[Any], fronts: int, calls: int) -> str:
    """Ask, and get, so many answers while so many other calls are open; a line of a table."""
    idle = [slow.pending.remote() for _ in range(fronts)]
    asking = time.thread_time()
    asked = {one.step.remote(): one for one in fast * (calls // FAST)}
    asking = 1e6 * (time.thread_time() - asking) / calls
    ray.wait(list(asked), num_returns=len(asked), timeout=60)
    waiting = time.thread_time()
    every = [*idle, *asked]
    for _ in range(10):
        ray.wait(every, num_returns=1, timeout=1)
        ray.wait(every[: fronts + FAST], num_returns=fronts + FAST, timeout=0)
    waiting = 1e6 * (time.thread_time() - waiting) / 10
    getting = time.thread_time()
    for one in asked:
        ray.get(one, timeout=60)
    getting = 1e6 * (time.thread_time() - getting) / calls
    for call in idle:
        ray.cancel(call)
    return f"| {fronts} | {asking:.0f} | {getting:.0f} | {waiting:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--fronts", type=int, nargs="+", default=[0, 128, 512, 1024])
    options = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    many = 1 + max(options.fronts)
    slow = ray.remote(Slow).options(num_cpus=0, max_concurrency=many).remote()
    fast = [ray.remote(Fast).options(num_cpus=0).remote() for _ in range(FAST)]
    costs(slow, fast, 0, options.calls)  # opens connections
    print("| open calls | microseconds to ask | to get | both waits of a round |\n|---|---|---|---|")
    for fronts in options.fronts:
        print(costs(slow, fast, fronts, options.calls), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
