"""The store: what is written comes back, a crash loses nothing that was flushed, and contradictions are loud."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness.contracts import WIDE_IGNORED, Row
from harness.errors import StoreError
from results.folder import parts
from results.folder.bounds import BOUNDARIES
from results.folder.recipes import RunRecipe
from results.folder.rows import Contradiction, OtherData
from results.folder.store import Store

ROOT = Path(__file__).resolve().parents[2]


def ok(run_id: str, image_id: str, pixels: int = 7, seconds: float = 1.0) -> Row:
    overlap = np.array([2, 1]), np.array([WIDE_IGNORED, 1]), np.array([3, pixels])
    return Row(run_id, image_id, "ok", seconds, None, *overlap)


def failed(run_id: str, image_id: str) -> Row:
    return Row(run_id, image_id, "failed", 0.5, "it broke")


def filled(folder: Path, *parts: list[Row]) -> Store:
    """A store with one part a list."""
    store = Store.open(folder)
    for rows in parts:
        with store.writer() as writer:
            writer.append(rows)
    return store


def parts_of(store: Store) -> list[Path]:
    return sorted((store.folder / "rows").iterdir())


def test_rows_come_back_in_canonical_order(tmp_path: Path) -> None:
    store = filled(tmp_path, [ok("b", "2"), failed("a", "1")], [ok("a", "0")])
    rows = store.rows()
    assert rows["run_id"].to_list() == ["a", "a", "b"]
    assert rows["image_id"].to_list() == ["0", "1", "2"]
    assert rows.row(2, named=True) == {
        "run_id": "b", "image_id": "2", "status": "ok", "seconds": 1.0, "error": None,
        "true": [1, 2], "predicted": [1, WIDE_IGNORED], "pixels": [7, 3], "sample": None, "artefact": None,
        "card": None,
        **dict.fromkeys(BOUNDARIES),
    }  # fmt: skip
    assert rows.schema["pixels"] == pl.List(pl.UInt32)
    assert rows["error"].to_list() == [None, "it broke", None]
    assert store.stored() == {"a": {"0": "ok", "1": "failed"}, "b": {"2": "ok"}}
    assert store.rows(["b"]).height == 1


def test_an_empty_store_has_rows_of_the_same_form(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.rows().is_empty()
    assert store.rows().schema == filled(tmp_path / "other", [ok("a", "0")]).rows().schema
    assert store.stored() == {}
    assert store.table() is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_ok_beats_failed_and_equal_doubles_collapse(tmp_path: Path, order: tuple[int, ...]) -> None:
    parts = [
        [failed("a", "0"), ok("a", "1", seconds=2.0)],
        [ok("a", "0"), ok("a", "1", seconds=1.0)],
        [failed("a", "0")],
    ]
    store = filled(tmp_path, *(parts[i] for i in order))
    assert store.rows()["status"].to_list() == ["ok", "ok"]
    assert store.rows()["seconds"].to_list() == [1.0, 1.0]
    assert store.stored() == {"a": {"0": "ok", "1": "ok"}}


def test_of_failed_rows_the_last_reason_stands(tmp_path: Path) -> None:
    tries = [[Row("a", "0", "failed", seconds, f"try {number}")] for number, seconds in enumerate((0.1, 0.3, 0.2))]
    store = filled(tmp_path, *tries)
    assert store.rows()["error"].to_list() == ["try 2"]
    parts._join(store.folder / "rows", parts_of(store)[:2])
    assert [pl.read_parquet(path)["error"].to_list() for path in parts_of(store)] == [["try 1"], ["try 2"]]
    assert store.rows()["error"].to_list() == ["try 2"]


def test_ok_rows_that_differ_in_one_pixel_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path, [ok("a", "0"), ok("a", "1")], [ok("a", "0", pixels=8), ok("a", "1")])
    with pytest.raises(Contradiction, match="different counts for the same image of run a: 0;") as caught:
        store.rows()
    assert caught.value.frame.rows() == [("a", "0")]


@pytest.mark.parametrize(
    "row",
    [
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([1, 2]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([1, 1]), np.array([2, 2]), np.array([3, 4])),
        Row("a", "0", "ok", 1.0, None, np.array([WIDE_IGNORED + 1]), np.array([1]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([-1]), np.array([3])),
        Row("a", "0", "ok", 1.0, None, np.array([1]), np.array([1]), np.array([0])),
        Row("a", "0", "failed", 1.0, None, np.array([1]), np.array([1]), np.array([3])),
        Row("a", "0", "perhaps", 1.0),
    ],
)
def test_a_malformed_row_is_refused_and_takes_no_other_with_it(tmp_path: Path, row: Row) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StoreError, match="run a, image 0 cannot be stored"), store.writer() as writer:
        writer.append([ok("a", "1")])
        writer.append([row])
    assert store.stored() == {"a": {"1": "ok"}}


def test_rows_are_flushed_by_number_and_by_time(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.writer(max_rows=2, max_seconds=1e9) as writer:
        writer.append([ok("a", "0")])
        assert parts_of(store) == []
        writer.append([ok("a", "1")])
        assert len(parts_of(store)) == 1
    with store.writer(max_rows=100, max_seconds=0.0) as writer:
        writer.append([ok("a", "2")])
        assert len(parts_of(store)) == 2
    assert len(parts_of(store)) == 2


@pytest.mark.parametrize("damage", ["half", "empty", "foreign"])
def test_a_damaged_part_is_named_and_the_rest_survives_it(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path, [ok("a", "0")], [ok("a", "1")])
    path = parts_of(store)[0]
    whole = path.read_bytes()
    if damage == "foreign":
        pl.DataFrame({"x": [1]}).write_parquet(path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
    for read in (store.rows, store.stored):
        with pytest.raises(StoreError, match=rf"{path.name} is damaged: .*; move it away .* and run the sweep again"):
            read()
    path.unlink()
    assert store.stored() == {"a": {"1": "ok"}}


def test_no_folder_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist; name the folder"):
        Store.open(tmp_path / "none", create=False)
    with pytest.raises(StoreError, match="holds no rows/; name the folder"):
        Store.open(tmp_path, create=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made a results folder"):
        Store.open(tmp_path / "file")


CRASH = """
import os, sys
import numpy as np
import results.folder.durable as durable
from harness.contracts import Row
from results.folder.store import Store

