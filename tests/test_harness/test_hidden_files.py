"""Data that change behind a benchmark whose files nobody sees it open: found out all the same, or said aloud."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_hidden
from in_process import door

from harness.recipes import origins

GRID = """
name: hidden
methods: [{name: Flat, use: "toy_world:Flat", with: {position: 1}}]
benchmarks: [{name: Toys, use: "toy_hidden:KIND", with: {root: "ROOT"}}]
protocol: {vocabulary: all}
batch: 2
"""
UNSEEN = "No file was seen behind the images of toy_hidden:"


def swept(folder: Path, *more: str, code: int = 0) -> str:
    """A sweep of a process that has read nothing yet; what it said."""
    toy_hidden.table.cache_clear()
    origins._kept.clear()
    answer = door("grid.yaml", *more, cwd=folder)
    assert answer.returncode == code, answer.stderr
    return str(answer.stdout + answer.stderr)


def made(folder: Path, kind: str) -> None:
    toy_hidden.write(folder / "data", seed=0)
    root = folder / "data" / ("t.parquet" if kind == "InOneFile" else "")
    (folder / "grid.yaml").write_text(GRID.replace("KIND", kind).replace("ROOT", str(root)))


@pytest.mark.parametrize("kind", ["Listing", "Database", "InOneFile", "Printed"])
def test_changed_data_give_the_numbers_of_a_fresh_folder(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind)
    assert UNSEEN not in swept(tmp_path)
    before = (tmp_path / "runs" / "leaderboard.csv").read_bytes()
    assert "; 0 image results to do" in swept(tmp_path)
    toy_hidden.write(tmp_path / "data", seed=7)
    assert "; 4 image results to do" in swept(tmp_path)
    swept(tmp_path, "--results", "fresh")
    table, fresh = ((tmp_path / runs / "leaderboard.csv").read_bytes() for runs in ("runs", "fresh"))
    assert table == fresh != before


def test_files_that_nobody_can_see_are_told_by_sweep_and_plan(tmp_path: Path) -> None:
    made(tmp_path, "Child")
    assert f"{UNSEEN}Child, which is given {tmp_path / 'data'}" in " ".join(swept(tmp_path).split())
    assert UNSEEN in " ".join(swept(tmp_path, "--plan").split())


def test_one_text_in_place_of_a_list_of_files_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "OneText")
    assert "it must give a list of paths" in swept(tmp_path, code=3)
