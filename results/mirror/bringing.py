"""A bucket flows in; a results folder with all that it holds flows out, to go on in or to be read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

from harness.errors import StoreError
from results.folder.durable import write_text, write_whole
from results.mirror import layout
from results.mirror.bucket import Bucket, Lying

TOGETHER = 8  # objects that are fetched at a time
_TRIES = 5  # at what a sweep takes away while it is read
_HELD = "held.json"  # in a copy for readers: which objects it holds, by their tags


def bring_home(bucket: Bucket, folder: Path, there: Mapping[str, Lying]) -> frozenset[str]:
    """Everything that a bucket holds, into a folder that lacks it; the files that came.

    FileNotFoundError where something is gone since it was listed.
    """
    ours = {name: found for name, found in there.items() if layout.is_mirrored(name)}
    logs = {log for name in ours if (log := layout.log_of(name))}
    whole = [name for name in ours if not layout.log_of(name)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(lambda name: _fetch(bucket, name, folder / name), whole))
        for log in logs:
            pieces = layout.pieces(log, ((name, found.size) for name, found in ours.items()))
            contents = pool.map(lambda piece: b"".join(bucket.chunks(piece.path)), pieces)
            _write(folder / log, b"".join(contents))
    return frozenset({*whole, *logs})


def at_hand(where: Path | str, heard: bool = False) -> Path:
    """A folder as it is; of a URL a copy of what lies there, in a temporary folder that is kept for next time.

    heard: only what tells how a sweep stands. StoreError where nothing lies there, OutOfReach where that cannot be had.
    """
    if isinstance(where, Path):
        return where
    bucket = Bucket(where)
    copy = _copy_of(bucket.url, heard)
    for _ in range(_TRIES):
        there = {name: found for name, found in bucket.listed().items() if layout.is_mirrored(name)}
        if not there:
            raise StoreError(f"{bucket.url} holds no results; name the URL that a sweep was given with --mirror")
        if heard:
            there = {name: found for name, found in there.items() if _tells(name)}
        with suppress(FileNotFoundError):
            _bring_up_to_date(bucket, copy, there)
            return copy
    raise StoreError(f"{bucket.url} changes faster than it can be read; try again")


def _bring_up_to_date(bucket: Bucket, copy: Path, there: Mapping[str, Lying]) -> None:
    held: dict[str, str] = json.loads((copy / _HELD).read_text("utf-8")) if (copy / _HELD).exists() else {}
    logs = {log for name in there if (log := layout.log_of(name))}
    grown = {log for name in there if (log := layout.log_of(name)) and name not in held}
    news = {
        name: found
        for name, found in there.items()
        if (log in grown if (log := layout.log_of(name)) else held.get(name) != found.tag)
    }
    (copy / _HELD).unlink(missing_ok=True)  # until all is there
    bring_home(bucket, copy, news)
    for name in layout.files_of(copy):
        if name not in there and name not in logs and name not in ("leaderboard.csv", "matrix.csv"):
            (copy / name).unlink()
    (copy / "rows").mkdir(exist_ok=True)
    (copy / "recipes").mkdir(exist_ok=True)
    write_text(copy / _HELD, json.dumps({name: found.tag for name, found in there.items()}))


def _copy_of(where: str, heard: bool) -> Path:
    """The folder of a copy, which nobody else may have made."""
    name = hashlib.blake2b(f"{where} {heard}".encode(), digest_size=8).hexdigest()
    place = Path(tempfile.gettempdir()) / f"stableseg-{os.getuid()}"
    for folder in (place, place / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
        if not folder.is_dir() or folder.is_symlink() or seen.st_uid != os.getuid():
            raise StoreError(f"{folder} is somebody else's; set TMPDIR to a folder of your own")
    return place / name


def _tells(name: str) -> bool:
    """Whether an object tells how a sweep stands."""
    return layout.log_of(name) == "events.jsonl" or name.endswith("/curve.jsonl")


def _fetch(bucket: Bucket, name: str, path: Path) -> None:
    chunks = bucket.chunks(name)
    first = next(chunks, b"")  # what is gone is found out before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.writelines(chain((first,), chunks)))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(content))
