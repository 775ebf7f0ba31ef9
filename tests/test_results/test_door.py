"""The doors of sweep, tables and gates: an encoding or a reader that goes away never ends their work."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import sweep
from harness.checks.__main__ import main as checks
from results import explain, figures, leaderboard, ledger, merge, verify
from results.door import Main, Steady, steady_streams
from results.report.__main__ import main as report

ROOT = Path(__file__).parents[2]
GRID = """
name: café 漢
methods: [{name: Flät, use: 'toy_world:Flat', with: {position: [0, 1]}}]
benchmarks: [{name: Böxes, use: 'toy_world:Boxes', with: {images: 3}}]
keep: {label_maps: 2}
tables: [{name: all, rows: position}]
"""
DOORS: dict[str, tuple[Main, list[str]]] = {
    "sweep": (sweep.main, ["grid.yaml", "--local", "--no-report"]),
    "plan": (sweep.main, ["grid.yaml", "--plan", "--json"]),
    "leaderboard": (leaderboard.main, ["runs"]),
    "ledger": (ledger.main, ["runs"]),
    "verify": (verify.main, ["runs"]),
    "merge": (merge.main, ["runs", "--into", "merged"]),
    "explain": (explain.main, ["all", "1", "Böxes"]),
    "figures": (figures.main, ["runs"]),
    "report": (report, ["runs"]),
    "checks": (checks, ["benchmark", "toy_world:Boxes", "--with", "images=3"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, before = tmp_path_factory.mktemp("doors"), Path.cwd()
    os.chdir(folder)
    Path("grid.yaml").write_text(GRID, encoding="utf-8")
    assert sweep.main(["grid.yaml", "--local", "--no-report"]) == 0
    os.chdir(before)
    yield folder


def ascii_only() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def nobody_reads() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="utf-8")


def full_disk() -> io.TextIOWrapper:
    return open("/dev/full", "w", encoding="utf-8")


@pytest.mark.parametrize("stream", [ascii_only, nobody_reads, full_disk])
@pytest.mark.parametrize("name", DOORS)
def test_no_output_ends_a_door(
    name: str, stream: Callable[[], io.TextIOWrapper], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, arguments = DOORS[name]
    monkeypatch.chdir(place)
    with stream() as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(arguments) == 0
        assert sys.stdout is out
        out.flush()
        if stream is ascii_only:
            said = out.buffer.getvalue()  # type: ignore[attr-defined]
            assert said.isascii() and len(said) > 20


def test_a_lost_output_is_said_once_unless_its_reader_went_away(capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk() as out:
        lost = Steady(out)
        for _ in range(3):
            lost.write("x" * 10_000)
            lost.flush()
    said = capsys.readouterr().err
    assert said == "The output cannot be written ([Errno 28] No space left on device); the work goes on without it.\n"
    with nobody_reads() as out:
        lost = Steady(out)
        lost.write("x" * 10_000)
        lost.flush()
    assert capsys.readouterr().err == ""


def test_a_process_without_any_output_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with steady_streams():
        print("nothing")
        assert sys.stdout is None


def test_letters_that_an_encoding_lacks_are_spelled_out() -> None:
    out = ascii_only()
    print("café 漢", file=Steady(out))
    out.flush()
    assert out.buffer.getvalue() == b"caf\\xe9 \\u6f22\n"  # type: ignore[attr-defined]


def test_as_a_person_types_it(place: Path) -> None:
    """The bytes between processes: one line is read, the encoding is foreign, and nothing is said about either."""
    command = f"{sys.executable} -m results.leaderboard runs | head -1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, cwd=place, env=environment, capture_output=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == (b"caf\\xe9 \\u6f22  vocabulary=present background=ignored\n0\n", b"")
