"""Images and truths that change below a results folder: what is found out, read again, computed again, and told."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import polars as pl
import pytest
import toy_folder
from in_process import door
from toy_folder import LOADED

from harness import stages
from harness.contracts import Mark, Origin, Recipe
from harness.planning.data_now import DataNow
from harness.recipes.origins import DataSource
from results import merge
from results.folder import origins, parts
from results.folder.store import Store
from results.folder.writer import Writer

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
KINDS = ("Folder", "Named", "Archive", "Sharded", "Listed")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    LOADED.clear()
    yield


def made(folder: Path, kind: str = "Folder", seed: int = 0) -> Path:
    """A grid, and data of a seed beside it."""
    root = toy_folder.write(folder / "data", seed=seed)
    pack(root, seed)
    (root / "list.json").write_text(json.dumps({f"{number:03d}": False for number in range(5)}))
    (folder / "grid.yaml").write_text(GRID.replace("KIND", kind).replace("ROOT", str(root)))
    return root


def pack(root: Path, seed: int) -> None:
    toy_folder.pack(root, seed=seed)
    for shard in range(3):
        toy_folder.pack(root, (2 * shard, 2 * shard + 1), seed, f"masks{shard}.zip")


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
    pack(root, seed=7)
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


@pytest.mark.parametrize("kind", ["Folder", "Named", "Archive"])
def test_masks_of_the_size_and_time_of_before_are_found_out(tmp_path: Path, kind: str) -> None:
    """As `cp -p` and `touch -r` leave them."""
    root = made(tmp_path, kind)
    swept(tmp_path)
    before = scores(tmp_path)
    files = [path for path in sorted(root.rglob("*")) if path.suffix in (".npy", ".zip")]
    were = {path: path.stat() for path in files}
    toy_folder.write(root, seed=7)
    pack(root, seed=7)
    for path, was in were.items():
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path) != before
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


def test_what_is_remembered_without_inodes_is_read_once(tmp_path: Path) -> None:
    made(tmp_path)
    swept(tmp_path)
    (index,) = (tmp_path / "runs" / "origins").iterdir()
    lines = [json.loads(line) for line in index.read_text().splitlines() if line]
    of_before = [[image, sample, [mark[:3] for mark in marks], readers] for image, sample, marks, readers, _ in lines]
    index.write_text("\n".join(map(json.dumps, of_before)))
    assert "0 image results to do" in swept(tmp_path) and set(LOADED) == {f"{n:03d}" for n in range(5)}
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


def test_a_copy_of_the_data_on_another_machine_is_not_news(tmp_path: Path) -> None:
    here = Mark("/data/0.png", 7, 1, 2, 3)
    data = DataNow(DataSource(Recipe.of("toy_folder:Folder", root=str(tmp_path))), 3, "key", {}, print)
    assert data.news([Origin("0", "d", (here,))])
    assert not data.news([Origin("0", "d", (here._replace(touched=8, inode=9),))])
    assert data.known["0"].files == (here,)
    assert data.news([Origin("0", "other", (here._replace(touched=8, inode=9),))])
    data.known["0"] = Origin("0", "d", (Mark(*here[:3]),))  # of before there were inodes
    assert data.news([Origin("0", "d", (here,))])


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_were_touched_are_read_once_and_nothing_is_computed(tmp_path: Path, kind: str) -> None:
    root = made(tmp_path, kind)
    swept(tmp_path)
    for path in sorted(root.rglob("*.*")):
        os.utime(path, ns=(1, 1))
    assert "0 image results to do" in swept(tmp_path) and set(LOADED) == {f"{n:03d}" for n in range(5)}
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


@pytest.mark.parametrize("kind", ["Archive", "Sharded"])
def test_an_archive_that_is_kept_open_is_behind_every_image_in_it(tmp_path: Path, kind: str) -> None:
    root = made(tmp_path, kind)
    swept(tmp_path)
    pack(root, seed=7)
    assert "10 image results to do" in swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)


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


def test_two_readings_that_differ_are_called_that_whatever_else_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "Moody")
    whole = (tmp_path / "grid.yaml").read_text()
    (tmp_path / "grid.yaml").write_text(whole.replace("[0, 1]", "[0]"))
    swept(tmp_path)
    (tmp_path / "grid.yaml").write_text(whole)
    monkeypatch.setattr("harness.recipes.origins.readers", lambda: f"numpy {np.__version__}, opencv 4.0")
    said = swept(tmp_path, code=3)
    assert "5 images were not the same for all of 2 runs" in said
    assert "two readings of one image differ, and no file is known to have changed" in said and "decoded" not in said


def without_digests(folder: Path) -> None:
    """As a sweep of a former version left its rows."""
    for part in list((folder / "rows").glob("*.parquet")):
        frame = pl.read_parquet(part).drop("sample")
        part.unlink()
        parts.write_part(folder / "rows", frame)


def test_rows_of_former_versions_are_shown_as_unverified_and_are_not_computed_again(tmp_path: Path) -> None:
    root = made(tmp_path)
    swept(tmp_path)
    before = scores(tmp_path)
    without_digests(tmp_path / "runs")
    toy_folder.write(root, seed=7)
    assert "0 image results to do" in swept(tmp_path) and LOADED == [] and scores(tmp_path) == before
    lines = csv.DictReader((tmp_path / "runs" / "leaderboard.csv").open())
    assert [line["unverified"] for line in lines] == ["5", "5"]


def test_rows_whose_files_nobody_remembers_are_verified_by_one_reading(tmp_path: Path) -> None:
    made(tmp_path)
    swept(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "origins")
    assert "0 image results to do" in swept(tmp_path) and set(LOADED) == {f"{n:03d}" for n in range(5)}
    (index,) = (tmp_path / "runs" / "origins").iterdir()
    index.write_bytes(index.read_bytes()[:-9])  # a crash cut a line short
    assert "0 image results to do" in swept(tmp_path) and set(LOADED) == {"004"}
    assert "0 image results to do" in swept(tmp_path) and LOADED == []


def test_equal_files_that_other_libraries_decode_differently_are_told_with_their_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path)
    whole = (tmp_path / "grid.yaml").read_text()
    (tmp_path / "grid.yaml").write_text(whole.replace("[0, 1]", "[0]"))
    swept(tmp_path)
    truth, version = toy_folder.Folder.truth, PIL.__version__
    monkeypatch.setattr(toy_folder.Folder, "truth", lambda self, image_id: truth(self, image_id)[:, ::-1])
    monkeypatch.setattr(PIL, "__version__", "99.0")
    (tmp_path / "grid.yaml").write_text(whole)
    told = swept(tmp_path, code=3)
    assert "5 images were not the same for all of 2 runs (000, 001, 002, 003, 004)" in told
    assert f"the same files were decoded by pillow {version} and by pillow 99.0" in told
    lines = list(csv.DictReader((tmp_path / "runs" / "leaderboard.csv").open()))
    assert [line["rank"] for line in lines] == ["", ""]
    assert "5 image results to do" in swept(tmp_path), "the former run, with today's libraries"
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)


def merged(folder: Path, *names: str) -> int:
    return merge.main([*(str(folder / name) for name in names), "--into", str(folder / "all")])


def test_a_merge_accepts_unverified_rows_and_the_verified_ones_stand(tmp_path: Path) -> None:
    made(tmp_path)
    for name in ("old", "new"):
        swept(tmp_path, "--results", name)
    without_digests(tmp_path / "old")
    assert merged(tmp_path, "old", "new") == 0
    rows = Store.open(tmp_path / "all").rows()
    assert rows.height == 10 and rows["sample"].null_count() == 0
    assert "0 image results to do" in swept(tmp_path, "--results", "all") and LOADED == [], "origins came along"


def test_a_merge_tells_of_one_run_on_different_data_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made(tmp_path)
    swept(tmp_path, "--results", "one")
    toy_folder.write(root, images=1, seed=7)
    swept(tmp_path, "--results", "two")
    assert merged(tmp_path, "one", "two") == merge.NOT_REPRODUCED
    told = capsys.readouterr()
    assert "2 images of 2 runs rest on different data (files were changed)" in told.err
    assert {line.split("\t")[1] for line in told.out.splitlines()} == {"000"}
    assert not (tmp_path / "all" / "rows").exists()


def test_a_merge_of_other_runs_on_different_data_says_what_its_table_will_not_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made(tmp_path)
    whole = (tmp_path / "grid.yaml").read_text()
    for name, position, seed in (("one", "[0]", 0), ("two", "[1]", 7)):
        (tmp_path / "grid.yaml").write_text(whole.replace("[0, 1]", position))
        toy_folder.write(root, images=1, seed=seed)
        swept(tmp_path, "--results", name)
    assert merged(tmp_path, "one", "two") == 0
    assert "Toys: 1 images were not the same for all of 2 runs (000): files were changed" in capsys.readouterr().err
    (tmp_path / "grid.yaml").write_text(whole)
    assert "1 image result to do" in swept(tmp_path, "--results", "all")
    assert scores(tmp_path, "all") == of_a_fresh_folder(tmp_path)


LEARNED = """
name: learned
methods:
  - {name: Bright, use: toy_learners:Brightest}
  - {name: Plus, use: toy_learners:Colours, with: {teacher: Bright}}
