"""A worker's images and truths are those of the machine where the sweep was planned, or it does nothing with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import in_process
import pytest

from harness import stages, sweep
from harness.contracts import BatchDone, Recipe, Shard
from harness.executors.seam import LocalExecutor
from results.folder.store import Store

GRID = """
name: seen
methods: [{name: Flat, use: toy_world:Flat}]
benchmarks: [{name: Shades, use: shades:Shades, with: {root: data}}]
batch: 3
"""
SHADES = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.contracts import Sample


@dataclass(frozen=True)
class Shades:
    root: str
    classes = ("left", "right")

    def ids(self):
        return sorted(path.stem for path in Path(self.root).glob("*.txt"))

    def load(self, image_id):
        shade = int((Path(self.root) / f"{image_id}.txt").read_text())
        truth = np.ones((4, 6), np.uint8)
        truth[:, 3:] = 2
        return Sample(image_id, np.full((4, 6, 3), shade, np.uint8), truth)
'''


def prepared(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for number in range(10):
        (folder / "data" / f"i{number}.txt").write_text(str(number))
    (folder / "grid.yaml").write_text(GRID)
    (folder / "shades.py").write_text(SHADES)
    return folder


def elsewhere(folder: Path, images: Sequence[str], patch: pytest.MonkeyPatch) -> list[Shard]:
    """Workers are on a machine of their own from now on, where some images are other ones; the shards that they got."""
    got: list[Shard] = []

    class Elsewhere(LocalExecutor):
        def run(self, shards: Sequence[Shard]) -> Iterator[BatchDone]:
            got.extend(shards)
            for image in images:
                (folder / "data" / f"{image}.txt").write_text("99")
            return super().run(shards)

    def executor(_options: Any, grid: Any, _tell: Any) -> Elsewhere:
        return Elsewhere(Recipe.of("harness.work.worker:ShardWorker", folder=grid.folder))

    patch.setattr(sweep, "_executor", executor)
    return got


def test_other_pictures_under_the_same_names_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = elsewhere(prepared(tmp_path), ["i9"], monkeypatch)
    answer = in_process.door("grid.yaml", "--address", "far", cwd=tmp_path)
    assert answer.returncode == 3, answer
    assert {tuple(image for image, _ in shard.seen) for shard in got} == {("i0", "i3", "i6", "i9")}
    rows = Store.open(tmp_path / "runs").rows()
    (error,) = rows["error"].unique().to_list()
    assert rows.height == 10 and error.startswith(
        "Not tried: shades:Shades has other data here than where the sweep was planned: of 4 images looked at, 1 "
        "differ, 'i9' for one (read with "
    )
    assert "What needs it is not tried." in answer.stdout


def test_the_same_pictures_are_scored_as_ever_and_nothing_is_read_again_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = prepared(tmp_path / "there"), prepared(tmp_path / "here")
    elsewhere(there, [], monkeypatch)
    assert in_process.door("grid.yaml", "--address", "far", cwd=there).returncode == 0
    again = in_process.door("grid.yaml", "--address", "far", cwd=there)
    assert again.returncode == 0 and "read again" not in again.stderr
    monkeypatch.undo()
    assert in_process.door("grid.yaml", cwd=here).returncode == 0
    tables = [(folder / "runs" / "leaderboard.csv").read_bytes() for folder in (there, here)]
    assert tables[0] == tables[1]


def test_an_image_that_a_worker_lacks_is_a_matter_of_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(prepared(tmp_path), [], monkeypatch)
    look = stages.Desk._with_seen

    def gone(desk: stages.Desk, shards: list[Shard]) -> list[Shard]:
        seen = look(desk, shards)
        (tmp_path / "data" / "i3.txt").unlink()
        return seen

    monkeypatch.setattr(stages.Desk, "_with_seen", gone)
    assert in_process.door("grid.yaml", "--address", "far", cwd=tmp_path).returncode == 3
    stored = Store.open(tmp_path / "runs").stored()
    assert [image for own in stored.values() for image, status in own.items() if status == "failed"] == ["i3"]
