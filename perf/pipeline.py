"""A network that only sleeps flows in; how near a worker comes to its rate flows out.

500 x 375 JPEGs with their masks lie in a folder; a network sleeps 5 ms an image, one reader gives scores of three
classes from what it leaves. Decoding, resizing, reading, deciding, counting and handing over have to find room beside
the sleep. The network and its reader are a plug-in of somebody else's, looked after like one; with --ours they count as
the house's own. The first batches, in which all is loaded and looked at, are left out.

    python -m perf.pipeline [--images 384] [--batch 16] [--ours] [--write]

--write: all of it, for perf/results/pipeline.md: batches of 16, 32 and 64, a stranger's network and one of ours. Where
others are at work on the machine too, `chrt --rr 1` before the command gives it the cores first.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from harness.contracts import Parts, Pass, ProtocolSettings, Query, Recipe, Vocabulary
from perf import machine

SLEEP = 0.005  # seconds an image
SIZE = (375, 500)
WARM = 3  # batches
BATCHES = (16, 32, 64)
HERE = "perf.pipeline"
ALL = ProtocolSettings("all")
NAMES = ("one", "two", "three")


@dataclass(frozen=True)
class Sleep:
    """The one pass of the network."""

    backbone: Recipe
    encoding: str = "one"


@dataclass(frozen=True)
class Sleeper:
    """A network that takes its time and leaves next to nothing: a map of brightness, 64 x 64."""

    version: ClassVar[int] = 1

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        for request in requests:
            time.sleep(SLEEP * len(queries))
            yield request, [query.image[:64, :64].mean(axis=2, dtype=np.float32) for query in queries]


@dataclass(frozen=True)
class Awake:
    """Scores (classes, 64, 64) of what the network left."""

    version: ClassVar[int] = 1

    def passes(self) -> Mapping[Pass, Parts]:
        """The one pass."""
        return {Sleep(Recipe.of(f"{HERE}:Sleeper")): frozenset()}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        """A turn of the map for every class."""
        (held,) = features.values()
        return np.stack([np.roll(held, 7 * place, axis=1) for place in range(len(vocabulary))])


@dataclass(frozen=True)
class OneRun:
    """One run of a grid, see harness.planning.plan."""

    method: Recipe
    benchmark: Recipe
    method_name: str = "awake"
    variant: str = ""
    benchmark_name: str = "photographs"
    protocol: ProtocolSettings = ALL


def photographs(folder: Path, images: int, classes: Sequence[str] = NAMES) -> Recipe:
    """A folder of photographs, as far as decoders are concerned: noise at every scale; and masks of these classes."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        coarse = coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC)
        noise = rng.integers(-12, 13, (*SIZE, 3))
        pixels = np.clip(np.asarray(coarse, np.int64) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:05d}.jpg", quality=92)
        mask = rng.integers(0, len(classes), (12, 16), np.uint8).repeat(32, 0).repeat(32, 1)[: SIZE[0], : SIZE[1]]
        Image.fromarray(mask).save(folder / "masks" / f"{number:05d}.png")
    return Recipe.of("benchmarks.folder:Folder", root=str(folder), classes=tuple(classes))


def rate(
    images: int,
    batch: int,
    method: str = "",
    classes: Sequence[str] = NAMES,
    threads: int = 1,
    benchmark: Recipe | None = None,
    **settings: str,
) -> tuple[float, float, float]:
    """In the steady state: images a second, and processor time of an image, in ms, in the thread that feeds the network
    and in all threads. method, settings: whose network it is, in place of the one that sleeps. benchmark: photographs
    that are there already."""
    from harness.planning import plan as plans
    from harness.work.worker import ShardWorker

    with tempfile.TemporaryDirectory() as folder:
        benchmark = benchmark or photographs(Path(folder), images, classes)
        recipe = Recipe.of(method or f"{HERE}:Awake", **settings)
        plan = plans.make("pipeline", [OneRun(recipe, benchmark)], batch)
        (shard,) = plan.shards(images)
        ends = []
        for done in ShardWorker(threads=threads).run(shard):
            assert all(row.status == "ok" for row in done.rows), done.rows[0].error
            ends.append((time.perf_counter(), time.thread_time(), time.process_time()))
    first, last = ends[WARM - 1], ends[-2]  # behind the last one nothing waits
    count = batch * (len(ends) - 1 - WARM)
    clock, feeding, whole = ((end - start) / count for start, end in zip(first, last, strict=True))
    return 1 / clock, 1000 * feeding, 1000 * whole


def rate_line(images: int, batch: int) -> str:
    """A line of a table; whether its own counts as ours was said before."""
    found, feeding, whole = rate(images, batch)
    return f"{found:.0f} | {found * SLEEP:.2f} | {feeding:.2f} ms | {whole:.2f} ms"


def pipeline_page() -> str:
    """All sizes of a batch and both kinds of a network, each in a process of its own, as a page of results."""
    lines = [
        "`python -m perf.pipeline`: a network that sleeps 5 ms an image, 500 x 375 JPEGs with their masks, one reader, "
        "three classes offered.", "",
        "| network | batch | images a second | of its rate | processor of the feeding thread, an image | in all |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for whose, own in (("a stranger's", []), ("ours", ["--ours"])):
        for batch in BATCHES:
            command = [sys.executable, "-m", HERE, "--here", "--batch", str(batch), "--images", str(16 * batch), *own]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            lines.append(f"| {whose} | {batch} | {said} |")
            print(lines[-1], flush=True)
    return machine.write("pipeline", "How near a worker comes to the rate of its network", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--write", action="store_true", help="write perf/results/pipeline.md")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        print(pipeline_page())
        return
    if options.ours:
        from harness.foreign import company, foundations

        company.OURS = foundations.OURS = (*foundations.OURS, "perf")
    if options.here:
        print(rate_line(options.images, options.batch))
        return
    found, feeding, whole = rate(options.images, options.batch)
    whose = "a network of ours" if options.ours else "a stranger's network"
    print(f"{whose}: {found:.0f} images a second, {found * SLEEP:.2f} of the network's own {1 / SLEEP:.0f}; batches of "
          f"{options.batch}, {platform.machine()}, {os.cpu_count()} cores; of an image {feeding:.2f} ms of a processor "
          f"in the thread that feeds the network, {whole:.2f} ms in all")  # fmt: skip


if __name__ == "__main__":
    main()
