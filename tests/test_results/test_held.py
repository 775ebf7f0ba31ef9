"""Rows by column: parts hold what rows say, byte by byte, and what is stored is known from key columns alone."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from in_process import door

from harness.contracts import Row, Rows
from harness.errors import StoreError
from results.folder import parts
from results.folder.arrivals import checked_together
from results.folder.bounds import BOUNDARIES
from results.folder.rows import COUNTS, KEY, SCHEMA, checked, frame_by_key, frame_of
from results.folder.store import Store
from results.tables import leaderboard


def drawn(rng: np.random.Generator, count: int, images: int = 12) -> list[Row]:
    """Rows of four runs, several an image now and then: good and failed ones, with several digests."""
    rows = []
    for _ in range(count):
        image = int(rng.integers(images))
        codes = np.sort(rng.choice(100, int(rng.integers(0, 5)), replace=False))
        counts = codes // 10 * 6000, codes % 10 * 7000, rng.integers(1, 2**32, codes.size)
        row = Row(f"r{rng.integers(4)}", f"ü{image}", "ok", float(rng.random()), None, *counts)
        row = replace(row, sample=None if rng.random() < 0.3 else f"{image + (rng.random() < 0.1):032x}")
        if rng.random() < 0.5:
            either = rng.integers(1, 2**32, codes.size)
            row = replace(row, boundaries=np.stack([codes * 7, rng.integers(0, either + 1), either], axis=1))
        row = replace(row, artefact=None if rng.random() < 0.5 else f"{rng.integers(2):032x}")
        row = replace(row, card=(None, "H100", "A100")[rng.integers(3)])
        failed = Row(row.run_id, row.image_id, "failed", 0.5, f"broke on {image % 3}")
        rows.append(failed if rng.random() < 0.2 else row)
    return rows


def as_a_list_a_row(rows: list[Row]) -> pl.DataFrame:
    """The frame as it is defined, row by row."""
    plain = [name for name in SCHEMA if name not in BOUNDARIES]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in plain}
    columns |= {name: [column.tolist() for column in columns[name]] for name in COUNTS}
    for place, name in enumerate(BOUNDARIES):
        columns[name] = [None if row.boundaries is None else row.boundaries[:, place].tolist() for row in rows]
    return pl.DataFrame(columns, schema=SCHEMA)


def test_a_part_has_the_bytes_of_one_that_was_made_row_by_row(rng: np.random.Generator, tmp_path: Path) -> None:
    rows = list({(row.run_id, row.image_id): row for row in drawn(rng, 60)}.values())
    made, plain = frame_of(checked(rows)), as_a_list_a_row(rows)
    assert made.equals(plain) and made.schema == plain.schema
    whole, end_to_end = parts.write_part(tmp_path, plain), Rows.joined([Rows.of(rows[:7]), Rows.of(rows[7:])])
    assert parts.write_part(tmp_path, frame_of(end_to_end)).read_bytes() == whole.read_bytes()
    ordered = parts.write_part(tmp_path, frame_by_key(end_to_end), ordered=True)
    assert ordered.read_bytes() == whole.read_bytes()
    held = checked_together([Rows.of(rows[:7]), Rows.of(rows[7:9]), Rows.of(rows[9:])])
    assert held is not None and parts.write_part(tmp_path, frame_by_key(held)).read_bytes() == whole.read_bytes()
    all_counted = Rows.of(row for row in rows if row.pixels.size)
    assert frame_of(all_counted).equals(as_a_list_a_row(list(all_counted)))


HARMS = ("twice", "nothing", "infinite", "failed", "digest", "type", "length", "place", "short")


@pytest.mark.parametrize("harm", HARMS)
def test_columns_that_a_worker_could_not_have_made_are_refused(tmp_path: Path, harm: str) -> None:
    """Each of the rules of rows, and that columns belong together; what came before and after is kept, and told."""
    good = Row("a", "0", "ok", 1.0, None, np.array([1, 2]), np.array([1, 2]), np.array([3, 4]), sample="0" * 32)
    rows = Rows.of([replace(good, image_id="9"), good, Row("a", "1", "failed", 1.0, "x")])
    two = np.array([1, 2, 1, 1], np.uint16)
    bad = {
        "twice": lambda: replace(rows, true=two, predicted=two),
        "nothing": lambda: replace(rows, pixels=np.array([1, 2, 3, 0], np.uint32)),
        "infinite": lambda: replace(rows, seconds=np.array([1.0, np.inf, 1.0])),
        "failed": lambda: replace(rows, ok=np.array([True, False, False])),
        "digest": lambda: replace(rows, samples=("0" * 31 + "g",)),
        "type": lambda: replace(rows, true=rows.true.astype(np.int64)),
        "length": lambda: replace(rows, lengths=np.array([2, 3, 0])),
        "place": lambda: replace(rows, image=np.array([0, 1, 7], np.int32)),
        "short": lambda: replace(rows, pixels=rows.pixels[:-1]),
    }[harm]()
    store = Store.open(tmp_path)
    said = "do not belong together" if harm in ("type", "length", "place", "short") else "run a, image"
    with pytest.raises(StoreError, match=said), store.writer() as writer:
        writer.append([replace(good, image_id="before")], {"event": "before"})
        writer.append(bad, {"event": "bad"})
        writer.append(Rows.of([replace(good, image_id=f"after{n}") for n in range(8)]), {"event": "after"})
    assert store.stored() == {"a": {"before": "ok", **{f"after{n}": "ok" for n in range(8)}}}
    assert [event["event"] for event in store.events()] == ["before", "after"]


def test_faults_of_two_batches_that_make_up_for_each_other_are_refused(tmp_path: Path) -> None:
    good = Row("a", "0", "ok", 1.0, None, np.array([1, 2]), np.array([1, 2]), np.array([3, 4]), sample="0" * 32)
    long, short, right = (Rows.of([replace(good, image_id=name)]) for name in ("long", "short", "right"))
    store = Store.open(tmp_path)
    with store.writer(max_seconds=1e9) as writer:
        for name, length in (("long", 3), ("short", 1)):
            rows = {"long": long, "short": short}[name]
            writer.append(replace(rows, lengths=np.array([length])), {"event": name})
        writer.append(right, {"event": "right"})
        with pytest.raises(StoreError, match="do not belong together"):
            writer.flush()
        writer.flush()  # it is said once
    assert store.stored() == {"a": {"right": "ok"}} and [one["event"] for one in store.events()] == ["right"]


def test_malformed_rows_that_the_clock_meets_are_told_when_the_next_come(tmp_path: Path) -> None:
    good = Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([1]), np.array([3]))
    bad = replace(Rows.of([good]), pixels=np.zeros(1, np.uint32))
    store = Store.open(tmp_path)
    with pytest.raises(StoreError, match="run a, image 0 cannot be stored"), store.writer(max_seconds=0.2) as writer:
        writer.append(bad)
        writer.append((), {"event": "later"})
        while not store.events():
            time.sleep(0.05)
        writer.append(Rows.of([replace(good, image_id="2")]))
        raise AssertionError("nobody was told")
    assert store.stored() == {}


def test_overlaps_out_of_order_are_stored_in_order() -> None:
    row = Row("a", "0", "ok", 1.0, None, np.array([2, 1, 1]), np.array([0, 3, 1]), np.array([5, 6, 7]))
    (found,) = checked([row])
    assert (found.true.tolist(), found.predicted.tolist(), found.pixels.tolist()) == ([1, 1, 2], [1, 3, 0], [7, 6, 5])


def by_hand(rows: list[Row]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str | None]]]:
    """Status and digest of every image of every run, row by row."""
    status: dict[str, dict[str, str]] = {}
    said: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        known = status.setdefault(row.run_id, {})
        known[row.image_id] = "ok" if row.status == "ok" or known.get(row.image_id) == "ok" else "failed"
        if row.status == "ok":
            digests = said.setdefault(row.run_id, {}).setdefault(row.image_id, set())
            digests |= {row.sample} - {None} if row.sample else set()
    one = {run: {i: ("" if len(d) > 1 else next(iter(d), None)) for i, d in own.items()} for run, own in said.items()}
    return status, one


def test_what_is_held_is_what_rows_say_one_by_one(rng: np.random.Generator, tmp_path: Path) -> None:
    for turn in range(20):
        rows, place = drawn(rng, int(rng.integers(1, 90))), tmp_path / f"{turn}"
        store = Store.open(place)
        for start in range(0, len(rows), 17):
            parts.write_part(place / "rows", frame_of(checked(rows[start : start + 17])))
        held = store.held()
        status, samples = by_hand(rows)
        assert held == status and list(held) == sorted(status)
        bounded = {(row.run_id, row.image_id) for row in rows if row.boundaries is not None and row.status == "ok"}
        assert {(run, image) for run in status for image in held.bounded(run)} == bounded
        assert {run: dict(held.samples(run)) for run in status if held.samples(run)} == samples
        good = [row for row in rows if row.status == "ok"]
        for run in {row.run_id for row in rows}:
            by_artefact = [(row.artefact, row.image_id) for row in good if row.run_id == run and row.artefact]
            said = {(digest, image) for digest, images in held.artefacts(run).items() for image in images}
            assert said == set(by_artefact)
        spent = {run: [row.seconds for row in good if row.run_id == run] for run in {row.run_id for row in good}}
        assert {run: number for run, (_, number) in held.timings.items()} == {run: len(s) for run, s in spent.items()}
        assert {run: seconds for run, (seconds, _) in held.timings.items()} == pytest.approx(
            {run: sum(s) for run, s in spent.items()}
        )
    assert Store.open(tmp_path / "none").held() == {} and Store(tmp_path / "none").held().samples("r") == {}


def test_runs_that_hold_the_same_share_one_mapping(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.writer() as writer:
        writer.append([Row(run, image, "ok", 1.0) for run in "abc" for image in ("0", "1")])
    held = store.held()
    assert held["a"] is held["b"] and held.samples("b") is held.samples("c")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The columns that are read of parts."""
    read, columns = pl.read_parquet, list[str]()

    def watched(source: io.BytesIO, **options: Any) -> pl.DataFrame:
        columns.extend(options["columns"])
        return read(source, **options)

    monkeypatch.setattr(pl, "read_parquet", watched)
    yield columns


