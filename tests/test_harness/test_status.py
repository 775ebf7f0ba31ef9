"""How a sweep stands, told from events alone: at work, at its end, killed, or out of sight."""

from __future__ import annotations

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_chain import CHAIN, door, met, start

from harness import status
from harness.pulse import Pulse
from results.folder import artefacts, lock
from results.folder.course import course_of
from results.folder.store import Store

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def told(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    capsys.readouterr()
    assert status.main([str(folder), *more]) == 0
    said = capsys.readouterr().out
    return json.loads(said) if "--json" in more else said


def at(seconds: float, kind: str, **content: Any) -> dict[str, Any]:
    return {"time": (BEGAN + timedelta(seconds=seconds)).isoformat(), "event": kind, **content}


def test_a_chain_that_is_killed_and_goes_on_is_told_at_every_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grid.yaml").write_text(CHAIN)
    driver = start(tmp_path, "--local", wish="kill at fit 4")
    driver.join()
    assert driver.exitcode == -signal.SIGKILL and met()
    died = told(tmp_path / "runs", capsys, "--json")
    assert died["state"] == "died" and died["over"] and died["exit"] is None and 0 < died["done"] < died["wanted"]
    assert [(fit["method"], fit["state"]) for fit in died["fits"].values()] == [("Plus", "at work")]
    said = " ".join(told(tmp_path / "runs", capsys).split())
    assert said.startswith("died without a word; ") and "is kept, the same command goes on from there chain:" in said
    assert door(tmp_path) == 0
    ended = told(tmp_path / "runs", capsys, "--json")
    assert (ended["state"], ended["exit"], ended["failed"]) == ("ended", 0, 0)
    assert ended["done"] == ended["wanted"] > 0 and ended["wanted"] < died["wanted"]  # what the first had stored stays
    assert {fit["state"] for fit in ended["fits"].values()} == {"done"} and len(ended["fits"]) == 3
    assert told(tmp_path / "runs", capsys).startswith("done; ")
    before = told(tmp_path / "runs", capsys, "--json")
    assert door(tmp_path) == 0  # nothing to do, nothing to tell
    assert told(tmp_path / "runs", capsys, "--json") == before


def test_lines_that_stand_twice_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of a log behind itself, as a copy leaves it, and one line beside itself; what goes on is told behind both."""
    store = Store.open(tmp_path / "runs")
    store.event({"event": "sweep", "images": 40, "by": lock.myself()})
    for batch in range(3):
        store.event({"event": "batch", "shard": "s", "batch": batch, "done": 5, "failed": 1, "errors": ["torn"]})
    log, before = store.folder / "events.jsonl", told(store.folder, capsys, "--json")
    assert (before["done"], before["failed"], before["errors"]) == (15, 3, {"torn": 3})
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:2], lines[1], *lines[2:], *lines]))
    assert {**told(store.folder, capsys, "--json"), "seconds": 0} == {**before, "seconds": 0}
    store.event({"event": "batch", "shard": "s", "batch": 3, "done": 5, "failed": 0})
    assert told(store.folder, capsys, "--json")["done"] == 20 and len(store.events()) == 5


def test_the_time_left_rests_on_images_and_neither_on_loading_nor_on_fits() -> None:
    """Ten minutes of loading, two images a second, a fit of an hour, then four a second."""
    events = [at(0, "sweep", images=1000, by={"pid": 1}), at(1, "worker_ready", worker=1, host="a", gpu="0")]
    events += [at(600 + 10 * n, "batch", rows=20, failed=n % 2, errors=["no"] * (n % 2)) for n in range(5)]
    course = course_of(events)
    assert course is not None and course.rate(course.heard) == 2.0 and course.left(course.heard) == 450.0
    assert course.rate(course.heard + timedelta(seconds=40)) == 1.0  # it stands still
    assert course.failed == 2 and course.errors == {"no": 2}
    events += [at(650, "fit begun", artefact="x", method="M"), at(4250, "fit", artefact="x", method="M")]
    course = course_of(events)
    assert course is not None and course.rate(course.heard) is None and course.left(course.heard) is None
    events += [at(4260 + 10 * n, "batch", rows=40) for n in range(3)]
    course = course_of(events)
    assert course is not None and course.rate(course.heard) == 4.0 and course.left(course.heard) == (1000 - 220) / 4


def test_what_is_planned_again_is_added_and_another_sweep_begins_anew() -> None:
    first = {"pid": 1}
    events = [at(0, "sweep", images=10, by=first), at(1, "batch", rows=10), at(2, "sweep", images=5, by=first)]
    course = course_of(events)
    assert course is not None and (course.wanted, course.done) == (15, 10)
    course = course_of([*events, at(3, "sweep", images=5, by={"pid": 2})])
    assert course is not None and (course.wanted, course.done) == (5, 0)
    course = course_of([*events, at(3, "end", exit=3), at(4, "sweep", images=7, by=first)])
    assert course is not None and (course.wanted, course.done, course.ended) == (7, 0, False)
    assert course_of([at(0, "merged", rows=3)]) is None


@pytest.mark.parametrize(("error", "code"), [(None, 3), (KeyboardInterrupt, 130), (ValueError, 1)])
def test_the_end_says_how(error: type[BaseException] | None, code: int, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    try:
        with Pulse(store.event, beat=0.01) as pulse:
            pulse.start({"images": 4, "by": lock.myself()})
            while not any(event["event"] == "beat" for event in store.events()):
                pass
            pulse.code = 3
            if error is not None:
                raise error
    except (KeyboardInterrupt, ValueError):
        assert error is not None
    assert [event["event"] for event in store.events() if event["event"] != "beat"] == ["sweep", "end"]
    assert store.events()[-1]["exit"] == code


def test_a_sweep_on_another_host_is_silent_when_nothing_was_heard_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "runs")
    store.event({"event": "sweep", "images": 4, "by": {**lock.myself(), "host": "elsewhere"}})
    store.event({"event": "worker_ready", "worker": 1, "host": "one", "pid": 7, "gpu": "3"})
    store.event({"event": "worker_lost", "worker": 2, "kind": "oom", "reason": "too much"})
    assert told(store.folder, capsys, "--json")["state"] == "running"
    shown = told(store.folder, capsys)
    assert "worker 1: process 7 on one, GPU 3" in shown and "worker 2 on None was lost: oom: too much" in shown
    monkeypatch.setattr("results.folder.course.BEAT_MISSED", -1.0)
    assert told(store.folder, capsys, "--json")["state"] == "silent" and "said nothing" in told(store.folder, capsys)


def test_workers_are_told_with_their_card_what_they_did_last_and_their_memory_and_failures_by_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "runs")
    store.event({"event": "sweep", "images": 40, "by": lock.myself()})
    for number, host in ((1, "one"), (2, "two")):
        store.event({"event": "worker_ready", "worker": number, "host": host, "pid": 7, "gpu": "3", "card": "H100"})
    for batch, number, host, failed in ((0, 1, "one", 2), (1, 2, "two", 1), (2, 1, "one", 3)):
        by = {"worker": number, "host": host, "memory": (batch + 1) * 2**30, "card": "NVIDIA H100 NVL"}
        errors = ["DataError: gone"] if host == "one" else ["torn"]
        did = {"event": "batch", "shard": "s", "batch": batch, "done": 5, "failed": failed, "errors": errors}
        store.event({**did, **by})
    known = told(store.folder, capsys, "--json")
    assert known["failures"] == {"one": 5, "two": 1} and known["errors"] == {"DataError: gone": 2, "torn": 1}
    last = {one["worker"]: (one["batch"], one["memory"]) for one in known["workers"]}
    assert last == {1: (2, 3 * 2**30), 2: (1, 2**31)}
    shown = told(store.folder, capsys)
    assert "worker 1: process 7 on one, GPU 3 (NVIDIA H100 NVL); last did batch 2 of s, 3.0 GiB at most" in shown
    assert "5 failed on one" in shown and "1 failed on two" in shown


def test_workers_are_told_with_the_batch_that_they_are_at_and_since_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is at its first batch, one went on to the next, one is done with its lease, one died."""
    store, since = Store.open(tmp_path / "runs"), (datetime.now(UTC) - timedelta(seconds=90)).isoformat()
    store.event({"event": "sweep", "images": 40, "by": lock.myself()})
    for number in (1, 2, 3, 4):
        store.event({"event": "worker_ready", "worker": number, "host": "one", "pid": number})
        store.event({"event": "lease", "worker": number, "shard": f"s{number}", "following": 4, "since": since})
    did = {"event": "batch", "batch": 4, "done": 5, "failed": 0, "errors": []}
    store.event({**did, "worker": 2, "shard": "s2", "following": 5, "since": since})
    store.event({**did, "worker": 3, "shard": "s3"})
    store.event({"event": "worker_lost", "worker": 4, "kind": "oom", "reason": "too much"})
    known = told(store.folder, capsys, "--json")
    doing = {one["worker"]: one["doing"] for one in known["workers"]}
    assert doing[1] == {"shard": "s1", "batch": 4, "since": since}
    assert doing[2] == {"shard": "s2", "batch": 5, "since": since}
    assert doing[3] == {} == doing[4]
    shown = told(store.folder, capsys)
    found = re.search(r"worker 1: process 1 on one; at batch 4 of s1 for 0:(\d\d):(\d\d)", shown)
    assert found and 90 <= 60 * int(found[1]) + int(found[2]) < 600 and "; at batch 5 of s2 for" in shown
    assert "worker 3: process 3 on one; last did batch 4 of s3" in shown
    store.event({"event": "end", "exit": 130})
    assert "at batch" not in told(store.folder, capsys)


def test_a_fit_at_work_is_told_with_its_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(tmp_path / "runs")
    store.event({"event": "sweep", "images": 40, "by": lock.myself()})
    store.event({"event": "fit begun", "artefact": "x", "method": "Plus"})
    folder = artefacts.artefact_path(store.folder, "x")
    folder.mkdir(parents=True)
    (folder / "curve.jsonl").write_text('{"step": 3, "steps": 9, "loss": 0.25}\n')
    assert "fit Plus: at work, step 3 of 9, loss 0.250" in told(store.folder, capsys)
    assert told(store.folder, capsys, "--json")["fits"]["x"]["curve"] == "step 3 of 9, loss 0.250"


def test_who_follows_a_sweep_is_told_until_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks three times: at the beginning, after a batch, and at the end."""
    store, looks = Store.open(tmp_path / "runs"), list[float]()
    store.event({"event": "sweep", "name": "toys", "images": 40, "by": lock.myself()})

    def pause(seconds: float) -> None:
        looks.append(seconds)
        done = {"event": "batch", "done": 10, "failed": 0, "errors": []}
        store.event(done if len(looks) == 1 else {"event": "end", "exit": 0})

    monkeypatch.setattr("harness.status.time", SimpleNamespace(sleep=pause))
    assert status.main([str(store.folder), "--follow", "--every", "0.25"]) == 0
    said = capsys.readouterr().out
    assert looks == [0.25, 0.25] and "done; " in said and "toys: 10 of 40 image results (25 %)" in said


@pytest.mark.parametrize(
    "unsound",
    [
        {"event": "batch", "done": None}, {"event": "batch", "done": {}}, {"event": "batch", "failed": "x"},
        {"event": "batch", "done": 1, "errors": None}, {"event": []}, {"event": "worker_ready", "worker": "zero"},
        {"event": "batch", "done": 2, "memory": "lots"}, {"event": "batch", "done": -5},
        {"event": "sweep", "images": []},
    ],
)  # fmt: skip
def test_lines_that_nobody_could_have_told_are_left_out_and_counted(
    unsound: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path)
    begun, ended = at(0, "sweep", name="a \x1b[31mred", images=9), at(3, "end", exit=0)
    for event in (begun, at(1, "batch", done=4), unsound, ended):
        store.event(event if "time" in event else {**event, "time": BEGAN.isoformat()})
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "batch", "done"\n')
    assert told(tmp_path, capsys, "--json")["damaged"] == 2
    said = told(tmp_path, capsys)
    assert "4 of 9 image results" in said and "2 lines of events.jsonl are damaged" in said and "\x1b" not in said


def test_a_folder_whose_beginning_is_damaged_is_not_called_one_without_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path)
    store.event(at(1, "batch", done=4))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"{\n")
    assert status.main([str(tmp_path)]) == 2
    assert "1 line of events.jsonl is damaged" in capsys.readouterr().err


def test_a_folder_without_a_sweep_has_its_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([str(tmp_path / "none")]) == 2
    Store.open(tmp_path / "runs")
    assert status.main([str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "No sweep has begun in" in said and "none" in said
    for whole in (tmp_path / "array", tmp_path / "runs"):  # before a first merge, and after it
        Store.open(whole / "shards" / "1-of-2")
        assert status.main([str(whole)]) == 2
        assert f"name the folder of one, such as {whole}/shards/1-of-2, or ask for all" in capsys.readouterr().err
