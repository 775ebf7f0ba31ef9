"""What a worker opens: each thing once, before any image is read; what cannot be had fails its runs, and is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toy_world
from in_process import as_it_was, door
from toy_cells import FLAT, Cell, reader

from harness.contracts import BatchDone, ProtocolSettings, Recipe, Row
from harness.planning import plan as plans
from harness.planning.plan import Plan
from harness.recipes import house
from harness.work.worker import ShardWorker

LOCKED = "The model 'locked' is not here: give a folder."
REASON = f"Not tried: {LOCKED}"


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    toy_world.COUNTS.clear()
    yield


def locked(timestep: int) -> Cell:
    return Cell(Recipe.of("toy_world:LockedReader", timestep=timestep), f"locked {timestep}")


def work(cells: list[Cell], size: int = 1) -> list[BatchDone]:
    """What one worker does of these cells, in shards of `size` batches of 4."""
    worker = ShardWorker()
    return [done for shard in plans.make("toy", cells, 4).shards(size) for done in worker.run(shard)]


def test_a_model_that_cannot_be_had_is_opened_once_and_fails_its_runs_alone() -> None:
    done = work([locked(1), reader(1), locked(2), FLAT])
    rows = [row for one in done for row in one.rows]
    failed = [row for row in rows if row.status == "failed"]
    assert len(rows) == 40 and len(failed) == 20
    assert {row.error for row in failed} == {REASON}
    assert toy_world.COUNTS["openings"] == 1
    assert [notice for one in done for notice in one.notices] == [f"{LOCKED} What needs it is not tried."]


def test_no_image_is_read_for_runs_that_cannot_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: toy_world.Boxes, image_id: str) -> None:
        raise AssertionError(f"{image_id} is read")

    monkeypatch.setattr(toy_world.Boxes, "load", load)
    rows = [row for one in work([locked(1)]) for row in one.rows]
    assert len(rows) == 10 and {row.error for row in rows} == {REASON}


def test_what_is_to_be_said_of_a_model_is_said_once_a_worker() -> None:
    done = work([Cell(Recipe.of("toy_world:Remarkable"))])
    assert {row.status for one in done for row in one.rows} == {"ok"}
    assert [one.notices for one in done] == [("The model 'remarkable' is read with numbers of our own.",), (), ()]
    assert toy_world.COUNTS["openings"] == 1


def test_a_method_that_cannot_be_built_here_fails_its_own_runs() -> None:
    rows = [row for one in work([Cell(Recipe.of("toy_world:Unbuilt")), FLAT]) for row in one.rows]
    failed = [row for row in rows if row.status == "failed"]
    assert len(failed) == 10 and len(rows) == 20 and toy_world.COUNTS["buildings"] == 2, "planned, then tried once"
    (error,) = {row.error or "" for row in failed}
    assert error.startswith("Not tried: toy_world:Unbuilt: it cannot be built: RuntimeError: no licence (toy_world.py")


def test_a_tagger_that_cannot_be_had_fails_what_needs_it() -> None:
    rules = ProtocolSettings(vocabulary="predicted", tagger=Recipe.of("toy_world:LockedBackbone"))
    rows = [row for one in work([Cell(FLAT.method, protocol=rules)]) for row in one.rows]
    assert {row.error for row in rows} == {REASON} and len(rows) == 10


def test_the_sweep_says_it_at_once_and_the_verdict_once(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        """
name: toy
methods:
  - {name: Locked, use: "toy_world:LockedReader", with: {timestep: [1, 2, 3]}}
  - {name: Flat, use: "toy_world:Flat"}
benchmarks: [{name: Boxes, use: "toy_world:Boxes", with: {images: 10}}]
batch: 4
"""
    )
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 3
    assert answer.stdout.count(LOCKED) == 1, answer.stdout
    assert answer.stdout.index(LOCKED) < answer.stdout.index("mIoU"), "before the table"
    assert answer.stderr.splitlines() == [
        "30 image results failed or are missing; the same command tries them again.", f"  30 x {REASON}"
    ]  # fmt: skip
    told = [json.loads(line) for line in (tmp_path / "runs" / "events.jsonl").read_text().splitlines()]
    assert [event["text"] for event in told if event["event"] == "notice"] == [f"{LOCKED} What needs it is not tried."]
    again = door("grid.yaml", cwd=tmp_path)
    assert again.returncode == 3 and "30 image results to do" in again.stdout


WEIGHTED = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np

ANSWER = 0

@dataclass(frozen=True)
class Weighted:
    checkpoint: Path = Path("w.npy")

    def segment(self, image, vocabulary):
        return np.full(image.shape[:2], int(np.load(self.checkpoint)) + ANSWER)
"""