def test_resuming_decodes_no_counts(tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grid.yaml").write_text(
        "name: toy\nmethods: [{name: Flat, use: toy_world:Flat}]\nbatch: 4\n"
        "benchmarks: [{name: Boxes, use: toy_world:Boxes, with: {images: 9}}]\n"
    )
    assert door("grid.yaml", "--limit", "5", cwd=tmp_path).returncode == 0
    planned: list[list[str]] = []
    build = leaderboard.build_board
    monkeypatch.setattr(leaderboard, "build_board", lambda *a, **k: (planned.append(list(decoded)), build(*a, **k))[1])
    decoded.clear()
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    assert set(planned[0]) == {*KEY, "status", "sample", "artefact", "seconds"} and set(COUNTS) <= set(decoded)


def test_rows_behind_a_digest_are_believed_by_who_resumes_and_looked_at_by_who_counts(tmp_path: Path) -> None:
    """A part whose bytes are what its name says, with a row that no writer lets through: it reaches no table."""
    store = Store.open(tmp_path)
    rows = as_a_list_a_row([Row("a", "0", "ok", 1.0, None, np.array([1, 1]), np.array([1, 1]), np.array([3, 4]))])
    parts.write_part(tmp_path / "rows", rows)
    assert store.stored() == {"a": {"0": "ok"}}
    with pytest.raises(StoreError, match="the row of run a, image 0 is none that the store writes"):
        store.rows()


@pytest.mark.parametrize("harm", ["flip", "cut", "null", "unnamed"])
def test_what_proves_nothing_is_not_believed(tmp_path: Path, harm: str) -> None:
    store = Store.open(tmp_path)
    frame = as_a_list_a_row([Row("a", "0", "ok", 1.0), Row("a", "1", "perhaps" if harm == "unnamed" else "ok", 1.0)])
    frame = frame.with_columns(status=pl.lit(None, pl.String)) if harm == "null" else frame
    path = parts.write_part(tmp_path / "rows", frame)
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if harm == "cut" else content)
    if harm == "unnamed":  # of before: nothing but the rules stands for it
        path.rename(path.with_name("01700000000000000000-0123abcd.parquet"))
    with pytest.raises(StoreError, match=r"is damaged|cannot be believed"):
        store.stored()
