"""Rows reach the disk as parts: by the clock, whole or not at all; many are joined; foreign things are refused."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from three_images import filled, recipe, row

from harness.errors import StoreError
from results.folder import parts
from results.folder.bounds import BOUNDARIES
from results.folder.durable import write_whole
from results.folder.rows import SCHEMA
from results.folder.store import Store
from results.tables import leaderboard

FOREIGN = {
    "LOCK": "delete it if you are sure", "grid.json": "is no file", "events.jsonl": "is no file",
    "recipes/r1.json": "is no file", "rows/00000000000000000000-pipe.parquet": "is no file",
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize(("name", "sentence"), FOREIGN.items())
def test_pipes_and_folders_in_place_of_files_are_sentences(tmp_path: Path, name: str, sentence: str, kind: str) -> None:
    store = filled(tmp_path, "r1")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name) if kind == "pipe" else (tmp_path / name).mkdir()

    def use() -> None:
        with store.writer() as writer:
            writer.append([row("r1", "3")], {"event": "batch"})
        leaderboard.build_board(store)

    with pytest.raises(StoreError, match=sentence):
        use()


def test_a_folder_in_the_place_of_a_leftover_is_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, "r1")
    (tmp_path / "rows" / "x.tmp").mkdir()
    with store.writer():
        pass
    assert set(store.stored()) == {"r1"}


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (json.dumps({"host": HERE, "pid": 2**31, "started": "1"}), "written by process 2147483648"),
        (json.dumps({"host": HERE, "pid": 2**99, "started": "1"}), "written by process"),
        (json.dumps({"host": HERE, "pid": -1, "started": "1"}), "written by process -1"),
        (json.dumps({"host": HERE, "pid": 2**22 + 1, "namespace": "pid:[7]"}), "written by process"),
        (json.dumps({"host": HERE, "pid": "7"}), "written by process 7"),
        ("a word {}", "is no lock that a sweep makes"),
    ],
)
def test_an_owner_that_cannot_be_judged_from_here_counts_as_alive(tmp_path: Path, text: str, sentence: str) -> None:
    store = filled(tmp_path, "r1")
    (tmp_path / "LOCK").write_text(text)
    with pytest.raises(StoreError, match=f"{sentence}.*delete"):
        store.writer().__enter__()


def test_rows_are_flushed_by_the_clock_when_nothing_more_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(Path(os.path.relpath(tmp_path)))
    with store.writer(max_seconds=0.05) as writer:
        writer.append([row("r1", "0")], {"event": "batch", "rows": 1})
        monkeypatch.chdir("/")  # as a foreign method may do meanwhile
        while not Store(tmp_path).events():
            time.sleep(0.01)
        assert Store(tmp_path).stored() == {"r1": {"0": "ok"}}
        assert [event["rows"] for event in Store(tmp_path).events()] == [1]


def test_an_event_tells_of_rows_only_when_they_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path)
    with store.writer(max_seconds=1e9) as writer:
        writer.append([row("r1", "0")], {"event": "batch", "rows": 1})
        assert store.events() == []
        with monkeypatch.context() as patched:
            patched.setattr("results.folder.parts.write_whole", full_disk)
            with pytest.raises(StoreError, match="No space left"):
                writer.flush()
            assert store.events() == []
        writer.flush()
        assert [event["rows"] for event in store.events()] == [1]
        assert store.stored() == {"r1": {"0": "ok"}}


def full_disk(path: Path, write: object) -> None:
    """A device that takes nothing, as `write_whole` meets it."""
    write_whole(path, lambda _file: Path("/dev/full").write_bytes(b"x"))


def test_a_disk_that_was_full_when_the_clock_struck_is_told_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, struck = Store.open(tmp_path), threading.Event()

    def full(path: Path, write: object) -> None:
        struck.set()
        full_disk(path, write)

    with monkeypatch.context() as patched:
        patched.setattr("results.folder.parts.write_whole", full)
        told = pytest.raises(StoreError, match=r"cannot be written \(No space left on device\); free or mend the disk")
        with told, store.writer(max_seconds=0.05) as writer:
            writer.append([row("r1", "0")])
            struck.wait()
            writer.append([row("r1", "1")])
    assert not (tmp_path / "LOCK").exists() and not list((tmp_path / "rows").iterdir())


def many(folder: Path, count: int) -> Store:
    store = Store.open(folder)
    with store.writer(max_rows=1) as writer:
        for number in range(count):
            writer.append([row("r1", f"{number:04d}")])
    store.write_recipe("r1", recipe("r1", images=count).as_dict())
    return store


def test_many_small_parts_become_few_with_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.folder.parts.MANY", 8)
    store = many(tmp_path, 29)
    assert len(list((tmp_path / "rows").iterdir())) == 1 + 5  # three times eight, and what came since
    assert len(store.stored()["r1"]) == 29 == store.rows().height
    few = many(tmp_path / "few", 5)
    assert len(list((few.folder / "rows").iterdir())) == 5  # few parts are left as they are


def test_no_more_rows_are_joined_than_can_be_held_however_few_bytes_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = many(tmp_path, 9)
    whole = store.rows()
    monkeypatch.setattr("results.folder.parts.MANY", 8)
    monkeypatch.setattr("results.folder.parts._JOINED_ROWS", 4)
    parts.join(tmp_path / "rows")
    assert [parts.read_part(path).height for path in parts.listed(tmp_path / "rows")] == [4, 4, 1]
    assert store.rows().equals(whole)


def test_a_crash_between_a_joined_part_and_the_old_ones_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = many(tmp_path, 9)
    whole, texts = store.rows(), leaderboard.leaderboard_csv(leaderboard.build_board(store))
    monkeypatch.setattr("results.folder.parts.MANY", 8)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            parts.join(tmp_path / "rows")
    assert len(parts.listed(tmp_path / "rows")) == 10
    assert store.rows().equals(whole)
    assert leaderboard.leaderboard_csv(leaderboard.build_board(store)) == texts
    parts.join(tmp_path / "rows")
    assert len(parts.listed(tmp_path / "rows")) == 1 and store.rows().equals(whole)


def test_parts_that_are_damaged_or_of_before_are_never_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.folder.parts.MANY", 2)
    store = Store.open(tmp_path)
    for name in ("01700000000000000000-0123abcd.parquet", "01700000000000000001-0123abcd.parquet"):
        row_frame = parts.read_part(parts.write_part(tmp_path / "rows", frame_of_one(name))).drop("index")
        row_frame.write_parquet(tmp_path / "rows" / name)
    parts.join(tmp_path / "rows")
    names = [path.name for path in parts.listed(tmp_path / "rows")]
    assert len(names) == 3 and names[0].endswith("0123abcd.parquet")
    path = parts.listed(tmp_path / "rows")[-1]
    path.write_bytes(path.read_bytes()[:-1])
    parts.write_part(tmp_path / "rows", frame_of_one("3"))
    with pytest.raises(StoreError, match="is damaged"):
        parts.join(tmp_path / "rows")
    assert len(parts.listed(tmp_path / "rows")) == 4
    with store.writer():  # a writer leaves it to the next reader to tell
        pass


def frame_of_one(image_id: str) -> pl.DataFrame:
    columns = {
        "run_id": ["r1"],
        "image_id": [image_id],
        "status": ["ok"],
        "seconds": [0.5],
        "error": [None],
        "sample": [None],
        "artefact": [None],
        "card": [None],
    }
    columns |= {name: [None] for name in BOUNDARIES}
    return pl.DataFrame({**columns, "true": [[1]], "predicted": [[1]], "pixels": [[9]]}, schema=SCHEMA)
