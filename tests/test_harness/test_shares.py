"""One grid over jobs that know nothing of each other: shares that are whole and disjoint, merged to the same bytes."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import forked
import in_process
import pytest
import toy_chain
import yaml
from toy_cells import FLAT, NINE
from toy_workers import shard_of
from virtual_pool import FakePool, images_of

from harness import sharding, sweep
from harness.errors import HarnessError
from harness.executors.scheduler import Scheduler
from harness.planning import plan as plans
from harness.planning.shares import Share, next_stage
from results import leaderboard, merge
from results.folder.store import Store

BOXES = """
name: boxes
methods:
  - {name: Bright, use: toy_learners:Brightest}
  - {name: Flat, use: toy_world:Flat, with: {position: [0, 1]}}
benchmarks:
  - {name: Boxes, use: toy_learners:SplitBoxes, with: {images: 11}}
  - {name: Few, use: toy_learners:SplitBoxes, with: {images: 2, split: train}}
batch: 3
"""

SHY = (
    toy_chain.CHAIN.split("methods:")[0]
    + """methods:
  - {name: Bright, use: toy_learners:Shy}
  - {name: Plus, use: toy_learners:Bold, with: {teacher: Bright, teacher_may_fail: 0.3}}
benchmarks:"""
    + toy_chain.CHAIN.split("benchmarks:")[1]
)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/3/5", "-1/3", "1/99999", "01/3", "٢/٣", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match="is no share; write I/N"):
        Share.of(text)


def missing(plan: plans.Plan) -> list[tuple[str, str]]:
    """Run and image of what is to be done."""
    return [(one.run.run_id, image) for one in plan.work for image in one.missing]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_disjoint_and_whole_whatever_each_job_has_stored(count: int, seed: int) -> None:
    dice, cells = random.Random(seed), [FLAT, *NINE]
    whole = plans.make("toy", cells, 2)
    done, asked = list[tuple[str, str]](), set[str]()
    for number in range(1, count + 1):
        share = Share(number, count)
        own = share.images(whole.runs[0].image_ids, 2)
        asked |= own
        stored = {one.run.run_id: {i: "ok" for i in sorted(own) if dice.random() < 0.4} for one in whole.runs}
        kept = [(run_id, image) for run_id, images in stored.items() for image in images]
        left = next_stage(plans.make("toy", cells, 2, stored), share)
        assert left.last and left.what == "scores"
        done += [*kept, *missing(left.plan)]
        assert {len(batch.slots) for shard in left.plan.shards() for batch in shard.batches} <= {2}
    assert asked == set(whole.runs[0].image_ids)
    assert sorted(done) == sorted(missing(whole)), f"seed {seed}"


def rows_of(folder: Path) -> list[Any]:
    frame = Store.open(folder, create=False).rows().sort("run_id", "image_id")
    return frame.drop("seconds").rows()


def merged(folder: Path) -> None:
    shards = sorted(str(path) for path in (folder / "runs" / "shards").iterdir())
    assert merge.main([*shards, "--into", str(folder / "runs")]) == 0


def test_what_comes_next_can_be_typed_whatever_folders_are_called() -> None:
    share = Share(1, 2)
    done = next_stage(plans.make("toy", [FLAT], 4), share)
    said = sharding.what_comes_next(done, share, Path("Tom's runs"), Path("my grid.yaml"))
    merging, sweeping = (shlex.split(line) for line in re.findall("`(.*?)`", said))
    assert merging[-4:] == ["merge", "Tom's runs/shards/*", "--into", "Tom's runs"]
    assert sweeping[-4:] == ["sweep", "my grid.yaml", "--results", "Tom's runs"]


def test_two_jobs_merged_are_one_job_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(BOXES)
    assert in_process.door("grid.yaml", "--results", "one", cwd=tmp_path).returncode == 0
    for number in (2, 1):
        answer = in_process.door("grid.yaml", "--shard", f"{number}/2", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        words = answer.stdout.replace("\n", " ")
        assert f"Shard {number} of 2 has done its share of this stage: scores." in words
        assert "-m harness merge runs/shards/* --into runs`" in words
        assert not (tmp_path / "runs" / "leaderboard.csv").exists()
    merged(tmp_path)
    assert leaderboard.main([str(tmp_path / "runs")]) == 0
    assert rows_of(tmp_path / "runs") == rows_of(tmp_path / "one")
    for name in ("leaderboard.csv", "matrix.csv"):
        assert (tmp_path / "runs" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    again = in_process.door("grid.yaml", "--shard", "1/5", cwd=tmp_path)  # whoever asks: all of it is there
    assert again.returncode == 0 and "Shard 1 of 5 has nothing to do in this stage: all is done." in again.stdout


def test_with_learners_every_job_does_one_stage_and_goes_on_after_the_merge(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "shared"
    for place in (whole, folder):
        place.mkdir()
        (place / "grid.yaml").write_text(
            "".join(toy_chain.CHAIN.splitlines(True)[:5] + toy_chain.CHAIN.splitlines(True)[7:])
        )
    assert toy_chain.door(whole) == 0
    said = list[str]()
    for _ in range(12):
        for number in (1, 2):
            assert toy_chain.door(folder, "--shard", f"{number}/2") == 0, (folder / "stderr").read_text()
            said.append((folder / "stdout").read_text().replace("\n", " "))
        merged(folder)
        if "for the tables" in said[-1]:
            break
    stages = [one.split("stage: ")[1].split(". When")[0] for one in said if "Shard 2 of 2" in one]
    assert stages[0] == "scores and label maps to learn from"
    assert stages[1] == "what Plus learns, which the first job does alone"
    assert stages[-1] == "scores" and len(stages) <= 8
    assert toy_chain.door(folder) == 0
    assert toy_chain.tables(folder) == toy_chain.tables(whole)
    assert not toy_chain.events(folder, "batch"), "the last sweep only made the tables"
    held = {name: card["artefact_id"] for name, card in toy_chain.cards(folder).items()}
    assert held == {name: card["artefact_id"] for name, card in toy_chain.cards(whole).items()}


@pytest.mark.parametrize("allowed", [0.3, 0.0])
def test_what_a_teacher_cannot_label_holds_up_no_fit_of_the_first_job(allowed: float, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "shared"
    for place in (whole, folder):
        place.mkdir()
        (place / "shy").write_text("002 005")  # 2 of 7
        (place / "grid.yaml").write_text(SHY.replace("0.3", f"{allowed}"))
    assert toy_chain.door(whole) == (0 if allowed else 3)
    told = ""
    for _ in range(5):
        for number in (1, 2):
            toy_chain.door(folder, "--shard", f"{number}/2")
            told += (folder / "stderr").read_text() + (folder / "stdout").read_text().replace("\n", " ")
        merged(folder)
        if "for the tables" in told or "Plus cannot be fitted" in told:
            break
    assert "what Plus learns, which the first job does alone" in told
    assert ("Plus cannot be fitted" in told) == (not allowed) and ("for the tables" in told) == bool(allowed)
    assert toy_chain.door(folder) == (0 if allowed else 3)
    assert toy_chain.tables(folder) == toy_chain.tables(whole)


@pytest.mark.parametrize("turn", range(12))
def test_workers_end_what_they_are_at_and_begin_nothing_more(
    turn: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, asked, begun = FakePool(seed, 3), list[bool](), list[int]()
    lease = pool.lease
    monkeypatch.setattr(pool, "lease", lambda *what: (begun.append(len(asked)), lease(*what)))
    scheduler = Scheduler(pool, clock=pool.clock, closing=lambda: bool(asked))
    shards = [shard_of(f"s{k}", ["r"], [[f"s{k}b{b}"] for b in range(8)]) for k in range(12)]
    done = []
    for one in scheduler.run(shards):
        done.append(one)
        asked.append(True)
    assert 1 <= len(done) <= 1 + 3 * 2 and set(begun) <= {0, 1}, begun
    at_work = [(one.shard, one.batches[one.produced : one.keep]) for one in pool.workers.values() if one.shard]
    assert not set().union(*(pool._atoms(shard.runs, left) for shard, left in at_work)) - pool.twice
    asked.clear()
    assert len(list(scheduler.run([shard_of("t", ["r"], images_of(4, 2))]))) == 4


def test_results_where_ray_unpacked_a_job_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(BOXES)
    answer = in_process.door("grid.yaml", cwd=folder)
    assert answer.returncode == 2 and "name a folder that stays" in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["grid.yaml"]


def test_the_job_on_the_page_speaks_our_command_line() -> None:
    page = (in_process.ROOT / "docs" / "cluster.md").read_text("utf-8")
    (job,) = [block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if "RayJob" in block]
    spec = yaml.safe_load(job)["spec"]
    program, _, words = spec["entrypoint"].partition("harness.sweep ")
    options = sweep.parser().parse_args(words.split())
    assert program == "python -u -m " and (options.address, options.grace) == ("auto", 30.0)
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod["terminationGracePeriodSeconds"] > options.grace


SLOW = """
import time
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Slow:
    def segment(self, image, vocabulary):
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.02)
        return np.zeros(image.shape[:2], np.int16)
"""


@pytest.mark.parametrize(("how", "more"), [(signal.SIGUSR1, []), (signal.SIGTERM, ["--grace", "60"])])
def test_a_batch_ends_before_the_sweep_does_where_there_is_time(
    tmp_path: Path, how: signal.Signals, more: list[str]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "grid.yaml").write_text(BOXES.replace("toy_learners:Brightest", "slow:Slow"))
    process = forked.start(tmp_path, sweep.main, ["grid.yaml", "--local", "--no-report", *more])
    try:
        while process.is_alive() and not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(process.pid or 0, how)
        time.sleep(0.2)
        assert process.is_alive(), "it does not wait for the batch"
        (tmp_path / "go").touch()
        process.join()
    finally:
        process.kill()
    assert process.exitcode == 130
    assert (tmp_path / "stderr").read_text().startswith("Ended with the batch at work, as asked; what is done is kept")
    stored = Store.open(tmp_path / "runs", create=False).stored()
    assert {len(images) for images in stored.values()} == {3}, "one batch, of every run"
    (end,) = [event for event in Store(tmp_path / "runs").events() if event["event"] == "end"]
    assert end["exit"] == 130
