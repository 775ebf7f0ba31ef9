"""Who may write a folder: an owner that is heard of, here or elsewhere; after silence another one, and never two."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import Row
from harness.errors import StoreError
from results.folder import lock
from results.folder.store import Store

AT = {"pid": os.getpid(), "started": "1", "beat": 10.0, "token": "theirs"}
ELSEWHERE = [{"host": "another"}, {"boot": "another start"}, {"namespace": "pid:[1]"}]  # a container of the same name


def owned_by(folder: Path, owner: dict[str, Any], silent: float) -> Path:
    path = folder / "LOCK"
    path.write_text(json.dumps(owner))
    touched = time.time() - silent
    os.utime(path, (touched, touched))
    return path


def owner_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "LOCK").read_text())
    return found


def row(image: str) -> Row:
    return Row("r", image, "failed", 0.0, "why")


@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_owner_that_cannot_be_looked_at_is_followed_after_a_minute_of_silence(
    tmp_path: Path, where: dict[str, str]
) -> None:
    owned_by(tmp_path, {**lock.myself(), **AT, **where}, lock.SILENCE + 1)
    held = lock.acquire(tmp_path)
    assert owner_of(tmp_path)["token"] != "theirs"
    held.check()
    held.release()
    assert not list(tmp_path.iterdir()), "nothing is left lying about"


def test_who_waits_sees_the_owner_live_or_fall_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_LOOK", 0.01)
    path = owned_by(tmp_path, {**lock.myself(), **AT, "host": "another"}, 5)
    looks: list[float] = []

    def slept(_: float) -> None:
        looks.append(path.stat().st_mtime)
        if len(looks) == 3:
            os.utime(path)

    monkeypatch.setattr(lock.time, "sleep", slept)
    with pytest.raises(StoreError, match=r"is being written by process .* on another; wait until it ends, or delete"):
        lock.acquire(tmp_path)
    assert len(looks) == 3 and owner_of(tmp_path)["token"] == "theirs"
    monkeypatch.setattr(lock, "SILENCE", 0.1)
    os.utime(path, (path.stat().st_mtime - 1,) * 2)
    lock.acquire(tmp_path).release()


@pytest.mark.parametrize("owner", [
    {**lock.myself(), "beat": 10.0, "token": "stopped"},  # it lives, and is only halted
    {"host": "another", "pid": 7, "started": "1"},  # of an earlier version, which never beats
])  # fmt: skip
def test_the_living_are_never_followed(tmp_path: Path, owner: dict[str, Any]) -> None:
    owned_by(tmp_path, owner, 10_000)
    with pytest.raises(StoreError, match="is being written by process"):
        lock.acquire(tmp_path)
    assert owner_of(tmp_path) == owner


def test_a_lock_that_cannot_be_taken_away_stays_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    held = lock.acquire(tmp_path)
    monkeypatch.setattr(Path, "unlink", read_only)
    held.release()
    assert owner_of(tmp_path)["pid"] == os.getpid()


def test_an_owner_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.01)
    held, path = lock.acquire(tmp_path), tmp_path / "LOCK"
    os.utime(path, (1, 1))
    until = time.monotonic() + 20
    while path.stat().st_mtime == 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert path.stat().st_mtime > 1
    held.release()


def test_who_was_followed_writes_nothing_more_and_leaves_the_lock_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    taken_over = r"was taken over by process .* on another while nothing was heard"
    with pytest.raises(StoreError, match=taken_over), store.writer() as writer:
        writer.append([row("a")])
        writer.flush()
        owned_by(tmp_path, {**AT, "host": "another"}, 0)
        writer.append([row("b")], {"event": "batch"})
        writer.flush()
    assert store.stored() == {"r": {"a": "failed"}}
    assert not [event for event in store.events() if event["event"] == "batch"]
    assert owner_of(tmp_path)["token"] == "theirs"


def test_a_lock_that_a_person_deleted_is_taken_again(tmp_path: Path) -> None:
    held = lock.acquire(tmp_path)
    mine = owner_of(tmp_path)
    (tmp_path / "LOCK").unlink()
    held.check()
    assert owner_of(tmp_path) == mine
    held.release()


def test_a_rival_that_was_faster_keeps_the_lock(tmp_path: Path) -> None:
    """Two hosts see the same silent owner; the second puts aside what is the first one's by now, and gives it back."""
    stale = {**AT, "host": "gone"}
    path = owned_by(tmp_path, {**AT, "host": "first", "token": "first"}, 0)
    with pytest.raises(StoreError, match="on first"):
        lock._put_away(path, stale)
    assert owner_of(tmp_path)["token"] == "first" and len(list(tmp_path.iterdir())) == 1


def test_of_many_rivals_one_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on hosts that share no flock."""
    monkeypatch.setattr(lock, "_LOOK", 0.01)
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: None)
    owned_by(tmp_path, {**lock.myself(), **AT, "host": "gone"}, 1000)
    held, refused, start = list[lock.Lock](), list[str](), threading.Barrier(8)

    def rival() -> None:
        start.wait()
        try:
            held.append(lock.acquire(tmp_path))
        except StoreError as error:
            refused.append(str(error))

    rivals = [threading.Thread(target=rival) for _ in range(8)]
    for one in rivals:
        one.start()
    for one in rivals:
        one.join()
    still = []
    for one in held:
        try:
            one.check()
            still.append(one)
        except StoreError:
            pass
    assert len(still) == 1 and len(held) + len(refused) == 8
    for one in held:
        one.release()
    assert not (tmp_path / "LOCK").exists()