benchmarks:
  - name: Toys
    use: toy_folder:Named
    with: {root: VAL}
    train: {root: TRAIN}
batch: 2
"""


def test_what_was_learned_from_images_that_changed_is_learned_and_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the sweep that sets it aside is interrupted as soon as the rows are gone."""
    root, train = toy_folder.write(tmp_path / "val"), toy_folder.write(tmp_path / "train", images=3, first=100)
    (tmp_path / "grid.yaml").write_text(LEARNED.replace("VAL", str(root)).replace("TRAIN", str(train)))
    swept(tmp_path)
    plan = swept(tmp_path, "--plan")
    assert "0 image results to do" in plan and "1 fit, 1 of them stored" in plan and LOADED == []
    other = toy_folder.write(tmp_path / "other", images=1, first=200)
    shutil.copyfile(other / "images" / "200.png", train / "images" / "101.png")
    plan = json.loads(door("grid.yaml", "--plan", "--json", cwd=tmp_path).stdout)
    assert [(step["step"], step["missing"], step["why"]) for step in plan["steps"]] == [
        ("label", 1, "1 image changed since"), ("fit", 1, "taught by images that changed since"),
        ("score", 0, "stored"), ("score", 5, "taught by images that changed since"),
    ]  # fmt: skip
    set_aside = Writer.set_aside

    def interrupted(self: Writer, changed: Mapping[str, Mapping[str, str]]) -> None:
        set_aside(self, changed)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "set_aside", interrupted)
        swept(tmp_path, code=130)
    swept(tmp_path)
    assert "1 of them stored" in swept(tmp_path, "--plan")
    (card,) = (tmp_path / "runs" / "artefacts").glob("*/card.json")
    swept(tmp_path, "--results", "fresh")
    (fresh,) = (tmp_path / "fresh" / "artefacts").glob("*/card.json")
    told, anew = json.loads(card.read_text()), json.loads(fresh.read_text())
    assert told["samples"] == anew["samples"] and told["learner_tells"] == anew["learner_tells"]


