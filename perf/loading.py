"""Lessons flow in; how fast threads and processes make crops of them, and what that costs the network's thread.

What a training on a GPU waits for is its own Python thread, which sends kernels off. It is stood in for by small
operations of torch, as many as it manages beside those who make crops.

    python -m perf.loading [--seconds 10] [--makers 1 2]
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from methods.student.crops import Crops, Pixels, in_imagenet_colours

SIZE, CROP = (375, 500), (512, 512)  # of an image and of its crop, as on VOC
COURSE = Crops(CROP, (0.5, 2.0), True, 0.2)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
MASK = np.random.default_rng(1).integers(0, 21, SIZE).astype(np.uint8)
AHEAD = 16  # crops that are under way


def example(draw: int) -> tuple[Pixels, Any]:
    """One example, as a training has it."""
    crop, window = COURSE.cut(IMAGE, np.random.default_rng([2, draw]))
    return in_imagenet_colours(crop), window.mask(MASK)


def launches(seconds: float) -> float:
    """Small operations a second of this thread."""
    torch.set_num_threads(1)
    one, count, began = torch.zeros(1), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(100):
            one.add_(1.0)
        count += 100
    return count / (time.perf_counter() - began)


@contextmanager
def making(pool: Executor | None) -> Iterator[Callable[[], int]]:
    """While it is open crops are made and taken, by a thread that sleeps as long as none is there; how many were."""
    counted, over = [0], threading.Event()

    def take(pool: Executor) -> None:
        coming: deque[Future[Any]] = deque(pool.submit(example, draw) for draw in range(AHEAD))
        while not over.is_set():
            coming.popleft().result()
            counted[0] += 1
            coming.append(pool.submit(example, AHEAD + counted[0]))
        for one in coming:
            one.cancel()

    thread = threading.Thread(target=take, args=[pool]) if pool else None
    if thread:
        thread.start()
    try:
        yield lambda: counted[0]
    finally:
        over.set()
        if thread:
            thread.join()


def measured(pool: Executor | None, seconds: float, busy: bool) -> tuple[float, float]:
    """Crops and operations a second; the latter are 0 of a thread that only waits."""
    if pool:
        list(pool.map(example, range(8)))  # they are there
    with making(pool) as count:
        before, began = count(), time.perf_counter()
        operations = launches(seconds) if busy else 0.0
        if not busy:
            time.sleep(seconds)
        return (count() - before) / (time.perf_counter() - began), operations


def cpu_of_one(crops: int = 40) -> float:
    """Processor seconds of a crop."""
    began = time.process_time()
    for draw in range(crops):
        example(draw)
    return (time.process_time() - began) / crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--makers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; a crop takes {1e3 * cpu_of_one():.1f} ms of one")
    print("| made by | crops a second | beside a busy thread | its operations a second |\n|---|---|---|---|")
    print(f"| nobody | | | {measured(None, options.seconds, True)[1]:,.0f} |")
    for count in options.makers:
        for name in ("threads", "processes"):
            pool = ThreadPoolExecutor(count) if name == "threads" else ProcessPoolExecutor(count, get_context("spawn"))
            with pool:
                alone, (beside, operations) = (
                    measured(pool, options.seconds, False)[0],
                    measured(pool, options.seconds, True),
                )
            print(f"| {count} {name} | {alone:.1f} | {beside:.1f} | {operations:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
