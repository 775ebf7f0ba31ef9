"""Shards of a method that has a process of its own flow in; its rows flow out, whatever becomes of the process.

The worker in the child is the one that would have done the work here; batches go to it one by one. A death costs a
batch only what it was at: the batch is tried again run by run and image by image, in the same shape. A child that says
nothing for much longer than its batches take is ended, which is a death too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection
from typing import Any, cast

from harness.contracts import BatchDone, Recipe, Rows, Shard
from harness.errors import in_words
from harness.executors.patience import Patience
from harness.executors.suspects import STOP_AFTER, Piece, failed_rows
from harness.foreign import interrupts
from harness.recipes import loading

PATIENCE = 5.0  # seconds that a child has to end by itself


class Household:
    """A worker, and beside it a process for every method that has one of its own; fulfils seam.Worker."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._shared = loading.build(recipe)
        self._own: dict[str, OwnProcess] = {}

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch, in order."""
        if not shard.runs[0].own:
            return cast("Iterator[BatchDone]", self._shared.run(shard))
        return self._process(shard.runs[0].method_name).run(shard)

    def close(self) -> None:
        """End the processes."""
        for process in self._own.values():
            process.close()
        self._own = {}

    def _process(self, name: str) -> OwnProcess:
        if name not in self._own:
            settings = {**self._recipe.as_dict(), "own": True}
            self._own[name] = OwnProcess(Recipe.of(self._recipe.use, **settings))
        return self._own[name]


class OwnProcess:
    """A child process with a worker in it, started with its first batch, and again after a death."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._deaths, self._ended = 0, ""  # since it last did something; how the last one came about
        self._patience = Patience(None)
        self._child: Any = None
        self._pipe: Any = None

    def run(self, shard: Shard) -> Iterator[BatchDone]:
        """One BatchDone per batch, in order."""
        for batch in shard.batches:
            yield self._done(Piece.whole(replace(shard, batches=(batch,))))

    def close(self) -> None:
        """End the child; what it was at is lost."""
        if self._child is None:
            return
        self._pipe.close()
        self._child.join(PATIENCE if self._child.exitcode is None else 0)
        self._child.kill()
        self._child.join()
        self._child = None

    def _done(self, piece: Piece) -> BatchDone:
        """A batch, by parts where the child dies of it."""
        if self._deaths >= STOP_AFTER:
            return self._failed(piece, f"Not tried: its own process had died {self._deaths} times in a row.")
        answer = self._ask(piece.shard)
        if isinstance(answer, BatchDone):
            self._deaths = 0
            return answer
        if answer is not None:
            return self._failed(piece, f"The worker broke on this batch: {answer}")
        (batch,) = piece.shard.batches
        if len(piece.shard.runs) > 1 or len(batch.image_ids) > 1:
            parts = piece.by_run() if len(piece.shard.runs) > 1 else piece.by_image()
            return _joined([self._done(part) for part in parts])
        self._deaths += 1
        return self._failed(piece, f"Its own process {self._ended}.")

    def _ask(self, shard: Shard) -> BatchDone | str | None:
        """What the child says of one batch: what it did, why it could not, or nothing, since it is dead."""
        fresh, began = self._child is None, time.monotonic()
        try:
            if fresh:
                self._start()
            self._pipe.send(shard)
            if not self._pipe.poll(allowed := self._patience.seconds()[fresh]):
                self._bury(f"said nothing for {allowed:.3g} s on this image")
                return None
            answer = cast("BatchDone | str", self._pipe.recv())
        except (EOFError, OSError):
            self._child.join(PATIENCE)
            self._bury(f"died on this image ({_in_words(self._child.exitcode)})")
            return None
        (self._patience.first if fresh else self._patience.usual).append(time.monotonic() - began)
        return answer

    def _bury(self, how: str) -> None:
        self._ended = how
        self.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=serve, args=(self._recipe, theirs), daemon=True, name="own process")
        self._child.start()
        theirs.close()

    def _failed(self, piece: Piece, reason: str) -> BatchDone:
        (done,) = failed_rows(piece.shard, piece.shard.runs, reason)
        return done


def _in_words(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def serve(recipe: Recipe, pipe: Any) -> None:
    """What the child does: batches in, what was done out, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; who started it decides
    interrupts.deafen()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker: Any = None
    while True:
        try:
            shard = pipe.recv()
        except EOFError:
            return
        try:
            worker = worker or loading.build(recipe)
            answer = next(worker.run(shard))
        except BaseException as raised:
            answer = in_words(interrupts.foreign(raised))
        pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with suppress(OSError):
            connection.wait([parent.sentinel])
    os._exit(1)


def _joined(parts: list[BatchDone]) -> BatchDone:
    """The parts of one batch as one."""
    rows = Rows.joined(part.rows for part in parts)
    pictures = {one.image_id: one for part in parts for one in part.pictures}
    origins = {one.image_id: one for part in parts for one in part.origins}
    spent = {name: sum(getattr(part, name) for part in parts) for name in ("encodings", "passes", "seconds")}
    spent["card"] = next((part.card for part in parts if part.card), "")
    return replace(
        parts[0], rows=rows, pictures=tuple(pictures.values()), origins=tuple(origins.values()), lines=(), **spent
    )