def test_a_row_is_set_aside_and_kept(tmp_path: Path) -> None:
    root = made(tmp_path)
    swept(tmp_path)
    before = Store.open(tmp_path / "runs").rows()
    toy_folder.write(root, images=2, seed=7)
    swept(tmp_path)
    kept = pl.concat(pl.read_parquet(part) for part in (tmp_path / "runs" / "outdated").glob("*.parquet"))
    assert kept.sort("run_id", "image_id").equals(before.filter(pl.col("image_id") < "002"))
    known = list(origins.said(tmp_path / "runs"))
    assert len(known) == 7, "five, and two of them again"


def test_a_benchmark_whose_files_cannot_be_told_any_more_leaves_failed_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "Named")
    swept(tmp_path)
    monkeypatch.setattr(toy_folder.Named, "files", lambda self, image_id: {}[image_id])
    assert "2 x KeyError: '000'" in swept(tmp_path, code=3)


def test_data_that_change_while_a_sweep_goes_on_are_told_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, kept, changes = made(tmp_path), stages.Desk._remember, [1]

    def remember(*given: Any) -> None:
        kept(*given)
        if changes:
            toy_folder.write(root, seed=changes.pop())

    monkeypatch.setattr(stages.Desk, "_remember", remember)
    said = re.search(r"(\d) images of Toys changed while this ran: rows rest on", swept(tmp_path, code=3))
    assert said is not None and 1 < int(said[1]) <= 5
    assert "; 0 image results to do" not in swept(tmp_path)
    assert scores(tmp_path) == of_a_fresh_folder(tmp_path)
