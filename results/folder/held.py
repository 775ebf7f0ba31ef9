"""Parts -> which images of which runs are stored, from key columns alone, held as numbers and handed out run by run.

What resuming asks of ten million rows is a status and a digest each: as Python's objects they would take gigabytes. So
every text is kept once, and a row takes nine bytes. Parts whose digests hold are believed here: the rules of their rows
are looked at by whoever counts them (results.folder.parts).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from results.folder import parts
from results.folder.bounds import BOUNDARIES
from results.folder.rows import KEY

_COLUMNS = ("run_id", "image_id", "status", "sample", "artefact", "seconds")


class _Part(NamedTuple):
    """Rows of one part, ordered by run."""

    run: NDArray[np.int32]
    image: NDArray[np.int32]
    sample: NDArray[np.int32]  # -1: none is said
    ok: NDArray[np.bool_]

    def at(self, places: Any) -> _Part:
        return _Part(self.run[places], self.image[places], self.sample[places], self.ok[places])


class Held(Mapping[str, Mapping[str, str]]):
    """Run id -> image id -> status, in order of the ids; a mapping that is asked for again and again is made once more.

    StoreError when a part is damaged, or cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._runs, self._images, self._samples = _Names(), _Names(), _Names()
        self._seconds: dict[str, tuple[float, int]] = {}
        self._artefacts: dict[str, dict[str, list[NDArray[np.int32]]]] = {}  # of methods that learned
        held = [self._read(path) for path in paths]
        counts = np.zeros(len(self._runs.texts), np.int64)
        for part in held:
            counts += np.bincount(part.run, minlength=counts.size)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._rows = _by_run(held, self._starts[:-1].copy())
        self._last: dict[str, tuple[_Part, Any]] = {}  # of runs that hold the same, one mapping is enough

    def __getitem__(self, run_id: str) -> Mapping[str, str]:
        found: Mapping[str, str] = self._alike("status", self._of(run_id), self._status)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._runs.texts))

    def __len__(self) -> int:
        return len(self._runs.texts)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs.place

    def samples(self, run_id: str) -> Mapping[str, str | None]:
        """Image id -> digest of the data behind a run's good row; None where none is said, "" where two are."""
        return self._alike("sample", self._of(run_id), self._sample) if run_id in self else {}

    def bounded(self, run_id: str) -> frozenset[str]:
        """The images of whose good rows the boundaries are counted; parts are read once more for it."""
        runs, images = self._bounded
        return frozenset(self._images.of(images[runs == self._runs.place.get(run_id, -1)]))

    @cached_property
    def _bounded(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Run and image of every row whose boundaries are counted."""
        found = [(np.zeros(0, np.int32), np.zeros(0, np.int32))]
        for path in self._paths:
            frame = parts.read_part(path, (*KEY, BOUNDARIES[0]), believed=True)
            frame = frame.filter(pl.col(BOUNDARIES[0]).is_not_null())
            if frame.height:
                found.append((self._runs.numbers(frame["run_id"]), self._images.numbers(frame["image_id"])))
        runs, images = zip(*found, strict=True)
        return np.concatenate(runs), np.concatenate(images)

    def artefacts(self, run_id: str) -> Mapping[str, frozenset[str]]:
        """Digest of what a run's method had learned -> images of its good rows that say so."""
        held = self._artefacts.get(run_id, {})
        return {digest: frozenset(self._images.of(np.concatenate(images))) for digest, images in held.items()}

    @property
    def timings(self) -> dict[str, tuple[float, int]]:
        """Run id -> seconds of its good rows and how many they are."""
        return dict(sorted(self._seconds.items()))

    def _of(self, run_id: str) -> _Part:
        number = self._runs.place[run_id]
        rows = slice(self._starts[number], self._starts[number + 1])
        return self._rows.at(rows)

    def _alike(self, what: str, rows: _Part, make: Any) -> Any:
        """What is made of some rows; of rows as those before the same thing."""
        last = self._last.get(what)
        if last is None or not all(map(np.array_equal, last[0][1:], rows[1:])):
            last = self._last[what] = rows, make(rows)
        return last[1]

    def _status(self, rows: _Part) -> dict[str, str]:
        ok = rows.ok.tolist()
        found = {image: "ok" if good else "failed" for image, good in zip(self._images.of(rows.image), ok, strict=True)}
        if len(found) < len(ok):  # a good row beats a failed one
            found |= dict.fromkeys(self._images.of(rows.image[rows.ok]), "ok")
        return found

    def _sample(self, rows: _Part) -> dict[str, str | None]:
        images, samples = rows.image[rows.ok], self._samples.of(rows.sample[rows.ok])
        found = dict(zip(self._images.of(images), samples, strict=True))
        if len(found) < len(samples):
            said: dict[str, set[str | None]] = {}
            for image, sample in zip(self._images.of(images), samples, strict=True):
                said.setdefault(image, set()).add(sample)
            found = {image: _one(several - {None}) for image, several in said.items()}
        return found

    def _read(self, path: Path) -> _Part:
        """One part as numbers."""
        frame = parts.read_part(path, _COLUMNS, believed=True)
        good = frame.filter(pl.col("status") == "ok").group_by("run_id").agg(pl.sum("seconds"), rows=pl.len())
        for run_id, seconds, rows in good.iter_rows():
            before = self._seconds.get(run_id, (0.0, 0))
            self._seconds[run_id] = before[0] + seconds, before[1] + rows
        learned = frame.filter(pl.col("status") == "ok", pl.col("artefact").is_not_null())
        for (run_id, digest), rows in learned.group_by("run_id", "artefact"):
            by_digest = self._artefacts.setdefault(str(run_id), {})
            by_digest.setdefault(str(digest), []).append(self._images.numbers(rows["image_id"]))
        part = _Part(
            self._runs.numbers(frame["run_id"]), self._images.numbers(frame["image_id"]),
            self._samples.numbers(frame["sample"]), frame["status"].eq_missing("ok").to_numpy(),
        )  # fmt: skip
        order = np.argsort(part.run, kind="stable")
        return part if (part.run[1:] >= part.run[:-1]).all() else part.at(order)


class _Names:
    """Texts, each once, by number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.place: dict[str, int] = {}

    def of(self, numbers: NDArray[np.int32]) -> list[Any]:
        """Texts; None for -1."""
        texts: list[Any] = [*self.texts, None]
        return [texts[number] for number in numbers.tolist()]

    def numbers(self, column: pl.Series) -> NDArray[np.int32]:
        """The numbers of some texts, -1 for null; new ones get a new number."""
        if column.null_count() == len(column):
            return np.full(len(column), -1, np.int32)
        codes = column.cast(pl.Categorical).to_physical().fill_null(2**32 - 1).to_numpy().astype(np.int64)
        codes[codes == 2**32 - 1] = -1
        first = np.full(codes.max() + 2, -1)
        first[codes[::-1]] = np.arange(codes.size)[::-1]
        there = np.flatnonzero(first[:-1] >= 0)
        numbers = np.full(first.size, -1, np.int32)
        numbers[there] = [self._number(text) for text in column.gather(first[there]).to_list()]
        found: NDArray[np.int32] = numbers[codes]
        return found

    def _number(self, text: str) -> int:
        if text not in self.place:
            self.place[text] = len(self.texts)
            self.texts.append(text)
        return self.place[text]


def _by_run(held: list[_Part], starts: NDArray[np.int64]) -> _Part:
    """The rows of all parts, run after run, without their runs; parts are let go one by one. starts: of every run."""
    total = sum(part.run.size for part in held)
    none = np.broadcast_to(np.int32(0), total)
    rows = _Part(none, np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.bool_))
    held.reverse()
    while held:
        part = held.pop()
        counts = np.bincount(part.run, minlength=starts.size)
        places = starts[part.run] + np.arange(part.run.size) - (np.cumsum(counts) - counts)[part.run]
        for column, own in zip(rows[1:], part[1:], strict=True):
            column[places] = own
        starts += counts
    return rows


def _one(several: set[str | None]) -> str | None:
    return next(iter(several), None) if len(several) < 2 else ""
