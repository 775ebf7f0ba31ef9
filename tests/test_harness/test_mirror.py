"""Results flow into a bucket while they are made, and from there on to another machine; whatever the bucket does."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import in_process
import pytest
import toy_bucket
import toy_chain
from toy_bucket import SECRET, URL, Refused, Stores

from harness import status
from results import explain, leaderboard, merge
from results.folder import lock
from results.folder.store import Store
from results.mirror import bucket, copying, layout, lease

pytest.importorskip("obstore")


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stores:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return toy_bucket.in_place_of_buckets(monkeypatch)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, bytes]]:
    """The tables of the chain without a bucket."""
    folder = place(tmp_path_factory.mktemp("alone"))
    assert toy_chain.door(folder) == 0
    yield toy_chain.tables(folder)


def place(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "grid.yaml").write_text(toy_chain.CHAIN)
    return folder


def sweep(folder: Path, *more: str) -> int:
    return toy_chain.door(place(folder), "--mirror", URL, *more)


def stderr(folder: Path) -> str:
    return (folder / "stderr").read_text()


def as_objects(folder: Path) -> dict[str, bytes]:
    """What a mirror of a results folder holds, its logs whole."""
    return {name: (folder / name).read_bytes() for name in layout.files_of(folder)}


def whole(objects: dict[str, bytes]) -> dict[str, bytes]:
    """Objects with the pieces of every log joined."""
    logs = {log for name in objects if (log := layout.log_of(name))}
    sizes = [(name, len(content)) for name, content in objects.items()]
    joined = {log: b"".join(objects[one.path] for one in layout.pieces(log, sizes)) for log in logs}
    return {name: content for name, content in objects.items() if not layout.log_of(name)} | joined


def test_a_bucket_has_all_of_the_folder_and_an_empty_disk_goes_on_from_it(
    tmp_path: Path, stores: Stores, alone: tuple[bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path / "one") == 0
    assert toy_chain.tables(tmp_path / "one") == alone
    kept = as_objects(tmp_path / "one" / "runs")
    assert whole(stores.objects()) == kept and len(kept) > 20
    assert sweep(tmp_path / "two") == 0
    assert toy_chain.tables(tmp_path / "two") == alone
    assert not [one for one in toy_chain.events(tmp_path / "two", "batch") if one not in told(kept)]
    assert f"files were brought from {URL}" in stderr(tmp_path / "two")
    for command, arguments in ((leaderboard.main, [URL]), (merge.main, [URL, "--into", str(tmp_path / "three")])):
        assert command(arguments) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    (table,) = [Path(line) for line in printed.splitlines() if line.endswith("leaderboard.csv")]
    assert table.read_bytes() == alone[0] and tmp_path / "one" not in table.parents
    assert Store.open(tmp_path / "three").rows().equals(Store.open(tmp_path / "one" / "runs").rows())
    run = next(iter(Store.open(tmp_path / "three").recipes()))
    assert explain.main([run, "--results", URL]) == 0 and run in capsys.readouterr().out
    assert status.main([URL, "--json"]) == 0
    heard = json.loads(capsys.readouterr().out)
    assert (heard["state"], heard["exit"], heard["name"]) == ("ended", 0, "chain")


def told(objects: dict[str, bytes]) -> list[Any]:
    return [json.loads(line) for line in objects["events.jsonl"].splitlines()]


def test_an_outage_holds_nothing_back_and_is_caught_up_with(
    tmp_path: Path, stores: Stores, alone: tuple[bytes, bytes]
) -> None:
    """The bucket refuses from the first part on until fifty calls later; a part is written while it does."""
    calls: list[str] = []

    def trouble(name: str, path: Any) -> None:
        if name in ("put", "delete") and (calls or str(path).startswith("rows/")):
            calls.append(str(path))
            if len(calls) < 50:
                raise Refused(503)

    stores.trouble = trouble
    assert sweep(tmp_path) == 0
    assert toy_chain.tables(tmp_path) == alone
    assert whole(stores.objects()) == as_objects(tmp_path / "runs")
    states = [(one["state"], one.get("why")) for one in toy_chain.events(tmp_path, "mirror")]
    why = f"{URL} cannot be used: it answers with the status 503"
    assert states == [("out of reach", why), ("in reach again", None)]
    assert stderr(tmp_path).count("The sweep goes on") == 1
    written = b"".join([stderr(tmp_path).encode(), *as_objects(tmp_path / "runs").values()])
    assert SECRET.encode() not in written


def test_what_never_got_through_is_said_and_copied_by_the_same_command(
    tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch, alone: tuple[bytes, bytes]
) -> None:
    monkeypatch.setattr(copying, "PATIENCE", 0.01)
    refuses = [True]

    def trouble(name: str, path: Any) -> None:
        if refuses and name == "put" and path != "LOCK":
            raise Refused(507)

    stores.trouble = trouble
    assert sweep(tmp_path) == 3
    assert f"files are not in {URL} as they are here; the same command copies them" in stderr(tmp_path)
    refuses.clear()
    batches = toy_chain.events(tmp_path, "batch")
    assert sweep(tmp_path) == 0
    assert toy_chain.events(tmp_path, "batch") == batches
    assert whole(stores.objects()) == as_objects(tmp_path / "runs")
    assert toy_chain.tables(tmp_path) == alone


def test_a_bucket_that_cannot_be_had_at_the_start_is_told_before_any_work(tmp_path: Path, stores: Stores) -> None:
    def trouble(name: str, path: Any) -> None:
        raise Refused(403)

    stores.trouble = trouble
    assert sweep(tmp_path) == 2
    assert "it does not let us; look at the credentials in the environment" in stderr(tmp_path)
    assert SECRET not in stderr(tmp_path) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("url", [f"s3://key:{SECRET}@lab/run", f"s3://lab/run?token={SECRET}"])
def test_a_url_with_a_secret_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    answer = in_process.door("grid.yaml", "--mirror", url, cwd=place(tmp_path))
    assert answer.returncode == 2 and SECRET not in answer.stderr + answer.stdout
    assert "holds no names, keys or tokens; give them by the environment" in answer.stderr


@pytest.mark.parametrize("url", ["http://lab/run", "s3://", "lab/run"])
def test_what_is_no_bucket_is_told(tmp_path: Path, url: str) -> None:
    answer = in_process.door("grid.yaml", "--mirror", url, cwd=place(tmp_path))
    assert answer.returncode == 2 and "give a bucket and a folder in it" in answer.stderr


def owner(**differs: Any) -> bytes:
    return json.dumps({**lock.myself(), "token": "theirs", **differs}).encode()


def test_a_living_sweep_elsewhere_is_never_followed(tmp_path: Path, stores: Stores) -> None:
    stores.put("LOCK", owner())
    assert sweep(tmp_path) == 2
    assert f"{URL} is being written by process {os.getpid()} on {socket.gethostname()}; wait" in stderr(tmp_path)
    assert stores.objects()["LOCK"] == owner()


def test_a_sweep_elsewhere_that_is_heard_of_is_waited_for_and_a_silent_one_followed(
    tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.put("LOCK", owner(host="away"))
    looks = [0]

    def beats(name: str, path: Any) -> None:
        looks[0] += name == "get" and path == "LOCK"
        if looks[0] == 4:
            looks[0] += 1
            stores.put("LOCK", owner(host="away", beats=1))

    stores.trouble = beats
    assert sweep(tmp_path) == 2 and "on away; wait until it ends" in stderr(tmp_path)
    stores.trouble = lambda name, path: None
    monkeypatch.setattr(lease, "SILENCE", 0.05)
    monkeypatch.setattr(lease, "_MARGIN", 1000.0)
    assert sweep(tmp_path) == 0
    assert "LOCK" not in stores.objects()


def test_who_was_followed_elsewhere_stops_before_it_writes(
    tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.001)
    theirs = owner(host="away")

    def taken(name: str, path: Any) -> None:
        if name == "put" and str(path).startswith("rows/") and stores.objects()["LOCK"] != theirs:
            stores.put("LOCK", theirs)
            noticed = time.monotonic() + 300
            while ("get", "LOCK") not in stores.calls and time.monotonic() < noticed:  # until its heart has
                time.sleep(0.001)

    stores.trouble = taken
    assert sweep(tmp_path) == 2
    assert f"{URL} was taken over by process {os.getpid()} on away" in stderr(tmp_path)
    assert stores.objects()["LOCK"] == theirs
    assert len(Store.open(tmp_path / "runs").recipes()) > 0 and not (tmp_path / "runs" / "leaderboard.csv").exists()


def test_a_folder_with_other_results_gets_those_of_the_bucket_merged_in(
    tmp_path: Path, stores: Stores, alone: tuple[bytes, bytes]
) -> None:
    assert sweep(tmp_path / "one", "--method", "Bright") == 0
    assert toy_chain.door(place(tmp_path / "two"), "--limit", "4", "--method", "Bright", "--method", "Plus") in (0, 3)
    assert sweep(tmp_path / "two") == 0
    assert toy_chain.tables(tmp_path / "two") == alone
    assert "files beside them were brought from" in stderr(tmp_path / "two")
    assert whole(stores.objects()) == as_objects(tmp_path / "two" / "runs"), "a log of another folder is written anew"


def test_jobs_of_an_array_have_a_place_each_in_the_bucket(tmp_path: Path, stores: Stores) -> None:
    grid = toy_chain.CHAIN.partition("  - {name: Plus")[0] + "benchmarks:" + toy_chain.CHAIN.partition("benchmarks:")[2]
    for number in (1, 2):
        folder = tmp_path / f"job{number}"
        place(folder)
        (folder / "grid.yaml").write_text(grid)
        assert toy_chain.door(folder, "--mirror", URL, "--shard", f"{number}/2") == 0
    urls = [f"{URL}/shards/{number}-of-2" for number in (1, 2)]
    assert merge.main([*urls, "--into", str(tmp_path / "runs")]) == 0
    (tmp_path / "grid.yaml").write_text(grid)
    assert toy_chain.door(tmp_path) == 0 and not toy_chain.events(tmp_path, "batch")


EVIL = ["../evil", "rows/../../evil", "/evil", "rows//evil", "recipes/a\\b", "evil/a", "LOCK"]


@pytest.mark.parametrize("name", EVIL)
def test_names_from_outside_never_leave_the_folder(name: str) -> None:
    assert not layout.is_mirrored(name)


def test_the_pieces_of_a_log_make_it_up_without_a_gap(seed: int) -> None:
    digest = "0" * 32
    sizes = [(f"events/{start:015d}-{digest}.jsonl", size) for start, size in ((0, 3), (3, 4), (9, 5))]
    assert [one.start for one in layout.pieces("events.jsonl", sizes)] == [0, 3]
    sizes.append((f"events/{0:015d}-{'1' * 32}.jsonl", 9))
    assert [(one.start, one.size) for one in layout.pieces("events.jsonl", sizes)] == [(0, 9), (9, 5)]
    assert not layout.pieces("origins/events.jsonl", sizes)


class Google(BaseHTTPRequestHandler):
    """As much of Google's interface as writes one object; notes the generation that each write asks for."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(wanted := self.headers.get("x-goog-if-generation-match"))  # type: ignore[attr-defined]
        self.send_response(200 if wanted in ("0", "17") else 412)
        self.send_header("x-goog-generation", "17")
        self.send_header("ETag", '"not the generation"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def test_at_google_an_object_is_known_by_its_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library asks for it where an object is written as it was seen: a lock there is renewed, and followed."""
    account = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    (tmp_path / "account.json").write_text(json.dumps(account))
    with ThreadingHTTPServer(("127.0.0.1", 0), Google) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
        monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        there = bucket.Bucket("gs://lab/run")
        assert there.put_new("LOCK", b"1") == "17" == there.put_if("LOCK", b"2", "17")
        assert there.put_if("LOCK", b"3", "16") is None
        server.shutdown()
        assert server.asked == ["0", "17", "16"]  # type: ignore[attr-defined]
