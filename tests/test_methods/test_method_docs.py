"""The pages on methods, run as a reader would run them: their code, their grids, and what they name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from in_process import door

from harness.checks.__main__ import main
from harness.checks.method_trials import PROMISES
from harness.grid import reading as grids
from harness.planning import plan as plans
from harness.recipes import loading
from methods.refine import REFINERS

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "docs" / "methods").glob("*.md"))}
MINE = ("my_method", "my_reader", "my_batch")  # what the page's code is called
ADDRESS = re.compile(r"\b(?:methods|harness|benchmarks)(?:\.\w+)+:\w+")


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's method, reader, method in batches and grid, importable as the page says."""
    for name, code in zip(MINE, snippets("add_a_method", "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "grid.yaml").write_text(snippets("add_a_method", "yaml")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in MINE:  # the README has a method of that name too
        sys.modules.pop(name, None)


def test_the_example_grid_runs_and_shares_its_passes(mine: Path) -> None:
    grid = grids.read_grid(mine / "grid.yaml")
    plan = plans.make(grid.name, grid.cells, grid.batch)
    assert len(plan.runs) == 8
    assert plan.cost.passes == 2 * 8
    assert door("grid.yaml", "--limit", "4", cwd=mine).returncode == 0
    assert "Sharpest" in (mine / "runs" / "leaderboard.csv").read_text()


@pytest.mark.parametrize("address", ["my_method:ColourNames", "my_reader:Sharpest", "my_batch:Brightest"])
def test_the_examples_pass_the_gate(address: str, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["method", address])
    assert (code, "All 11 promises are kept" in capsys.readouterr().out) == (0, True)


def test_the_page_lists_every_promise() -> None:
    listed = re.findall(r"^\| ([a-z][\w ]+) \|", PAGES["add_a_method"].split("## The gate")[1], flags=re.MULTILINE)
    assert listed == ["promise", *PROMISES]


def test_the_relatives_run_as_their_page_says(tmp_path: Path) -> None:
    methods = yaml.safe_load(snippets("relatives", "yaml")[0])
    shapes = {"name": "Shapes", "use": "benchmarks.shapes:Shapes", "with": {"images": 2}}
    grid = {"name": "relatives", "methods": methods, "benchmarks": [shapes], "batch": 2}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    board = (tmp_path / "runs" / "leaderboard.csv").read_text()
    assert all(method["name"] in board for method in methods)


def test_dense_crf_is_called_as_its_page_says() -> None:
    entries = yaml.safe_load(snippets("refiners", "yaml")[1])
    built = [loading.construct(loading.load_class(entry["use"]), entry["with"]) for entry in entries]
    assert [type(one.inner).__name__ for one in built] == ["StableSeg", "FTTM"]


def test_pamr_is_called_as_its_page_says() -> None:
    (entry,) = yaml.safe_load(snippets("refiners", "yaml")[0])
    settings = entry["with"] | {"iterations": entry["with"]["iterations"][1]}
    built = loading.construct(loading.load_class(entry["use"]), settings)
    assert type(built.inner).__name__ == "NACLIP"


@pytest.mark.parametrize("page", PAGES)
def test_every_address_on_the_pages_exists(page: str) -> None:
    for address in sorted(set(ADDRESS.findall(PAGES[page]))):
        assert loading.load_class(address)


def test_every_refiner_is_on_its_page() -> None:
    table = PAGES["refiners"].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE))))
    assert named == set(REFINERS)