def row(image):
    return Row("a", image, "ok", 1.0, None, np.array([1]), np.array([1]), np.array([5]))

def crash(*_, **__):
    os._exit(7)

step, folder = sys.argv[1:]
with Store.open(folder).writer() as writer:
    writer.append([row("before")])
    writer.flush()
    if step == "write":
        import polars as pl
        pl.DataFrame.write_parquet = lambda self, file, **_: (file.write(b"PAR1 half"), file.flush(), crash())
    elif step == "fsync":
        os.fsync = crash
    elif step == "replace":
        os.replace = crash
    elif step == "folder":
        durable._sync_folder = crash
    writer.append([row("during")])
    if step == "waiting":
        crash()
    writer.flush()
"""


@pytest.mark.parametrize("step", ["waiting", "write", "fsync", "replace", "folder"])
def test_a_crash_at_any_step_of_a_flush_leaves_whole_parts(tmp_path: Path, step: str) -> None:
    crashed = subprocess.run([sys.executable, "-c", CRASH, step, str(tmp_path)], cwd=ROOT, check=False)
    assert crashed.returncode == 7
    store = Store.open(tmp_path, create=False)
    survived = {"before": "ok", "during": "ok"} if step == "folder" else {"before": "ok"}
    assert store.stored() == {"a": survived}
    assert (tmp_path / "LOCK").exists()  # of a dead process: the next writer takes over
    with store.writer() as writer:
        writer.append([ok("b", "after")])
    assert store.stored() == {"a": survived, "b": {"after": "ok"}}
    assert all(path.suffix == ".parquet" for path in parts_of(store))
    assert not (tmp_path / "LOCK").exists()


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with store.writer() as first:
        with pytest.raises(StoreError, match=rf"written by process {os.getpid()} on .*; wait until it ends"):
            store.writer().__enter__()
        first.append([ok("a", "0")])
    assert store.stored() == {"a": {"0": "ok"}}


@pytest.mark.parametrize(
    ("owner", "stale"),
    [
        ({"host": socket.gethostname(), "pid": 2**22 + 1, "started": "1"}, True),  # no such process
        ({"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}, True),  # its number was given again
        ({"host": "elsewhere", "pid": 2**22 + 1, "started": "1"}, False),
        ("", True),  # the crash came before the text
    ],
)
def test_only_a_stale_lock_is_taken_over(tmp_path: Path, owner: object, stale: bool) -> None:
    store = filled(tmp_path)
    (tmp_path / "LOCK").write_text(json.dumps(owner) if owner else "")
    if stale:
        with store.writer() as writer:
            writer.append([ok("a", "0")])
        assert store.stored() == {"a": {"0": "ok"}}
    else:
        with pytest.raises(StoreError, match="on elsewhere; wait until it ends, or delete"):
            store.writer().__enter__()


def test_a_folder_that_takes_no_lock_and_a_disk_that_takes_no_part_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match=r"LOCK cannot be made \(No space left on device\); name a folder"):
            store.writer().__enter__()
    with store.writer() as writer:
        writer.append([ok("a", "0")])
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", refuse)
            with pytest.raises(
                StoreError, match=r"parquet cannot be written \(No space left on device\); free or mend"
            ):
                writer.flush()
        assert parts_of(store) == []  # nothing half written is left, and what was refused keeps waiting
    assert store.stored() == {"a": {"0": "ok"}}


def test_an_interruption_keeps_what_was_appended(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writer() as writer:
        writer.append([ok("a", "0")])
        raise KeyboardInterrupt
    assert store.stored() == {"a": {"0": "ok"}}
    assert not (tmp_path / "LOCK").exists()


def test_recipes_table_and_events(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    recipe = RunRecipe(
        "r1", "M", "", {"use": "m:M", "settings": {}}, "B", {"use": "b:B"}, {"vocabulary": "all"}, ("x",), 3
    )
    store.write_recipe("r1", recipe.as_dict())
    written = (tmp_path / "recipes" / "r1.json").stat().st_mtime_ns
    store.write_recipe("r1", recipe.as_dict())
    assert (tmp_path / "recipes" / "r1.json").stat().st_mtime_ns == written
    assert store.recipes() == {"r1": recipe}
    store.set_table("grid", ["r2", "r1"])
    table = store.table()
    assert table is not None
    assert (table.name, table.run_ids) == ("grid", ("r2", "r1"))
    store.event({"event": "start"})
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "cut sho')
    store.event({"event": "end"})
    assert [event["event"] for event in store.events()] == ["start", "end"]
    assert all("time" in event for event in store.events())


OLD, NEW = "0" * 32, "f" * 32


def test_rows_of_former_versions_are_read_and_a_row_that_names_its_data_stands(tmp_path: Path) -> None:
    store = filled(tmp_path, [ok("a", "0"), ok("a", "1")])
    (part,) = parts_of(store)
    pl.read_parquet(part).drop("sample", "card").write_parquet(part.with_name("01700000000000000000-0123abcd.parquet"))
    part.unlink()
    assert store.rows()["sample"].to_list() == [None, None] == store.rows()["card"].to_list()
    filled(tmp_path, [replace(ok("a", "0", seconds=9.0), sample=NEW)])
    assert store.rows().select("image_id", "seconds", "sample").rows() == [("0", 9.0, NEW), ("1", 1.0, None)]


def test_rows_of_one_image_from_different_data_are_refused_even_where_their_counts_are_equal(tmp_path: Path) -> None:
    store = filled(tmp_path, [replace(ok("a", "0"), sample=OLD)], [replace(ok("a", "0"), sample=NEW)])
    with pytest.raises(OtherData, match=r"run a for the same images from different data.*: 0; run the sweep again"):
        store.rows()


@pytest.mark.parametrize("sample", ["", "0" * 31, "G" * 32, "0" * 32 + "\n"])
def test_what_is_no_digest_is_refused(tmp_path: Path, sample: str) -> None:
    with Store.open(tmp_path).writer() as writer, pytest.raises(StoreError, match="32 hex digits"):
        writer.append([replace(ok("a", "0"), sample=sample)])


def test_a_run_id_is_never_a_path_and_a_bad_recipe_is_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "results")
    with pytest.raises(StoreError, match="no plain word"):
        store.write_recipe("../escaped", {})
    (tmp_path / "results" / "recipes" / "r1.json").write_text("{")
    with pytest.raises(StoreError, match=r"r1\.json cannot be read as JSON"):
        store.recipes()
    (tmp_path / "results" / "recipes" / "r1.json").write_text('{"run_id": "r1", "classes": []}')
    with pytest.raises(StoreError, match=r"r1\.json lacks what a recipe needs"):
        store.recipes()
