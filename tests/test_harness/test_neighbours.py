"""Careless methods beside a delicate one: they get failed rows that say why, it gets the counts that it has alone."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from careless import HABITS
from toy_cells import Cell, reader

from harness.contracts import Recipe, Row
from harness.foreign import interrupts
from harness.planning import plan as plans
from harness.work.worker import Worker

DELICATE = Cell(Recipe.of("careless:Delicate"), "delicate")
IMAGES = Recipe.of("toy_world:Boxes", images=6)
SAYS = {  # habit -> what its rows say; docs/neighbours.md has the same table
    "write": "ValueError: assignment destination is read-only",
    "unlock": "ValueError: cannot set WRITEABLE flag to True of this array",
    "forced": "other pixels in the image that it was lent",
    "through torch": "other pixels in the image that it was lent",
    "dtype": "torch's default dtype at torch.float64",
    "device": "torch's default device at meta",
    "grad": "torch's gradients off",
    "inference": "torch's inference mode on",
    "cast": "torch's automatic casts (autocast) changed",
    "deterministic": "torch's rule of deterministic algorithms at 2",
    "threads": "torch's number of threads at",
    "precision": "torch's precision of float32 products at medium",
    "cudnn": "torch.backends.cudnn.benchmark at True",
    "onednn": "torch.backends.mkldnn.enabled at True",
    "attention": "torch's flash attention off",
    "denormals": "floats' rounding changed",
    "rounding": "floats' rounding changed",
    "forward hook": "hooks of all torch modules (forward hooks)",
    "pre hook": "hooks of all torch modules (forward pre hooks)",
    "interpolate": "torch.nn.functional.interpolate replaced",
    "attention replaced": "torch.nn.functional.scaled_dot_product_attention replaced",
    "tensor method": "torch.Tensor.softmax replaced",
    "layer": "torch.nn.modules.linear.Linear.forward replaced",
    "argmax": "numpy.argmax replaced",
    "print": "builtins.print replaced",
    "numpy errors": "numpy's error state at",
    "folder": "the working directory at /",
    "environment": "the environment changed (CARELESS)",
    "handler": "signal handlers replaced",
    "alarm": "signals blocked or a timer set",
    "blocked": "signals blocked or a timer set",
    "stdout": "sys.stdout replaced",
    "closed stdout": "sys.stdout closed",
    "descriptors": "descriptor 1 closed and descriptor 2 closed",
    "led elsewhere": "descriptor 1 led elsewhere",
    "truncated": "PIL.ImageFile.LOAD_TRUNCATED_IMAGES at True",
    "collection": "garbage collection at False",
    "recursion": "the recursion limit at 3000",
    "log": "the root logger changed",
    "warnings": "the filters of all warnings changed",
}


def rows_of(*cells: Cell) -> dict[str, list[Row]]:
    """The rows of every method by its name, in the order of images."""
    plan = plans.make("toy", [Cell(cell.method, cell.method_name, benchmark=IMAGES) for cell in cells], 4)
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    found: dict[str, list[Row]] = {name: [] for name in names.values()}
    worker = Worker(threads=1)
    for shard in plan.shards(99):
        for done in worker.run(shard):
            for row in done.rows:
                found[names[row.run_id]].append(row)
    return {name: sorted(rows, key=lambda row: row.image_id) for name, rows in found.items()}


def counts(rows: list[Row]) -> list[tuple[str, str, list[int], list[int], list[int]]]:
    parts = [(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist()) for row in rows]
    return [(row.image_id, row.status, *part) for row, part in zip(rows, parts, strict=True)]


@pytest.fixture(scope="module")
def alone() -> list[Row]:
    return rows_of(DELICATE)["delicate"]


@contextmanager
def own_streams() -> Iterator[None]:
    """A stdout that may be closed, and descriptors that come back."""
    kept, stdout = [os.dup(number) for number in (1, 2)], sys.stdout
    sys.stdout = io.StringIO()
    try:
        yield
    finally:
        sys.stdout = stdout
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def test_no_habit_is_left_out() -> None:
    assert set(SAYS) | {"nothing", "seeds"} == set(HABITS) and len(SAYS) >= 20


@pytest.mark.parametrize("habit", SAYS)
def test_a_careless_neighbour_fails_and_changes_nobody(
    habit: str, alone: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's own
    with own_streams():
        rows = rows_of(Cell(Recipe.of("careless:Careless", habit=habit), "careless"), DELICATE)
        sys.stdout.write("")  # which raises on a closed stream
    assert {row.status for row in rows["careless"]} == {"failed"}
    for row in rows["careless"]:
        assert SAYS[habit] in (row.error or ""), row.error
    assert counts(rows["delicate"]) == counts(alone), [row.error for row in rows["delicate"]]


@pytest.mark.parametrize("habit", ["seeds", "nothing"])
def test_seeding_leaves_no_trace(habit: str, alone: list[Row]) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    rows = rows_of(Cell(Recipe.of("careless:Careless", habit=habit), "careless"), DELICATE)
    assert {row.status for row in rows["careless"]} == {"ok"}
    assert counts(rows["delicate"]) == counts(alone)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("part", ["all", "unlock"])
def test_a_reader_that_writes_into_features_fails_and_others_read_them_made_anew(part: str) -> None:
    honest = reader(1)
    scribbler = Cell(Recipe.of("careless:Scribbler", part=part), "scribbler")
    rows = rows_of(scribbler, Cell(honest.method, "honest"))
    assert counts(rows["honest"]) == counts(rows_of(Cell(honest.method, "honest"))["honest"])
    assert {row.status for row in rows["scribbler"]} == {"failed"}
    says = "read-only" if part == "all" else "other numbers in the features that it reads"
    assert all(says in (row.error or "") for row in rows["scribbler"]), rows["scribbler"][0].error


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("exit", "it ended with SystemExit: 0"), ("generator", "it ended with GeneratorExit"),
        ("interrupt", "it ended with KeyboardInterrupt"), ("base", "it ended with Odd: odd"),
        ("unspeakable", "Unspeakable: (its text cannot be had: RuntimeError)"),
        ("long", "(10000006 characters)"),
    ],
)  # fmt: skip
def test_whatever_a_method_raises_is_a_failed_row(what: str, says: str, alone: list[Row]) -> None:
    with interrupts.listening():
        rows = rows_of(Cell(Recipe.of("careless:Raises", what=what), "raises"), DELICATE)
    assert {row.status for row in rows["raises"]} == {"failed"}
    for row in rows["raises"]:
        assert row.error is not None and says in row.error and len(row.error) < 700 and row.error.isprintable()
    assert counts(rows["delicate"]) == counts(alone)
