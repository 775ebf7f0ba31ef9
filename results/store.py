"""Rows, recipes and events go into a results folder and come back; what is in it survives any crash.

The folder: `rows/` (parquet parts), `outdated/` (rows whose data changed since, which nobody reads), `recipes/<run
id>.json`, `events.jsonl`, `grid.json` (the last grid's runs in order) and, while somebody writes, `LOCK`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from harness.contracts import Row
from harness.errors import StoreError
from results import lock
from results.durable import remove_leftovers, write_text, write_whole
from results.recipes import RunRecipe, read_json, recipe_path, recipe_text
from results.rows import KEY, LATER, SCHEMA, checked, defeated, frame_of

CHUNK = 4096  # rows handed out at a time: an estimator that spreads them over 256 classes takes 8 MB an array


@dataclass(frozen=True)
class Table:
    """The runs that a grid asked for, in its order, and the comparison tables it declares, as in its file."""

    name: str
    run_ids: tuple[str, ...]
    tables: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Store:
    """A results folder. Reading needs no lock; `writer()` does."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path, create: bool = True) -> Store:
        """The store in `folder`, made if wanted. StoreError when it is not there or cannot be made."""
        store = cls(Path(folder))
        if create:
            try:
                for path in (store._rows, store._recipes):
                    path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be made a results folder ({error.strerror}); name another") from None
        elif not store._rows.is_dir():
            what = "holds no rows/" if store.folder.is_dir() else "does not exist"
            raise StoreError(f"{folder} {what}; name the folder that a sweep wrote its results to")
        return store

    @property
    def _rows(self) -> Path:
        return self.folder / "rows"

    @property
    def _recipes(self) -> Path:
        return self.folder / "recipes"

    def writer(self, max_rows: int = 2000, max_seconds: float = 10.0) -> Writer:
        """A context in which rows are appended; they reach the disk after that many rows or seconds, and on leaving."""
        return Writer(self.folder, self._rows, max_rows, max_seconds)

    def chunks(self, run_ids: Collection[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows in frames of bounded size, each (run, image) once: ok beats failed, equal doubles collapse.

        StoreError when ok rows of one run and image differ in a count, or a part cannot be read.
        """
        parts = self._parts()
        losers = self._losers(parts)
        for path in parts:
            frame = _read(path)
            if run_ids is not None:
                frame = frame.filter(pl.col("run_id").is_in(list(run_ids)))
            if path in losers:
                frame = frame.filter(~pl.col("index").is_in(losers[path]))
            yield from frame.drop("index").iter_slices(CHUNK)

    def rows(self, run_ids: Collection[str] | None = None) -> pl.DataFrame:
        """All `chunks` in one frame, ordered by run and image."""
        frames = [frame for frame in self.chunks(run_ids) if frame.height]
        return pl.concat(frames).sort(KEY) if frames else pl.DataFrame(schema=SCHEMA)

    def stored(self) -> dict[str, dict[str, str]]:
        """Run id -> image id -> status, from three columns alone."""
        frames = [_read(path, [*KEY, "status"]).drop("index") for path in self._parts()]
        if not frames:
            return {}
        # False sorts before True: an ok row overwrites a failed one.
        keys = pl.concat(frames).sort(pl.col("status") == "ok", maintain_order=True)
        grouped = keys.group_by("run_id").agg("image_id", "status").sort("run_id")
        return {run_id: dict(zip(images, status, strict=True)) for run_id, images, status in grouped.iter_rows()}

    def samples(self) -> Callable[[str], dict[str, str | None]]:
        """Run id -> image id -> digest of the data behind its good row; None where none is said, "" where two are."""
        columns = [*KEY, "status", "sample"]
        frames = [_read(path, columns).filter(pl.col("status") == "ok") for path in self._parts()]
        if not frames:
            return lambda _: {}
        said = pl.col("sample").drop_nulls()
        one = pl.when(said.n_unique() > 1).then(pl.lit("")).otherwise(said.first()).alias("sample")
        by_run = pl.concat(frames).group_by(KEY).agg(one).partition_by("run_id", as_dict=True)
        none = pl.DataFrame(schema={name: SCHEMA[name] for name in ("image_id", "sample")})
        return lambda run_id: dict(by_run.get((run_id,), none).select("image_id", "sample").iter_rows())

    def timings(self) -> dict[str, tuple[float, int]]:
        """Run id -> seconds of its good rows and how many they are, from three columns alone."""
        frames = [_read(path, ["run_id", "status", "seconds"]) for path in self._parts()]
        if not frames:
            return {}
        good = pl.concat(frames).filter(pl.col("status") == "ok")
        summed = good.group_by("run_id").agg(pl.sum("seconds"), rows=pl.len()).sort("run_id")
        return {run_id: (seconds, rows) for run_id, seconds, rows in summed.iter_rows()}

    def write_recipe(self, run_id: str, content: Mapping[str, Any]) -> None:
        """Store a run's recipe; the last one written stands."""
        write_text(recipe_path(self._recipes, run_id), recipe_text(content))

    def raw_recipes(self) -> dict[str, dict[str, Any]]:
        """Run id -> recipe as it was written, in order of the ids."""
        return {path.stem: read_json(path) for path in sorted(self._recipes.glob("*.json"))}

    def recipes(self) -> dict[str, RunRecipe]:
        """Run id -> recipe, in order of the ids. StoreError when one cannot be read."""
        origins = {run_id: str(recipe_path(self._recipes, run_id)) for run_id in self.raw_recipes()}
        return {i: RunRecipe.from_dict(c, origins[i]) for i, c in self.raw_recipes().items()}

    def set_table(self, name: str, run_ids: Sequence[str], tables: Sequence[Mapping[str, Any]] = ()) -> None:
        """Remember the runs of the last grid, in order, and the tables it declares."""
        declared = {"tables": [dict(table) for table in tables]} if tables else {}
        write_text(self.folder / "grid.json", recipe_text({"name": name, "runs": list(run_ids), **declared}))

    def table(self) -> Table | None:
        """The runs of the last grid; None before there was one."""
        path = self.folder / "grid.json"
        if not path.exists():
            return None
        content = read_json(path)
        return Table(str(content.get("name", "")), tuple(content.get("runs", ())), tuple(content.get("tables", ())))

    def event(self, content: Mapping[str, Any]) -> None:
        """Append what happened to `events.jsonl`, with the time (UTC)."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **content}, default=str)
        try:
            with (self.folder / "events.jsonl").open("ab+") as file:
                if file.tell() and not _ends_with_newline(file):
                    line = "\n" + line  # a crash cut the last line short; it stays alone
                file.write(line.encode("utf-8") + b"\n")
        except OSError as error:
            raise StoreError(
                f"{self.folder}/events.jsonl cannot be written ({error.strerror}); mend the disk"
            ) from None

    def events(self) -> list[dict[str, Any]]:
        """All events, in order; a line that a crash cut short is left out."""
        path = self.folder / "events.jsonl"
        found = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def _parts(self) -> list[Path]:
        return sorted(self._rows.glob("*.parquet"))

    def _losers(self, parts: Sequence[Path]) -> dict[Path, list[int]]:
        """Part -> positions of the rows that another row of the same run and image makes superfluous."""
        if not parts:
            return {}
        keys = pl.concat(_read(p, KEY).with_columns(part=pl.lit(n, pl.UInt32)) for n, p in enumerate(parts))
        doubles = keys.filter(pl.struct(KEY).is_duplicated())
        if doubles.is_empty():
            return {}
        places = doubles.partition_by("part", as_dict=True, include_key=True)
        full = pl.concat(_read(parts[n]).join(places[n,].select("index", "part"), on="index") for (n,) in places)
        lost = defeated(full, f"{self.folder}").select("part", "index").group_by("part").agg("index")
        return {parts[n]: index for n, index in lost.iter_rows()}


class Writer:
    """The one writer of a store, as a context: rows are gathered and leave as parquet parts, whole or not at all."""

    def __init__(self, folder: Path, rows: Path, max_rows: int, max_seconds: float) -> None:
        self._folder, self._rows = folder, rows
        self._max_rows, self._max_seconds = max_rows, max_seconds
        self._waiting: list[Row] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Writer:
        lock.acquire(self._folder)
        for folder in (self._folder, self._rows, self._folder / "recipes"):
            remove_leftovers(folder)
        self._flushed = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            lock.release(self._folder)

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows over; StoreError when a row's counts are malformed."""
        self._waiting.extend(checked(row) for row in rows)
        overdue = time.monotonic() - self._flushed >= self._max_seconds
        if len(self._waiting) >= self._max_rows or (overdue and self._waiting):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as one part; what cannot be written keeps waiting."""
        if self._waiting:
            self.write(frame_of(self._waiting))
            self._waiting = []
        self._flushed = time.monotonic()

    def set_aside(self, changed: Mapping[str, Mapping[str, str]]) -> None:
        """Move good rows whose data changed to `outdated/`: run id -> image id -> digest now; "" is none, so all go."""
        lines = [(run_id, image, now) for run_id, images in changed.items() for image, now in images.items()]
        now = pl.DataFrame(lines, schema={**{name: SCHEMA[name] for name in KEY}, "now": pl.String}, orient="row")
        gone = (pl.col("status") == "ok") & ((pl.col("sample") != pl.col("now")) | (pl.col("now") == ""))
        outdated = self._folder / "outdated"
        for path in sorted(self._rows.glob("*.parquet")):
            frame = _read(path).join(now, on=KEY, how="left").with_columns(gone=gone.fill_null(False))
            if not frame["gone"].any():
                continue
            outdated.mkdir(exist_ok=True)
            _write(outdated / path.name, frame.filter("gone").select(*SCHEMA))
            if (rest := frame.filter(~pl.col("gone")).select(*SCHEMA)).height:
                self.write(rest)
            path.unlink()

    def write(self, frame: pl.DataFrame) -> None:
        """Write a frame of rows as one part, at once."""
        # The name says nothing: what a row belongs to is in its columns.
        path = self._rows / f"{time.time_ns():020d}-{secrets.token_hex(4)}.parquet"
        _write(path, frame)


def _write(path: Path, frame: pl.DataFrame) -> None:
    write_whole(path, lambda file: frame.sort(KEY).write_parquet(file, compression="zstd"))


def _read(path: Path, columns: Sequence[str] = tuple(SCHEMA)) -> pl.DataFrame:
    """Some columns of a part, with the row's position in it. StoreError when it is not a part or damaged."""
    try:
        held = pl.read_parquet_schema(path) if set(columns) & set(LATER) else columns
        there = [c for c in columns if c in held or c not in LATER]
        frame = pl.read_parquet(path, columns=there, row_index_name="index", memory_map=False)
        frame = frame.with_columns(pl.lit(None).alias(c) for c in columns if c not in there)
        return frame.select(pl.col("index").cast(pl.UInt32), *(pl.col(c).cast(SCHEMA[c]) for c in columns))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path} cannot be read ({reason}); move it out of rows/ and run the sweep again: "
            "only the images in it are computed anew"
        ) from None


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")
