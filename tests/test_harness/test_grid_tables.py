"""`tables:` of a grid: taken over as written, and refused with the line and the cure where it makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import GridError
from harness.grid import reading as grids

GRID = """name: g
methods:
- {name: Random, use: "methods.controls:RandomLabels", with: {side: [2, 3]}}
benchmarks:
- {name: S, use: "benchmarks.shapes:Shapes", with: {images: 2}}
tables:
"""


def read(tmp_path: Path, *tables: str) -> grids.Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID + "".join(f"- {table}\n" for table in tables))
    return grids.read_grid(path)


def test_tables_are_taken_over_as_written(tmp_path: Path) -> None:
    table = "{name: a-b, rows: side, columns: [benchmark, seed], where: {method: [Random, Other]}, published: t}"
    assert read(tmp_path, table).tables == (
        {"name": "a-b", "rows": "side", "columns": ["benchmark", "seed"], "where": {"method": ["Random", "Other"]},
         "published": "t"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("{name: t, rows: sides}", "line 7: no method, benchmark or .* a setting 'sides'; did you mean 'side'"),
        ("{name: t, rows: side, where: {sseed: 1}}", "line 7: no method, .* 'sseed'; did you mean 'seed'"),
        ("{name: t, rows: side, columns: [split, x1]}", "line 7: no method, .* has a setting 'x1'"),
        ("{name: ../t, rows: side}", "line 7: name must be a plain word of letters, digits, - and _, not '../t'"),
        ("{name: t, rows: side, value: mio}", "line 7: value must be .*; did you mean 'miou'"),
        ("{name: t, rows: side, colums: split}", "line 7: a table has no key 'colums'; did you mean 'columns'"),
        ("{name: t}", "line 7: a table needs the key 'rows'"),
        ("{name: t, rows: []}", "line 7: rows must be text or have at least 1 item"),
        ("{name: t, rows: side, labels: {a: 1}}", "line 7: a must be text, not 1"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, table: str, sentence: str) -> None:
    with pytest.raises(GridError, match=sentence):
        read(tmp_path, table)


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="line 8: the name 't' was given in line 7 already"):
        read(tmp_path, "{name: t, rows: side}", "{name: t, rows: seed}")


def test_the_papers_grid_declares_the_posters_tables() -> None:
    grid = grids.read_grid(Path(__file__).parents[2] / "grids" / "paper.yaml")
    assert [table["published"] for table in grid.tables] == ["1 main", "2 SAR", "3 MaskCLIP+ comparison"]
    assert len({cell.benchmark_name for cell in grid.cells}) == 6 and len(grid.cells) == 24
