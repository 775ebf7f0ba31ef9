"""`process: own`: a method keeps what it changes to itself, and its death costs an image; nobody else is touched."""

from __future__ import annotations

import multiprocessing
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from toy_cells import NINE
from toy_cells import Cell as Shared
from toy_workers import Mild, shard_of

from harness.contracts import ProtocolSettings, Recipe, Row
from harness.errors import GridError
from harness.executors import patience
from harness.executors.own_process import OwnProcess
from harness.executors.seam import LocalExecutor
from harness.grid.reading import Grid
from harness.planning import plan as plans
from harness.planning.plan import Plan
from harness.work.worker import ShardWorker

PLUGINS = str(Path(__file__).parents[1] / "plugins")
IMAGES = Recipe.of("toy_world:Boxes", images=2)


@dataclass(frozen=True)
class Cell:
    method: Recipe
    method_name: str
    own: bool = True
    variant: str = ""
    benchmark_name: str = "Boxes"
    benchmark: Recipe = IMAGES
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)


def reckless(ends_at: int = 0, own: bool = True) -> Cell:
    return Cell(Recipe.of("careless:Reckless", ends_at=ends_at), f"reckless {ends_at}", own)


DELICATE = Cell(Recipe.of("careless:Delicate"), "delicate", own=False)


def plan_of(*cells: Cell | Shared) -> Plan:
    return plans.make("toy", cells, 2)


def by_name(plan: Plan, rows: list[Row]) -> dict[str, list[Row]]:
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    return {name: [row for row in rows if names[row.run_id] == name] for name in names.values()}


def counts(rows: list[Row]) -> list[tuple[list[int], ...]]:
    return [(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist()) for row in rows]


def test_what_a_method_changes_in_its_own_process_is_there_again_for_it_and_not_for_us() -> None:
    plan, before = plan_of(reckless()), functional.interpolate
    rows = [row for shard in plan.shards() for done in ShardWorker(threads=1, own=True).run(shard) for row in done.rows]
    assert [(row.status, row.error) for row in rows] == [("ok", None)] * 2
    assert torch.get_default_dtype() == torch.float32 and functional.interpolate is before


def test_the_word_changes_no_id_and_keeps_a_method_in_shards_of_its_own() -> None:
    alone, shared = plan_of(reckless()), plan_of(reckless(own=False))
    assert alone.runs[0].run.run_id == shared.runs[0].run.run_id
    plan = plan_of(reckless(), reckless(8), DELICATE, *NINE)
    names = {frozenset(run.method_name for run in shard.runs if run.benchmark == IMAGES) for shard in plan.shards()}
    assert {frozenset({"reckless 0"}), frozenset({"reckless 8"}), frozenset({"delicate"})} <= names


def test_a_process_of_its_own_that_dies_costs_one_image_and_its_neighbour_nothing() -> None:
    """An image a batch, so that one process is enough; on Ray: tests/test_promises.py."""
    plan = plans.make("toy", (reckless(ends_at=9), DELICATE), 1)
    with LocalExecutor(Recipe.of("harness.work.worker:ShardWorker", threads=1, folder=PLUGINS)) as executor:
        rows = by_name(plan, [row for done in executor.run(plan.shards()) for row in done.rows])
    found = {row.image_id: row.error for row in rows["reckless 9"]}
    assert found == {"000": None, "001": "Its own process died on this image (exit code 9)."}
    only = plans.make("toy", (DELICATE,), 1)
    expected = [row for shard in only.shards() for done in ShardWorker(threads=1).run(shard) for row in done.rows]
    assert counts(rows["delicate"]) == counts(expected)


class Patient:
    """An end of a pipe at which nobody is late who means to answer."""

    def __init__(self, pipe: Connection, silent: threading.Event) -> None:
        self._pipe, self._silent = pipe, silent

    def poll(self, seconds: float) -> bool:
        end = time.monotonic() + 300
        while not self._pipe.poll(0.01) and time.monotonic() < end:
            if self._silent.is_set():
                return self._pipe.poll(seconds)
        return self._pipe.poll()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


class Mute(OwnProcess):
    """Its child is a thread here, which says nothing to an image that hangs, and ends at one that kills."""

    ended = 0

    def _start(self) -> None:
        pipe, theirs = multiprocessing.Pipe()
        self._silent = threading.Event()
        self._pipe = Patient(pipe, self._silent)
        self._child = SimpleNamespace(exitcode=-9, join=lambda *_: None, kill=self._kill)
        threading.Thread(target=self._answer, args=(theirs,), daemon=True).start()

    def _kill(self) -> None:
        self.ended += 1

    def _answer(self, pipe: Connection) -> None:
        with suppress(EOFError), pipe:
            while "kills" not in (shard := pipe.recv()).batches[0].image_ids:
                if "hangs" in shard.batches[0].image_ids:
                    self._silent.set()
                else:
                    pipe.send(next(Mild().run(shard)))


def test_a_process_of_its_own_that_says_nothing_or_dies_is_ended_and_costs_one_image_of_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "FIRST_PATIENCE", 0.5)
    monkeypatch.setattr(patience, "LEAST_PATIENCE", 0.5)
    process = Mute(Recipe.of("toy_workers:Mild"))
    shard = shard_of("s", ["a"], [["one", "hangs", "two"], ["three"], ["kills", "four"]])
    rows = [row for done in process.run(shard) for row in done.rows]
    process.close()
    assert [(row.image_id, row.status) for row in rows] == [
        ("one", "ok"), ("hangs", "failed"), ("two", "ok"), ("three", "ok"), ("kills", "failed"), ("four", "ok"),
    ]  # fmt: skip
    assert str(rows[1].error).startswith("Its own process said nothing for 0.5") and process.ended == 5
    assert rows[4].error == "Its own process died on this image (SIGKILL)."


GRID = """
    name: toy
    methods:
      - {{name: Flat, use: "grid_plugins:Guess", process: {process}}}
    benchmarks:
      - {{name: Few, use: "toy_world:Boxes", with: {{images: 2}}}}
    """


def test_the_grid_says_who_has_one(read_grid: Callable[[str], Grid]) -> None:
    try:
        cells = [read_grid(textwrap.dedent(GRID.format(process=word))).cells[0] for word in ("own", "shared")]
    except GridError as error:
        pytest.fail(str(error))
    assert [cell.own for cell in cells] == [True, False] and cells[0].method == cells[1].method
    with pytest.raises(GridError, match="process must be 'shared' or 'own', not 'mine'"):
        read_grid(textwrap.dedent(GRID.format(process="mine")))
