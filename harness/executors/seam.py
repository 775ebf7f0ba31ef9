"""Shards -> BatchDone: the seam behind which work is done, and the executor that does it in this process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from harness.contracts import Batch, BatchDone, Recipe, Shard
from harness.errors import in_words, of_host
from harness.executors.own_process import Household
from harness.executors.second_tries import parted
from harness.executors.suspects import Piece, failed_rows
from harness.foreign import interrupts
from harness.learning import fitting
from harness.learning.fitting import Ended, FitJob


class Worker(Protocol):
    """What one process does with a shard; built from a recipe in the process that uses it."""

    def close(self) -> None:
        """End what it started; can be called again."""
        ...

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch, in order, with one row per run and wanted image."""
        ...


class Executor(Protocol):
    """Sends shards to workers. Whoever computes, the rows are the same but for their seconds."""

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        """What got done, as it comes; the rows of a batch can come in several parts, each (run, image) once. Where a
        signal asks for an end (interrupts.closing), what is at work is done and no more.
        """
        ...

    def fit(self, jobs: Sequence[FitJob], begin: Callable[[FitJob], None]) -> Iterator[Ended]:
        """Do fits that do not depend on each other; each comes out as it ends, with what it failed of, or None.

        One goes on from where an earlier try came to; what it told is found by fitting.told_by_fit. begin is told of
        each that starts.
        """
        ...

    def close(self) -> None:
        """Let the workers go; can be called again."""
        ...


class LocalExecutor:
    """One worker in this process, opened when the first shard comes; for small jobs and for debuggers.

    What failed for a reason of the machine is tried once more at the end, by a worker that opens everything anew.
    """

    def __init__(self, worker: Recipe) -> None:
        self._recipe = worker
        self._worker: Worker | None = None

    def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
        again: list[Shard] = []
        for shard, done in self._done(shards):
            kept, pieces = parted(Piece.whole(shard), done) if done.rows.elsewhere else (done, ())
            again += [piece.shard for piece in pieces]
            yield kept
        if again and not interrupts.closing():
            self.close()
            gc.collect()  # networks that hold each other would stay beside those that are opened now
            yield from (done for _, done in self._done(again))

    def _done(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, BatchDone]]:
        """Batch by batch, until an end is asked for."""
        for shard in shards:
            self._worker = self._worker or open_worker(self._recipe)
            for done in steadily(self._worker, shard):
                yield shard, done
                if interrupts.closing():
                    return

    def fit(self, jobs: Sequence[FitJob], begin: Callable[[FitJob], None]) -> Iterator[Ended]:
        return fitting.one_by_one(jobs, begin)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_worker(recipe: Recipe) -> Worker:
    """The worker that a recipe describes, and what starts a process for a method that has one of its own.

    Raises AddressError, SettingsError, or what the worker's constructor raises.
    """
    return Household(recipe)


def steadily(worker: Worker, shard: Shard) -> Iterator[BatchDone]:
    """The worker's batches; one on which it raises, or leaves rows out, becomes failed rows, and the next is tried."""
    batches: Iterator[BatchDone] | None = None
    for position, batch in enumerate(shard.batches):
        try:
            batches = batches or worker.run(replace(shard, batches=shard.batches[position:]))
            outcome = [_checked(next(batches, None), shard, batch)]
        except BaseException as raised:
            error = interrupts.foreign(raised)
            reason = f"The worker broke on this batch: {in_words(error)}"
            outcome = list(failed_rows(replace(shard, batches=(batch,)), shard.runs, reason, of_host(error)))
            batches = None
        yield from outcome


def _checked(done: BatchDone | None, shard: Shard, batch: Batch) -> BatchDone:
    wanted = {(run.run_id, image) for run in shard.runs for image in batch.image_ids}
    given = done.rows.keys if done else []
    if done and (done.shard_id, done.index) == (shard.shard_id, batch.index) and sorted(given) == sorted(wanted):
        return done
    asked = f"batch {batch.index} of shard {shard.shard_id} should give {len(wanted)} rows, one a run and image"
    said = f"{len(given)} rows for batch {done.index} of shard {done.shard_id}" if done else "nothing"
    raise ValueError(f"{asked}; the worker gave {said}")
