"""What a sweep says of the table that it replaces, and what it prints at its start, in few columns, or not at all."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_process import door
from rich.console import Console

from harness import sweep
from harness.contracts import Row, Rows
from harness.progress import Progress
from results.tables.changes import changes, read_before

GRID = """
name: {name}
methods:
  - {{name: Toy, use: "toy_world:ToyReader", with: {{timestep: {step}}}}}
{more}
benchmarks:
  - {{name: A benchmark with a name of many words, use: "toy_world:Boxes", with: {{images: 3}}}}
batch: 2
"""
SECOND = '  - {name: Second, use: "toy_world:ToyReader", with: {timestep: 50}}'


def grid(folder: Path, name: str = "one", step: int = 1, more: str = "") -> None:
    (folder / "grid.yaml").write_text(GRID.format(name=name, step=step, more=more))


def said(folder: Path, *more: str) -> str:
    answer = door("grid.yaml", *more, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return str(answer.stdout)


def test_what_changed_since_the_last_table_is_told(tmp_path: Path) -> None:
    grid(tmp_path, more=SECOND)
    assert "the table of before" not in said(tmp_path)
    assert "No number changed since the table of before." in said(tmp_path)
    grid(tmp_path, step=300, more=SECOND.replace("Second", "Third"))
    told = said(tmp_path)
    assert re.search(r"Toy on A benchmark with a name of many words: [\d.]+ -> [\d.]+ \(another run: its", told)
    assert "new: Third on A bench" in told and "no longer in the table: Second on A bench" in told
    grid(tmp_path, name="two")
    assert "the table of before" not in said(tmp_path)  # another grid


def test_a_score_that_moves_says_why(tmp_path: Path) -> None:
    lines = "method,variant,benchmark,protocol,miou,images,run_id\nM,a=1,B,p,50.0000,3,r1\nN,,B,p,,3,r2\n"
    (tmp_path / "leaderboard.csv").write_text(lines)

    def entry(method: str, variant: str, miou: float | None, images: int, run_id: str) -> Any:
        held = {"method": method, "variant": variant, "benchmark": "B", "protocol": "p"}
        return SimpleNamespace(**held, miou=miou, images=images, run_id=run_id)

    board: Any = SimpleNamespace(entries=[entry("M", "a=1", 0.6, 4, "r1"), entry("N", "", 0.25, 3, "r2")])
    before = read_before(tmp_path / "leaderboard.csv")
    assert changes(before, board) == [
        "Since the table of before:",
        "  M a=1 on B: 50.0000 -> 60.0000 (4 images in place of 3)",
        "  N on B: - -> 25.0000 (its rows are other ones)",
    ]
    for broken in (b"", b"\xff\xfe", b"a,b\n1,2\n"):
        (tmp_path / "leaderboard.csv").write_bytes(broken)
        assert changes(read_before(tmp_path / "leaderboard.csv"), board) == []


@pytest.mark.parametrize("columns", ["80", "40"])
def test_nothing_is_cut_where_there_are_few_columns(
    tmp_path: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path, more=SECOND)
    monkeypatch.setenv("COLUMNS", columns)
    for told in (said(tmp_path, "--plan"), said(tmp_path)):
        assert "…" not in told and "Second" in told
        assert "Abenchmarkwithanameofmanywords" in re.sub(r"\s", "", told)


def test_no_colour_is_heeded_and_quiet_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path)
    assert said(tmp_path, "--quiet") == "" and (tmp_path / "runs" / "leaderboard.csv").exists()
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = re.compile(r"\x1b\[[\d;]*3[0-7]")
    assert coloured.search(said(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(said(tmp_path))
    with pytest.raises(SystemExit):
        sweep.main(["grid.yaml", "--plan", "--quiet"])
    assert "--plan is there to be read" in capsys.readouterr().err


def test_the_start_is_told_until_the_first_batch_and_time_left_comes_first() -> None:
    time, text = iter((0.0, 0.0, 100.0, 100.0, 110.0, 110.0, 110.0, 110.0)), io.StringIO()
    plan: Any = SimpleNamespace(images_missing=100, runs=[])
    batch: Any = SimpleNamespace(rows=Rows.of([Row("r", str(number), "ok", 0.0) for number in range(10)]))
    progress = Progress(plan, lambda _: None, Console(file=text, width=60), lambda: next(time))
    progress.note({"event": "workers", "at_most": 2, "threads": 4, "gpus": 0})
    progress.note({"event": "worker_ready", "worker": 1, "host": "here"})
    progress._loaded = (100.0, 10)
    progress.note({"event": "worker_ready", "worker": 2, "host": "there"})
    assert text.getvalue().splitlines() == [
        "starting up to 2 workers with 4 threads each", "worker 1 on here is there and opens its networks",
    ]  # fmt: skip
    progress._done, progress._now = 30, lambda: 110.0
    progress.update(batch)
    assert text.getvalue().splitlines()[-1] == "0:00:20 left; 40 of 100 image results (40 %), 3.0 a second, 0 failed"
