"""Where a data set and its words lie: paths in a grid, filled in once and relative to its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trees
from in_process import door

from harness.checks.__main__ import main as checks
from harness.contracts import expanded
from harness.grid import reading as grids
from harness.planning import plan as plans

VOC = """
name: places
methods: [{name: Flat, use: 'toy_world:Flat'}]
benchmarks: [{name: VOC, use: 'benchmarks.pascal_voc:PascalVOC', with: {root: %s}}]
protocol: {names: %s}
"""


def test_a_path_is_filled_in_as_far_as_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    for written, meant in (
        ("~/a", "/home/me/a"), ("$DATA/a", "/data/a"), ("${DATA}s/~", "/datas/~"), ("a/$NOBODY", "a/$NOBODY"),
        ("~nobody-here/a", "~nobody-here/a"), ("a[1]*?", "a[1]*?"), (".", "."),
    ):  # fmt: skip
        assert expanded(written) == Path(meant)


@pytest.fixture
def voc(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `$HOME [x]` with a grid's folder and data beside it; whoever reads stands elsewhere."""
    place = tmp_path / "$HOME [x]"
    (place / "grid").mkdir(parents=True)
    trees.write_voc(place / "data", rng)
    (place / "grid" / "names.yaml").write_text(json.dumps([f"word {number}" for number in range(20)]))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DATA", str(place / "data"))
    monkeypatch.setenv("HOME", str(place))
    return place


def test_root_and_names_are_relative_to_the_grid_and_filled_in_once(voc: Path) -> None:
    ids = set()
    for root, names in (
        ("../data", "names.yaml"), ("$DATA", "~/grid/names.yaml"), ("~/data", "$DATA/../grid/names.yaml"),
    ):  # fmt: skip
        (voc / "grid" / "grid.yaml").write_text(VOC % (root, names))
        grid = grids.read_grid(voc / "grid" / "grid.yaml")
        plan = plans.make(grid.name, grid.cells, grid.batch)
        assert Path(grid.cells[0].benchmark.as_dict()["root"]).samefile(voc / "data")
        assert plan.runs[0].run.names[1] == ("word 1",)
        ids.add(plan.runs[0].run.run_id)
    assert len(ids) == 1  # where the data lies, and how that is written, is in no id


def test_an_axis_of_places_is_named_as_it_is_written(voc: Path) -> None:
    (voc / "grid" / "grid.yaml").write_text(VOC % ("[../data, ../data/VOCdevkit]", "own"))
    grid = grids.read_grid(voc / "grid" / "grid.yaml")
    assert [cell.benchmark_name for cell in grid.cells] == ["VOC root=../data", "VOC root=../data/VOCdevkit"]


@pytest.mark.parametrize(
    ("root", "names", "wrong"),
    [("nowhere", "own", "nowhere"), ("../data", "none.yaml", "none.yaml"), ("../data", "bad.yaml", "bad.yaml, line 2"),
     ("../data", "short.json", "short.json"), ("../data", "few.json", "few.json has 2 entries")],
)  # fmt: skip
def test_errors_name_the_absolute_path(voc: Path, root: str, names: str, wrong: str) -> None:
    (voc / "grid" / "bad.yaml").write_text("- a\n- !!python/none b\n")
    (voc / "grid" / "short.json").write_text("[]")
    (voc / "grid" / "few.json").write_text('["a", "b"]')
    (voc / "grid" / "grid.yaml").write_text(VOC % (root, names))
    answer = door("~/grid/grid.yaml", "--plan", cwd=Path.cwd())
    assert answer.returncode == 2 and str(voc / "grid" / wrong) in answer.stderr


def test_the_gate_fills_in_a_root_too(
    voc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(voc / "grid")
    for root in ("$DATA", "~/data", "../data"):
        checks(["benchmark", "benchmarks.pascal_voc:PascalVOC", "--with", f"root={root}"])
        assert "1 thing is off: count 1" in capsys.readouterr().out  # three drawn images, all of them read
