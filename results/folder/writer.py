"""Rows and events go in one by one; parts and lines of a results folder come out, by number and by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import polars as pl

from harness.contracts import Row, Rows
from harness.errors import StoreError
from results.folder import lock, parts
from results.folder.durable import remove_leftovers
from results.folder.load import Load
from results.folder.rows import KEY, SCHEMA, checked

_SHORTEST = 0.1  # seconds between two looks at the clock
_TOGETHER = 4096  # rows that are checked together


class Writer:
    """The one writer of a store, as a context: rows are gathered and leave as parquet parts, whole or not at all.

    What waits is written after so many rows, or seconds, even when nothing more arrives. An event that came with rows
    is told when they are on the disk, never before. Rows that come as columns are checked when there are many of them,
    or when they are to be written. may_write: raises where somebody else has taken over elsewhere.
    """

    def __init__(
        self, folder: Path, max_rows: int, max_seconds: float, may_write: Callable[[], None] = lambda: None
    ) -> None:
        # Absolute, since the clock may strike while a foreign method is in another working directory.
        self._folder, self._rows = folder.absolute(), folder.absolute() / "rows"
        self._max_rows, self._max_seconds, self._may_write = max_rows, max_seconds, may_write
        self._load = Load()
        self._refused: StoreError | None = None
        self._turn = threading.RLock()  # the clock's thread and its owner write in turns
        self._closing = threading.Event()
        self._trouble: StoreError | None = None
        self._flushed, self._parts = time.monotonic(), 0

    def __enter__(self) -> Writer:
        self._lock = lock.acquire(self._folder)
        try:
            for folder in (self._folder, self._rows, self._folder / "recipes", self._folder / "outdated"):
                remove_leftovers(folder)
            with suppress(StoreError):  # who reads the parts is told what is wrong with them
                parts.finish_joins(self._rows)
            self._flushed = time.monotonic()
            self._clock = threading.Thread(target=self._watch, name="results-writer", daemon=True)
            self._clock.start()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._closing.set()
            self._write_last()
            if error is None:
                self._say_refused()
                self._join()
            self._clock.join()
        finally:
            self._lock.release()

    def append(self, rows: Iterable[Row], event: Mapping[str, object] | None = None) -> None:
        """Take rows over, all or none, and an event that tells of them.

        StoreError for a disk that refuses, and for malformed rows: where they are columns, at the latest when they are
        to be written; all others are kept.
        """
        with self._turn:
            if self._trouble:
                self._trouble = None
                self.flush()  # once more, and this time it is heard
            self._say_refused()
            columns = rows if isinstance(rows, Rows) and len(rows) else checked(rows)
            load = self._load
            load.arrived.append((columns.bare(), event))
            load.unchecked += len(columns)
            if load.number + load.unchecked >= self._max_rows or self._overdue():
                self.flush()
            elif load.unchecked >= _TOGETHER:
                self._settle()
                self._say_refused()

    def remember(self, key: str, lines: Sequence[str]) -> None:
        """Take over where images of a benchmark came from, as lines of origins: that is on the disk before rows that
        are appended later."""
        with self._turn:
            self._load.origins.setdefault(key, []).extend(lines)

    def flush(self) -> None:
        """Write what is waiting as one part, then tell of it; what cannot be written keeps waiting.

        StoreError for a disk that refuses, and for malformed rows that had come before.
        """
        with self._turn:
            self._write_out()
            self._say_refused()

    def _settle(self) -> None:
        settled, refused = self._load.settled()
        self._refused = self._refused or refused
        self._load = settled

    def _say_refused(self) -> None:
        """StoreError for malformed rows that were left out, once."""
        refused, self._refused = self._refused, None
        if refused:
            raise refused

    def _write_out(self) -> None:
        with self._turn:
            self._send()  # what an earlier try left
            self._settle()
            if self._load:
                self._load = Load(before=self._load)
            self._send()
            self._flushed = time.monotonic()

    def _write_last(self) -> None:
        """Who interrupts the last writing is told that what is done is kept: it is done once more, and then he is
        heard. A second time he does not wait for it."""
        try:
            self._write_out()
        except KeyboardInterrupt:
            self._write_out()
            raise

    def _send(self) -> None:
        """Write what is on its way to the disk."""
        leaving = self._load.before
        if leaving is not None:
            self._check()
            leaving.leave(self._folder)
            self._load.before = None
            if leaving.rows:
                self._count_part()

    def set_aside(self, changed: Mapping[str, Mapping[str, str]]) -> None:
        """Move good rows whose data changed to `outdated/`: run id -> image id -> digest now; "" is none, so all go."""
        lines = [(run_id, image, now) for run_id, images in changed.items() for image, now in images.items()]
        now = pl.DataFrame(lines, schema={**{name: SCHEMA[name] for name in KEY}, "now": pl.String}, orient="row")
        gone = (pl.col("status") == "ok") & ((pl.col("sample") != pl.col("now")) | (pl.col("now") == ""))
        outdated = self._folder / "outdated"
        with self._turn:
            self._check()
            for path in parts.listed(self._rows):
                frame = parts.read_part(path).join(now, on=KEY, how="left").with_columns(gone=gone.fill_null(False))
                if not frame["gone"].any():
                    continue
                outdated.mkdir(exist_ok=True)
                since = parts.written_at(path)  # under the same names, where this was interrupted and is done again
                parts.write_part(outdated, frame.filter("gone").select(*SCHEMA), since=since)
                if (rest := frame.filter(~pl.col("gone")).select(*SCHEMA)).height:
                    parts.write_part(self._rows, rest, since=since)
                path.unlink()

    def write(self, frame: pl.DataFrame) -> None:
        """Write a frame of rows as one part, at once; every so many parts small ones are joined."""
        with self._turn:
            self._check()
            parts.write_part(self._rows, frame)
            self._count_part()

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts % parts.MANY == 0:
            self._join()

    def _join(self) -> None:
        """Fewer parts, if that can be: who reads them next is told what is wrong with them."""
        with suppress(StoreError):
            parts.join(self._rows)

    def _check(self) -> None:
        """StoreError where somebody else has taken over."""
        self._lock.check()
        self._may_write()

    def _overdue(self) -> bool:
        return bool(self._load or self._load.before) and time.monotonic() - self._flushed >= self._max_seconds

    def _watch(self) -> None:
        """Flush by the clock; what goes wrong is raised when the owner comes next."""
        while not self._closing.wait(max(_SHORTEST, self._flushed + self._max_seconds - time.monotonic())):
            with self._turn:
                if self._overdue() and not self._closing.is_set():
                    try:
                        self._write_out()
                    except StoreError as error:
                        self._trouble = error
                        self._flushed = time.monotonic()