@pytest.fixture
def weighted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a method in a plain file of a name of its own, and its weights."""
    module = tmp_path / f"weighted_{tmp_path.name.replace('-', '_')}.py"
    module.write_text(WEIGHTED)
    np.save(tmp_path / "w.npy", 0)
    monkeypatch.syspath_prepend(str(tmp_path))
    return module


def planned(module: Path, *others: Cell) -> Plan:
    cell = Cell(Recipe.of(f"{module.stem}:Weighted", checkpoint=str(module.parent / "w.npy")), "weighted")
    return plans.make("toy", [cell, *others], 10, folder=str(module.parent))


def errors(plan: Plan, rows: list[Row]) -> dict[str, set[str | None]]:
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    return {name: {row.error for row in rows if names[row.run_id] == name} for name in names.values()}


def test_weights_that_were_replaced_since_the_plan_are_refused_and_others_go_on(weighted: Path) -> None:
    plan = planned(weighted, FLAT)
    np.save(weighted.parent / "w.npy", 1)
    worker = ShardWorker(folder=str(weighted.parent))
    found = errors(plan, [row for shard in plan.shards() for done in worker.run(shard) for row in done.rows])
    (why,) = found["weighted"]
    assert why is not None and found["flat"] == {None}
    assert why.startswith(
        f"Not tried: {weighted.stem}:Weighted is not what was planned: files that it reads differ here"
    )


def test_a_worker_whose_code_is_other_than_the_plans_is_refused(weighted: Path) -> None:
    """The worker reads the file anew, as in another process."""
    with as_it_was(weighted.parent):
        plan = planned(weighted)
    weighted.write_text(WEIGHTED.replace("ANSWER = 0", "ANSWER = 1"))
    with as_it_was(weighted.parent):
        worker = ShardWorker(folder=str(weighted.parent))
        rows = [row for shard in plan.shards() for done in worker.run(shard) for row in done.rows]
    (why,) = errors(plan, rows)["weighted"]
    assert why is not None and "not what was planned: its own modules differ here" in why


def test_a_worker_with_another_harness_or_another_benchmark_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plans.make("toy", [FLAT], 10)
    monkeypatch.setattr(house, "deciding", lambda: {"harness.work.scoring": "edited-0"})
    done = [done for shard in plan.shards() for done in ShardWorker().run(shard)]
    assert {row.error.partition(" differ")[0] for one in done for row in one.rows if row.error} == {
        "Not tried: toy_world:Boxes is not what was planned: the modules of the harness"
    }


ANSWERS = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from toy_world import Boxes

@dataclass(frozen=True)
class Answers:
    named: Path = Path("named.npy")
    def segment(self, image, vocabulary):
        for path in (self.named, Path(__file__).with_name("beside.npy"), *Path(__file__).parent.glob("hid*")):
            np.load(path)
        return np.zeros(image.shape[:2], np.int16)

class Vouches(Answers):
    def fingerprint(self):
        return "v1"

class Pictures(Boxes):
    def files(self, image_id):
        return [Path(__file__).with_name("hid" + "den.npy")]
    def load(self, image_id):
        np.load(self.files(image_id)[0])
        return super().load(image_id)
"""


def test_what_a_method_opens_while_it_answers_and_no_id_holds_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answering.py").write_text(ANSWERS)
    for name in ("named", "beside", "hidden"):
        np.save(tmp_path / f"{name}.npy", np.zeros(1))
    monkeypatch.syspath_prepend(str(tmp_path))

    def told(use: str) -> list[str]:
        recipe = Recipe.of(f"answering:{use}", named=str(tmp_path / "named.npy"))
        return notices(Cell(recipe, "answers"))

    def notices(cell: Cell) -> list[str]:
        done = work([cell], size=1)
        assert {row.status for one in done for row in one.rows} == {"ok"} and len(done) == 3
        return [notice for one in done for notice in one.notices]

    cure = (
        ", and no id holds what is in there: rows that are stored stay although it changes. Name it by a setting "
        "annotated Path, or in `fingerprint()`."
    )
    assert told("Answers") == [f"answering:Answers opens {tmp_path / 'hidden.npy'}{cure}"]
    np.save(tmp_path / "hidden-2.npy", np.zeros(1))
    assert told("Answers") == [f"answering:Answers opens files below {tmp_path}{cure}"]
    assert told("Vouches") == []
    pictures = Recipe.of("answering:Pictures", images=10)
    assert notices(Cell(FLAT.method, benchmark=pictures)) == [], "rows keep a digest of what was read"
