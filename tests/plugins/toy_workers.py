"""Workers for tests of executors: rows that depend only on run and image, and images and runs that do harm."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.contracts import Batch, BatchDone, ProtocolSettings, Recipe, Row, Rows, Run, Shard


def run_named(name: str) -> Run:
    """A run of which only the name matters."""
    nothing = Recipe.of("nowhere:Nothing")
    return Run(name, name, "", nothing, "Toys", nothing, ProtocolSettings())


def shard_of(name: str, runs: list[str], batches: list[list[str | None]]) -> Shard:
    """A shard of these runs and batches of image ids."""
    parts = tuple(Batch(index, tuple(slots)) for index, slots in enumerate(batches))
    return Shard(name, tuple(run_named(run) for run in runs), parts)


def two_by_two(count: int) -> list[Shard]:
    """Shards of two runs and two batches of two images."""
    return [
        shard_of(f"s{k}", ["a", "b"], [[f"s{k}b{b}i{i}" for i in range(2)] for b in range(2)]) for k in range(count)
    ]


def row_of(run: str, image: str, shape: int) -> Row:
    """Counts that name their run, image and the shape of their batch."""
    seed = int.from_bytes(hashlib.blake2b(f"{run}/{image}/{shape}".encode(), digest_size=4).digest(), "big")
    counts = np.array([seed % 1009 + 1, seed % 97 + 1], np.int64)
    return Row(run, image, "ok", 0.001, None, np.array([0, 1]), np.array([1, 1]), counts)


class Mild:
    """A worker that does its work; `threads` as the executors give it. Subclasses do harm in `compute`."""

    def __init__(self, threads: int | None = None, folder: str | None = None) -> None:
        self.threads = threads

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        for batch in shard.batches:
            rows = [self.compute(run, image, batch) for run in shard.runs for image in batch.image_ids]
            told = ("It is mild.",) if batch.index == 0 else ()
            yield BatchDone(shard.shard_id, batch.index, Rows.of(rows), encodings=len(batch.image_ids), notices=told)

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        return row_of(run.run_id, image, len(batch.slots))


class Harmful(Mild):
    """An image's name says what it does to the process."""

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        if "raises" in image:
            raise RuntimeError(f"cannot see {image}")
        if "segfaults" in image:
            ctypes.string_at(0)
        if "exits" in image:
            os._exit(9)
        if "sleeps" in image:
            time.sleep(3600)
        if run.run_id == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(run, image, batch)


class Ruined(Mild):
    """As a GPU after a failed assertion: from one image on, everything in this process fails."""

    def __init__(self, threads: int | None = None, folder: str | None = None) -> None:
        super().__init__(threads, folder)
        self._ruined = False

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        self._ruined = self._ruined or "ruins" in image
        if self._ruined:
            return Row(run.run_id, image, "failed", 0.0, "CUDA error: device-side assert triggered")
        return super().compute(run, image, batch)


class Unready(Mild):
    """Cannot be opened."""

    def __init__(self, threads: int | None = None, folder: str | None = None) -> None:
        raise FileNotFoundError("no weights in /nowhere")


class Forgetful(Mild):
    """Leaves out a row."""

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        for done in super().run(shard):
            yield BatchDone(done.shard_id, done.index, done.rows[1:] if done.index == 1 else done.rows)


class Meeting(Mild):
    """After its first batch it waits until so many processes are at work, each of them by a file in a place."""

    def __init__(self, place: str, count: int = 2, threads: int | None = None, folder: str | None = None) -> None:
        super().__init__(threads, folder)
        self._place, self._count = Path(place), count

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        (self._place / str(os.getpid())).touch()
        told = f"{os.getpid()} has {self.threads} threads, and {os.environ.get('OMP_NUM_THREADS')} by its environment"
        for done in super().run(shard):
            while done.index > 0 and len(list(self._place.iterdir())) < self._count:
                time.sleep(0.02)
            yield replace(done, notices=(told,))


class Lacking(Mild):
    """What the first machine of several lacks, each of them by its node: there everything fails. Others do nothing
    before three batches of two images and two runs have failed there."""

    def __init__(self, place: str, threads: int | None = None, folder: str | None = None) -> None:
        import ray

        super().__init__(threads, folder)
        node, first = ray.get_runtime_context().get_node_id(), Path(place)
        (own := first.with_suffix(f".{os.getpid()}")).write_text(node)
        with suppress(FileExistsError):
            os.link(own, first)  # with all that is in it
        self._lacks, self._failed = first.read_text() == node, first.with_suffix(".failed")

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        if self._lacks:
            with self._failed.open("a") as file:
                file.write(".")
            return Row(run.run_id, image, "failed", 0.0, "DataError: no folder /data", elsewhere=True)
        end = time.monotonic() + 300
        while time.monotonic() < end and not (self._failed.exists() and self._failed.stat().st_size >= 3 * 4):
            time.sleep(0.02)
        time.sleep(0.02)
        return super().compute(run, image, batch)


class Shortly(Mild):
    """What the first worker of a process lacks, and those that are opened later have. `place` notes who is opened."""

    def __init__(self, place: str, threads: int | None = None, folder: str | None = None) -> None:
        super().__init__(threads, folder)
        with Path(place).open("a") as file:
            self._first = not file.tell()
            file.write("opened\n")

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        if image.startswith("never") or (self._first and run.run_id == "a" and image.startswith("later")):
            return Row(run.run_id, image, "failed", 0.0, "DataError: it cannot be read", elsewhere=True)
        return super().compute(run, image, batch)


class Counting(Mild):
    """Its rows count what this one worker has done."""

    def __init__(self, threads: int | None = None, folder: str | None = None) -> None:
        super().__init__(threads, folder)
        self._done = 0

    def compute(self, run: Run, image: str, batch: Batch) -> Row:
        self._done += 1
        return Row(run.run_id, image, "ok", 0.0, None, np.zeros(1), np.ones(1), np.array([self._done]))
