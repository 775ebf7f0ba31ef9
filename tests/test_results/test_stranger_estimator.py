"""A stranger's estimator: one file, one grid, no edit here; and what it does wrong is a sentence, never a traceback."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import recount
from in_process import Answer, call, door

from harness.errors import StoreError
from results import explain
from results.counts import strangers
from results.counts.estimators import ClassCounts
from results.report.__main__ import main as report

DOCS = Path(__file__).parents[2] / "docs"
GRID = """name: mine
methods:
- {name: Random, use: "methods.controls:RandomLabels", with: {side: [2, 3]}}
benchmarks:
- {name: S, use: "benchmarks.shapes:Shapes", with: {images: 2}}
tables:
- {name: worst, rows: side, value: "my_scores:worst_class"}
- {name: usual, rows: side}
"""
CAREFUL = "import numpy as np\ndef worst_class(counts):\n    return "
COUNTS = ClassCounts(*(np.array(one) for one in ([6, 0], [8, 4], [10, 2])))


@pytest.fixture(autouse=True)
def _tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages take long, and show the same tables."""
    monkeypatch.setattr("results.report.write_pages", lambda *_: "no pages")


def folder_of(tmp_path: Path, source: str, grid: str = GRID) -> Path:
    (tmp_path / "my_scores.py").write_text(source)
    (tmp_path / "grid.yaml").write_text(grid)
    return tmp_path


def swept(folder: Path) -> Answer:
    return door("grid.yaml", "--results", "r", cwd=folder, report=True)


def cells(folder: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "r" / "tables" / f"{table}.csv").read_text("utf-8").splitlines()))


def test_one_file_and_one_grid_as_the_page_says_and_its_report_elsewhere(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(def worst_class.*?)```", (DOCS / "report.md").read_text("utf-8"), re.DOTALL)
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    mine.mkdir(), elsewhere.mkdir()
    folder_of(mine, source)
    answer = swept(mine)
    assert (answer.returncode, "worst" in answer.stderr) == (0, False)
    runs = {line["variant"]: line["run_id"] for line in csv.DictReader((mine / "r" / "leaderboard.csv").open())}
    for line in cells(mine, "worst"):
        total = recount.sums(mine / "r", runs[f"side={line['side']}"])
        ious = [iou for k in range(1, 100) if (iou := recount.class_iou(total, k)) is not None]
        assert line["S"] == f"{float(100 * min(ious)):.4f}"
    usual = cells(mine, "usual")
    again = call(report, mine / "r", cwd=elsewhere)
    assert again.returncode == 0
    assert again.stderr.splitlines() == [
        "table 'worst' has holes only: 'my_scores:worst_class': there is no module 'my_scores' on the path; "
        "start where its file lies, or put that folder into PYTHONPATH"
    ]
    assert cells(mine, "usual") == usual
    assert all("no module 'my_scores'" in line["missing"] and not line["S"] for line in cells(mine, "worst"))
    assert call(report, mine / "r", cwd=elsewhere, path=mine).stderr == "" and cells(mine, "worst")[0]["S"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("my_scores:wurst_class", "has no function 'wurst_class'; did you mean 'worst_class'?"),
        ("my_score:worst_class", "there is no module 'my_score'; did you mean 'my_scores'?"),
        ("my_scores:np", "'my_scores:np' is not a function but of type module"),
        ("my scores:worst", "'my scores:worst' is not an address; write module:function"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_with_its_line(tmp_path: Path, value: str, sentence: str) -> None:
    answer = swept(folder_of(tmp_path, CAREFUL + "0.5", GRID.replace("my_scores:worst_class", value)))
    (line,) = answer.stderr.splitlines()
    assert answer.returncode == 2 and "line 7: " in line and sentence in line


def test_what_it_gives_is_a_hole_with_its_sentence_in_tables_and_receipts(tmp_path: Path) -> None:
    mine = folder_of(tmp_path, CAREFUL + "200")
    assert (swept(mine).returncode, cells(mine, "usual")[0]["missing"]) == (0, "")
    sentence = "'my_scores:worst_class' gives 200; it should give a number from 0 to 1, or None"
    assert cells(mine, "worst")[0]["missing"] == f"S: {sentence}"
    told = call(explain.main, "worst", "2", "S", "--results", "r", cwd=mine, path=mine)
    assert told.returncode == 0 and f"my_scores:worst_class = {sentence}" in told.stdout


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("0.25", 0.25),
        ("np.float32(0.5)", 0.5),
        ("1 + 1e-12", 1.0),
        ("None", None),
        ("counts.intersection.sum() / counts.labelled.sum()", 0.5),
        ("float('nan')", "gives nan; it should"),
        ("-0.1", "gives -0.1; it should"),
        ("'0.5'", "gives something of type str; it should"),
        ("True", "gives something of type bool; it should"),
        ("counts.union", "gives something of type ndarray; it should"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("exit(3)", "failed: SystemExit: 3"),
        ("counts.unions", "failed: AttributeError: 'ClassCounts' object has no attribute 'unions'"),
    ],
)
def test_its_answer_is_a_share_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: float | str | None
) -> None:
    name = tmp_path.name  # a module of its own
    (tmp_path / f"{name}.py").write_text(CAREFUL + body)
    monkeypatch.syspath_prepend(str(tmp_path))
    if isinstance(said, str):
        with pytest.raises(StoreError, match=re.escape(f"'{name}:worst_class' {said}")):
            strangers.estimated(f"{name}:worst_class", COUNTS)
    else:
        assert strangers.estimated(f"{name}:worst_class", COUNTS) == said


def test_a_module_that_breaks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_scores.py").write_text("raise SystemExit('no')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StoreError, match="'broken_scores:f': importing 'broken_scores' failed: SystemExit: no"):
        strangers.found("broken_scores:f")
