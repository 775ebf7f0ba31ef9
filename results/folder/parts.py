"""Frames of rows become parquet parts whose names carry the digest of their bytes, and come back proven and checked.

A part is `<nanoseconds>-<digest>.parquet`; what a row belongs to is in its columns. Parts of before, whose names carry
no digest, are read under the row rules alone; their runs must be of before too. Small parts are joined into larger
ones: the new part is whole on the disk before the old ones go, and after a crash in between equal doubles collapse on
reading.
"""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from harness.errors import StoreError
from results.folder.before import may_be_of_before
from results.folder.durable import read_whole, write_whole
from results.folder.proof import CURE, bytes_digest
from results.folder.rows import KEY, LATER, SCHEMA, defeated, refuse_malformed, wide_classes

MANY = 64  # small parts that a folder may hold until they are joined
SMALL = 4 * 2**20  # bytes of a part that still counts as small
_LEVEL = 1  # of zstd: a third of the time of the usual one, for a twentieth more bytes
_JOINED = 16 * 2**20  # bytes of small parts that are held, and joined, at a time
_JOINED_ROWS = 200_000  # rows of them: with 9 overlaps each, 200 MiB while they are joined
_NAME = re.compile(r"\d{20}-([0-9a-f]{32})\.parquet")
_NEVER_NULL = (*KEY, "status")
_REPAIR = f"{CURE}: only the images in it are computed anew"


def listed(rows: Path) -> list[Path]:
    """The parts of a folder, the oldest first."""
    return sorted(rows.glob("*.parquet"))


def is_proven(path: Path) -> bool:
    """Whether the part's name carries a digest, as that of every part does since there are digests."""
    return _NAME.fullmatch(path.name) is not None


class Part(NamedTuple):
    """A part as it is to lie on the disk."""

    name: str
    content: bytes


def part_of(frame: pl.DataFrame, ordered: bool = False, since: int | None = None) -> Part:
    """A frame as a part. ordered: it is by KEY. since: when its rows were written, in nanoseconds, if not now."""
    file = io.BytesIO()
    frame = frame if ordered else frame.sort(KEY)
    frame.write_parquet(file, compression="zstd", compression_level=_LEVEL)
    content = file.getvalue()
    return Part(f"{since or time.time_ns():020d}-{bytes_digest(content)}.parquet", content)


def put(rows: Path, part: Part) -> Path:
    """Write a part, whole or not at all; once more is the same. StoreError when the disk refuses."""
    path = rows / part.name
    write_whole(path, lambda file: file.write(part.content))
    return path


def write_part(rows: Path, frame: pl.DataFrame, ordered: bool = False, since: int | None = None) -> Path:
    """`put` of what is `part_of`."""
    return put(rows, part_of(frame, ordered, since))


def written_at(path: Path) -> int | None:
    """When the rows of a part were written, in nanoseconds, as its name says; None where it carries no digest."""
    return int(path.name[:20]) if is_proven(path) else None


def read_part(path: Path, columns: Sequence[str] = tuple(SCHEMA), believed: bool = False) -> pl.DataFrame:
    """Some columns of a part, with the row's position in it as `index`.

    believed: rows of a part whose digest holds are not looked at again; a writer had looked at them.
    StoreError when it is no part, its bytes are not those that its name stands for, or a row breaks the rules.
    """
    if not path.exists():
        raise StoreError(f"{path} is gone: it was moved away, or joined with others; run the same command again")
    content = read_whole(path, _REPAIR)
    named = _NAME.fullmatch(path.name)
    if named and bytes_digest(content) != named[1]:
        raise StoreError(f"{path} is damaged: its bytes are not those that were written; {_REPAIR}")
    try:
        held = pl.read_parquet_schema(io.BytesIO(content)) if set(columns) & set(LATER) else columns
        there = [c for c in columns if c in held or c not in LATER]
        frame = pl.read_parquet(io.BytesIO(content), columns=there, row_index_name="index")
        frame = frame.with_columns(pl.lit(None).alias(c) for c in columns if c not in there)
        frame = wide_classes(frame).select(
            pl.col("index").cast(pl.UInt32), *(pl.col(c).cast(SCHEMA[c]) for c in columns)
        )
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"{path} cannot be read ({reason}); {_REPAIR}") from None
    if not (named and believed and not any(frame[c].null_count() for c in columns if c in _NEVER_NULL)):
        refuse_malformed(frame, str(path), _REPAIR)
    if not named:
        _refuse_renamed(path, frame["run_id"].unique().to_list())
    return frame


def _refuse_renamed(path: Path, run_ids: Sequence[str]) -> None:
    """StoreError when runs in a part without a digest are of a time when all parts have one."""
    run_id = next((one for one in run_ids if not may_be_of_before(path.parent.parent, one)), None)
    if run_id is None:
        return
    raise StoreError(
        f"{path} proves nothing: run {run_id} is of a time when a part bears the digest of its bytes in its name, and "
        f"this one was renamed, or was not written by a sweep; give it back its name, or {_REPAIR}"
    )


def join(rows: Path) -> int:
    """Join small proven parts into larger ones where there are many; how many parts there are fewer.

    Rows that another one makes superfluous stay behind. Contradiction when ok rows differ in a count.
    """
    small = [(path, size) for path in listed(rows) if is_proven(path) and (size := path.stat().st_size) < SMALL]
    return sum(_join(rows, group) for group in _groups(small)) if len(small) >= MANY else 0


def finish_joins(rows: Path) -> None:
    """Take away what an interrupted join has left: the new part is as old as the last one that it replaces, which goes
    last. Contradiction when ok rows differ in a count."""
    ages = [(at, path) for path in listed(rows) if (at := written_at(path)) is not None]
    for age, parts in Counter(at for at, _ in ages).items():
        if parts > 1:
            older = [path for at, path in ages if at < age and path.exists() and path.stat().st_size < SMALL]
            _join(rows, [*older, *(path for at, path in ages if at == age)])


def _groups(small: Sequence[tuple[Path, int]]) -> list[list[Path]]:
    """The parts in their order, cut where a group would be too large to be held: few bytes may be many rows."""
    groups: list[list[Path]] = [[]]
    held = rows = 0
    for path, size in small:
        count = _row_count(path)
        if held + size > _JOINED or rows + count > _JOINED_ROWS:
            groups.append([])
            held = rows = 0
        groups[-1].append(path)
        held, rows = held + size, rows + count
    return groups


def _row_count(path: Path) -> int:
    """How many rows a part says that it has; none where it cannot be read, which whoever reads it is told."""
    with suppress(OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    return 0


def _join(rows: Path, paths: Sequence[Path]) -> int:
    if len(paths) < 2:
        return 0
    parts = [read_part(path).with_columns(part=pl.lit(number, pl.UInt32)) for number, path in enumerate(paths)]
    frame = pl.concat(parts).drop("index").with_row_index("index")
    lost = defeated(frame, str(rows.parent))["index"].to_list()
    since = written_at(paths[-1])  # what was written after all of these stays so
    new = write_part(rows, frame.filter(~pl.col("index").is_in(lost)).drop("index", "part"), since=since)
    for path in paths:
        if path != new:
            path.unlink(missing_ok=True)
    return len(paths) - 1
