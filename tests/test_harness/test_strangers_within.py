"""A stranger's reader within one of ours, the first stranger of its process, is looked at like one by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from toy_cells import Cell

from harness.contracts import Recipe, Row
from harness.foreign import calls, company
from harness.foreign.replaced import Functions
from harness.planning import plan as plans
from harness.work.worker import ShardWorker

SHAPES = Recipe.of("benchmarks.shapes:Shapes", images=2)
HONEST = Cell(Recipe.of("methods.maskclip:MaskCLIP", model="shapes"), "honest", benchmark=SHAPES)
READER = """
import torch
from dataclasses import dataclass
from typing import ClassVar
from torch.nn import functional
from methods.maskclip import MaskCLIP

{at_import}

@dataclass(frozen=True)
class Spoiler(MaskCLIP):
    version: ClassVar[int] = 1

    def read(self, features, vocabulary):
        answer = super().read(features, vocabulary)
        {at_read}
        return answer
"""
REPLACED = "functional.interpolate = lambda input, size=None, **how: torch.zeros(*input.shape[:2], *size)"


def rows_of(*cells: Cell) -> dict[str, list[Row]]:
    plan = plans.make("toy", cells, 4)
    names = {one.run.run_id: one.run.method_name for one in plan.runs}
    found: dict[str, list[Row]] = {name: [] for name in names.values()}
    worker = ShardWorker(threads=1)
    for shard in plan.shards(99):
        for row in (row for done in worker.run(shard) for row in done.rows):
            found[names[row.run_id]].append(row)
    return found


@pytest.mark.parametrize(
    ("at_import", "at_read", "says"),
    [
        ("", REPLACED, "torch.nn.functional.interpolate replaced"),
        (REPLACED, "pass", "torch.nn.functional.interpolate replaced when it was imported"),
        (
            "torch.set_default_dtype(torch.float64)",
            "pass",
            "torch's default dtype at torch.float64 when it was imported",
        ),
        ("", "next(iter(features.values())).image.setflags(write=True)", "cannot set WRITEABLE flag"),
    ],
)
def test_the_first_stranger_of_a_process_changes_nobody(
    at_import: str, at_read: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spoiling_reader.py").write_text(READER.format(at_import=at_import, at_read=at_read))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(company, "_met", set())
    monkeypatch.setattr(calls, "_functions", Functions())
    around = Recipe.of("methods.pamr:PAMR", method="spoiling_reader:Spoiler(model=shapes)", iterations=1)
    before = functional.interpolate
    try:
        alone = rows_of(HONEST)["honest"]
        assert company.alone()
        rows = rows_of(Cell(around, "around", benchmark=SHAPES), HONEST)
        assert functional.interpolate is before and torch.get_default_dtype() == torch.float32
    finally:
        functional.interpolate = before
        torch.set_default_dtype(torch.float32)
        sys.modules.pop("spoiling_reader", None)
        calls._imports.pop("spoiling_reader", None)
    for was, row in zip(alone, rows["honest"], strict=True):
        assert row.status == was.status == "ok" and row.pixels.tolist() == was.pixels.tolist()
    assert {row.status for row in rows["around"]} == {"failed"}
    assert all(says in (row.error or "") for row in rows["around"]), rows["around"][0].error
