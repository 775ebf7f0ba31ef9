"""Images and truths that change below a results folder: what is found out, read again, computed again, and told."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_folder
from in_process import door
from toy_folder import LOADED

GRID = """
name: data
methods:
  - name: Flat
    use: toy_world:Flat
    with: {position: [0, 1]}
benchmarks:
  - name: Toys
    use: toy_folder:KIND
    with: {root: ROOT}
protocol: {vocabulary: all}
batch: 2
"""
KINDS = ("Folder", "Named", "Archive", "Listed")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    LOADED.clear()
    yield


def made(folder: Path, kind: str = "Folder", seed: int = 0) -> Path:
    """A grid, and data of a seed beside it."""
    root = toy_folder.write(folder / "data", seed=seed)
    toy_folder.pack(root, seed=seed)
    (root / "list.json").write_text(json.dumps({f"{number:03d}": False for number in range(5)}))
    (folder / "grid.yaml").write_text(GRID.replace("KIND", kind).replace("ROOT", str(root)))
    return root


def scores(folder: Path, runs: str = "runs") -> dict[str, str]:
    with (folder / runs / "leaderboard.csv").open(newline="") as file:
        return {line["variant"]: line["miou"] for line in csv.DictReader(file)}


def swept(folder: Path, *more: str, code: int = 0) -> str:
    """Run the sweep; what it said. Which images it read is in LOADED."""
    LOADED.clear()
    answer = door("grid.yaml", *more, cwd=folder)
    assert answer.returncode == code, answer.stderr
    return answer.stdout + answer.stderr


def of_a_fresh_folder(folder: Path) -> dict[str, str]:
    swept(folder, "--results", "fresh")
    found = scores(folder, "fresh")
    shutil.rmtree(folder / "fresh")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_overwritten_masks_give_the_numbers_of_a_fresh_folder(tmp_path: Path, kind: str) -> None:
    root = made(tmp_path, kind)
    swept(tmp_path)
    before = scores(tmp_path)
    assert "0 image results to do" in swept(tmp_path) and LOADED == []
    toy_folder.write(root, seed=7)
    toy_folder.pack(root, seed=7)
    assert "10 stored image results rest on data that changed since" in (plan := swept(tmp_path, "--plan"))
    assert plan.count("5 images changed since") == 2
    assert scores(tmp_path) == before, "a plan changes nothing"
    swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path) != before
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


def test_of_one_changed_mask_one_image_is_read_and_computed_again(tmp_path: Path) -> None:
    root = made(tmp_path)
    swept(tmp_path)
    shutil.copyfile(root / "masks" / "004.npy", root / "masks" / "002.npy")
    assert "2 image results to do" in swept(tmp_path)
    assert set(LOADED) == {"002"}
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_were_touched_are_read_once_and_nothing_is_computed(tmp_path: Path, kind: str) -> None:
    root = made(tmp_path, kind)
    swept(tmp_path)
    for path in sorted(root.rglob("*.*")):
        os.utime(path, ns=(1, 1))
    assert "0 image results to do" in swept(tmp_path) and set(LOADED) == {f"{n:03d}" for n in range(5)}
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


def test_a_list_that_was_read_with_the_ids_is_behind_every_image(tmp_path: Path) -> None:
    root = made(tmp_path, "Listed")
    swept(tmp_path)
    (root / "list.json").write_text(json.dumps({f"{number:03d}": number == 3 for number in range(5)}))
    assert "2 image results to do" in swept(tmp_path), "of the one that is upside down now"
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)


def test_an_image_that_cannot_be_read_any_more_is_a_failed_row_as_in_a_fresh_folder(tmp_path: Path) -> None:
    root = made(tmp_path)
    swept(tmp_path)
    (root / "masks" / "001.npy").write_bytes(b"no array")
    assert "2 image results failed" in swept(tmp_path, code=3)
    toy_folder.write(root)
    swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)


def test_another_root_is_other_data_under_the_same_id(tmp_path: Path) -> None:
    made(tmp_path, "Named")
    swept(tmp_path)
    other = toy_folder.write(tmp_path / "other", seed=3)
    (tmp_path / "grid.yaml").write_text(GRID.replace("KIND", "Named").replace("ROOT", str(other)))
    assert "10 image results to do" in swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)
    shutil.copytree(other, tmp_path / "copy")
    (tmp_path / "grid.yaml").write_text(GRID.replace("KIND", "Named").replace("ROOT", str(tmp_path / "copy")))
    assert "0 image results to do" in swept(tmp_path) and len(LOADED) == 5, "equal data elsewhere"
