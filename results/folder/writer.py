"""Rows and events go in one by one; parts and lines of a results folder come out, by number and by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import polars as pl

from harness.contracts import Origin, Row, Rows
from harness.errors import StoreError
from results.folder import events, lock, origins, parts
from results.folder.arrivals import checked_together, stacked
from results.folder.durable import remove_leftovers
from results.folder.rows import KEY, SCHEMA, by_key, checked, frame_of

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
        self._arrived: list[tuple[Rows, Mapping[str, object] | None]] = []  # unchecked, with their events
        self._unchecked = 0  # rows among them
        self._waiting: list[Rows] = []
        self._number = 0  # of rows that wait
        self._refused: StoreError | None = None
        self._untold: list[Mapping[str, object]] = []
        self._origins: dict[str, list[str]] = {}  # as lines
        self._turn = threading.RLock()  # the clock's thread and its owner write in turns
        self._closing = threading.Event()
        self._trouble: StoreError | None = None
        self._flushed, self._parts = time.monotonic(), 0

    def __enter__(self) -> Writer:
        self._lock = lock.acquire(self._folder)
        for folder in (self._folder, self._rows, self._folder / "recipes"):
            remove_leftovers(folder)
        self._flushed = time.monotonic()
        self._clock = threading.Thread(target=self._watch, name="results-writer", daemon=True)
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        try:
            self._write_out()
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
            self._arrived.append((columns.bare(), event))
            self._unchecked += len(columns)
            if self._number + self._unchecked >= self._max_rows or self._overdue():
                self.flush()
            elif self._unchecked >= _TOGETHER:
                self._settle()
                self._say_refused()

    def remember(self, key: str, found: Iterable[Origin]) -> None:
        """Take over where images of a benchmark came from: it is on the disk before rows that are appended later."""
        with self._turn:
            self._origins.setdefault(key, []).extend(map(origins.line_of, found))

    def flush(self) -> None:
        """Write what is waiting as one part, then tell of it; what cannot be written keeps waiting.

        StoreError for a disk that refuses, and for malformed rows that had come before.
        """
        with self._turn:
            self._write_out()
            self._say_refused()

    def _settle(self) -> None:
        """Check what arrived, together; where that fails each for itself: the first malformed row is to be told."""
        arrived = self._arrived
        parts = [rows for rows, _ in arrived if len(rows)]
        whole = checked_together(parts) if parts else None
        if parts and whole is None:
            arrived = [one for one in arrived if self._is_right(one[0])]
        good = [checked(rows) for rows, _ in arrived if len(rows)] if whole is None else [whole]
        self._waiting += good
        self._number += sum(map(len, good))
        self._untold += [event for _, event in arrived if event is not None]
        self._arrived, self._unchecked = [], 0

    def _is_right(self, rows: Rows) -> bool:
        try:
            checked(rows)
        except StoreError as error:
            self._refused = self._refused or error
            return False
        return True

    def _say_refused(self) -> None:
        """StoreError for malformed rows that were left out, once."""
        refused, self._refused = self._refused, None
        if refused:
            raise refused

    def _write_out(self) -> None:
        with self._turn:
            self._settle()
            if self._waiting or self._untold or self._origins:
                self._check()
            for key in list(self._origins):
                origins.append_lines(self._folder, key, self._origins[key])
                del self._origins[key]
            if self._waiting:
                self.write(frame_of(by_key(_joined(self._waiting))), ordered=True)
                self._waiting, self._number = [], 0
            if self._untold:
                events.tell(self._folder / "events.jsonl", self._untold)
                self._untold = []
            self._flushed = time.monotonic()

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
                parts.write_part(outdated, frame.filter("gone").select(*SCHEMA))
                if (rest := frame.filter(~pl.col("gone")).select(*SCHEMA)).height:
                    parts.write_part(self._rows, rest)
                path.unlink()

    def write(self, frame: pl.DataFrame, ordered: bool = False) -> None:
        """Write a frame of rows as one part, at once; every so many parts small ones are joined."""
        with self._turn:
            self._check()
            parts.write_part(self._rows, frame, ordered)
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
        waits = self._arrived or self._waiting or self._untold or self._origins
        return bool(waits) and time.monotonic() - self._flushed >= self._max_seconds

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


def _joined(waiting: list[Rows]) -> Rows:
    """Checked rows in one."""
    rows = stacked(waiting)
    assert rows is not None
    return rows
