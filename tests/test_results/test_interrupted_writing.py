"""An interruption between any two lines of what writes rows: each row is there once, and so is what was told of."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.contracts import Origin, Row
from results.folder import durable, events, load, origins, parts, writer
from results.folder.rows import frame_of
from results.folder.store import Store

WRITING = {str(one.__file__) for one in (writer, load, parts, durable, events, origins)}
VISITS = 2  # of a line that are interrupted


def batch(number: int) -> list[Row]:
    """Two rows of a run."""
    counts = np.array([1]), np.array([1]), np.array([5 + number])
    return [Row("a", f"{number}-{one}", "ok", 1.0, None, *counts, sample=f"{number:032x}") for one in range(2)]


@contextmanager
def interrupted(at: int) -> Iterator[None]:
    """KeyboardInterrupt before a line of a file of WRITING: the one of that number, the first times that it is run."""
    seen, left = Counter[tuple[CodeType, int]](), at

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in WRITING:
            return None
        if event == "line":
            seen[frame.f_code, frame.f_lineno] += 1
            nonlocal left
            left -= seen[frame.f_code, frame.f_lineno] <= VISITS
            if left == 0:
                left = -1
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def sweep(folder: Path, taken: list[int]) -> None:
    """Append the batches that are missing, in two parts; the numbers of those that were taken over, -1 at the end."""
    there = set(Store(folder).stored().get("a", {}))
    with Store(folder).writer(max_seconds=1e9) as opened:
        for number in range(3):
            rows = [row for row in batch(number) if row.image_id not in there]
            if rows:
                opened.remember("key", [Origin(row.image_id, str(row.sample), ()).line() for row in rows])
                opened.append(rows, {"event": "batch", "number": number})
                taken.append(number)
            if number == 1:
                opened.flush()
        taken.append(-1)


def in_parts(folder: Path, where: str = "rows") -> Counter[tuple[str, str]]:
    """How often every row is on the disk, before anything that collapses doubles."""
    frames = [pl.read_parquet(path) for path in sorted((folder / where).glob("*.parquet"))]
    return Counter(key for frame in frames for key in frame.select("run_id", "image_id").iter_rows())


def images_of(number: int) -> set[str]:
    return {row.image_id for row in batch(number)}


def told(folder: Path) -> list[int]:
    return [one["number"] for one in Store(folder).events() if one["event"] == "batch"]


def test_every_row_is_stored_once_wherever_a_sweep_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    at, over, late = 0, False, 0
    while not over:
        at += 1
        folder, taken = tmp_path / str(at), list[int]()
        Store.open(folder)
        with suppress(KeyboardInterrupt), interrupted(at):
            sweep(folder, taken)
            over = True
        found = in_parts(folder)
        kept, said = {image for _, image in found}, told(folder)
        assert set(found.values()) <= {1}, f"line {at}: rows are there twice"
        assert len(said) == len(set(said)), f"line {at}: events are there twice"
        assert all(images_of(number) <= kept for number in said), f"line {at}: an event came before its rows"
        lost = {number for number in {*taken} - {-1} if not images_of(number) <= kept}
        late += bool(lost)
        assert lost <= {2} and (not lost or -1 in taken), f"line {at}: rows are lost"
        (folder / "LOCK").unlink(missing_ok=True)  # a process that is interrupted so late is gone
        sweep(folder, [])
        again = in_parts(folder)
        assert len(again) == 6 and set(again.values()) == {1}, f"line {at}: not whole after going on"
        assert not list(folder.rglob("*.tmp")), f"line {at}: something half written is left"
        lines = (folder / "origins" / "key.jsonl").read_text().split("\n")
        assert {json.loads(line)[0] for line in lines if line} == {image for _, image in again}
    assert at > 100, "nearly nothing was traced"
    assert late <= 4, "only the first lines of the end are before it is tried once more"


def test_a_join_that_was_interrupted_anywhere_is_finished_by_who_writes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(parts, "MANY", 3)
    whole, at, over, unfinished = tmp_path / "whole", 0, False, 0
    for number in range(3):
        with Store.open(whole).writer() as opened:
            opened.write(frame_of(batch(number)))
            monkeypatch.setattr(opened, "_join", lambda: None)
    before = in_parts(whole)
    while not over:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(whole, folder)
        with suppress(KeyboardInterrupt), interrupted(at):
            parts.join(folder / "rows")
            over = True
        assert in_parts(folder).keys() == before.keys(), f"line {at}: rows are lost"
        unfinished += in_parts(folder) != before
        with Store(folder).writer():
            pass
        assert in_parts(folder) == before, f"line {at}: rows are there twice"
    assert len(parts.listed(folder / "rows")) == 1 and unfinished > 2


def test_rows_are_set_aside_once_wherever_that_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    at, over, changed = 0, False, {"a": {"0-0": "f" * 32, "1-1": "f" * 32}}
    Store.open(whole := tmp_path / "whole")
    sweep(whole, [])
    while not over:
        at += 1
        folder = tmp_path / str(at)
        shutil.copytree(whole, folder)
        with suppress(KeyboardInterrupt), Store(folder).writer() as opened, interrupted(at):
            opened.set_aside(changed)
            over = True
        (folder / "LOCK").unlink(missing_ok=True)
        assert len(in_parts(folder)) in (4, 5, 6), f"line {at}: rows are lost"
        with Store(folder).writer() as opened:
            opened.set_aside(changed)
        assert in_parts(folder) == Counter({("a", one): 1 for one in ("0-1", "1-0", "2-0", "2-1")}), f"line {at}"
        assert in_parts(folder, "outdated") == Counter({("a", "0-0"): 1, ("a", "1-1"): 1}), f"line {at}"
    assert at > 20, "nearly nothing was traced"
