"""docs/extending.md: its numbers are counted again from the examples that it links, and its examples run."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from in_process import door
from PIL import Image

from harness.contracts import BatchDone, Recipe
from harness.executors.seam import Executor, LocalExecutor

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "extending.md").read_text("utf-8")
COSTS = re.findall(r"^\| an? (\w+) \| (\d+) \| \[[^]]+\]\(([^)#]*)#([\w-]+)\)", PAGE, flags=re.MULTILINE)


def example(page: Path, heading: str) -> str:
    """The first code under a heading, which a link names in small letters with dashes."""
    for section in re.split(r"^#+ ", page.read_text("utf-8"), flags=re.MULTILINE):
        title = section.partition("\n")[0].lower().replace(" ", "-")
        if title == heading:
            return re.findall(r"```\w+\n(.*?)```", section, flags=re.DOTALL)[0]
    raise LookupError(f"{page} has no heading {heading}")


def here(heading: str) -> str:
    return example(DOCS / "extending.md", heading)


def test_the_page_says_what_each_thing_costs() -> None:
    assert [what for what, *_ in COSTS] == ["method", "benchmark", "estimator", "learner", "table", "executor"]


@pytest.mark.parametrize(("what", "lines", "page", "heading"), COSTS, ids=[what for what, *_ in COSTS])
def test_the_lines_are_counted_again(what: str, lines: str, page: str, heading: str) -> None:
    code = example(DOCS / (page or "extending.md"), heading)
    assert len([line for line in code.splitlines() if line.strip()]) == int(lines)


def test_the_benchmark_and_the_table_run_as_the_page_says(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "my_data.py").write_text(here("a-benchmark"))
    truths = [rng.choice(np.array([0, 1, 2, 255], np.uint8), (9, 14)) for _ in range(3)]
    for folder in ("images", "masks"):
        (tmp_path / "leaves" / folder).mkdir(parents=True)
    for number, truth in enumerate(truths):
        Image.fromarray(np.stack([truth] * 3, axis=2)).save(tmp_path / "leaves" / "images" / f"{number}.jpg")
        Image.fromarray(truth).save(tmp_path / "leaves" / "masks" / f"{number}.png")
    (tmp_path / "grid.yaml").write_text(
        'name: leaves\nmethods: [{name: First, use: "methods.controls:OneClass"}]\n'
        'benchmarks: [{name: Leaves, use: "my_data:Leaves", with: {root: leaves}}]\n'
        "protocol: {vocabulary: all}\n" + here("a-table")
    )
    answer = door("grid.yaml", "--results", "r", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    (line,) = csv.DictReader((tmp_path / "r" / "leaderboard.csv").open())
    scored = sum(int(((truth == 1) | (truth == 2)).sum()) for truth in truths)
    first = sum(int((truth == 1).sum()) for truth in truths)
    assert float(line["miou"]) == pytest.approx(100 * first / scored / 2, abs=1e-4)


def test_the_learner_is_fitted_as_the_page_says(tmp_path: Path) -> None:
    section = (DOCS / "learning.md").read_text("utf-8").partition("## A learner of your own")[2]
    code, grid = re.findall(r"```\w+\n(.*?)```", section, flags=re.DOTALL)[:2]
    (tmp_path / "my_learner.py").write_text(code)
    teacher = "methods.maskclip:MaskCLIP\", with: {model: shapes}"
    assert teacher in grid
    cheap = grid.replace(teacher, "methods.controls:OneClass\"")  # who teaches is of no matter to the learner
    (tmp_path / "grid.yaml").write_text("name: colours\n" + cheap)
    answer = door("grid.yaml", "--results", "r", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    (card,) = (json.loads(path.read_text()) for path in (tmp_path / "r").glob("artefacts/*/card.json"))
    assert card["learner_tells"]["pixels"] > 0 and card["image_count"] == 12
    lines = list(csv.DictReader((tmp_path / "r" / "leaderboard.csv").open()))
    assert {line["method"]: line["images"] for line in lines} == {"MaskCLIP": "10", "Colours": "10"}


def test_the_executor_gives_the_same_rows_as_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_pool.py").write_text(here("an-executor"))
    monkeypatch.syspath_prepend(str(tmp_path))
    from my_pool import Pool
    from toy_workers import two_by_two

    worker, shards = Recipe.of("toy_workers:Harmful"), two_by_two(3)
    pool: Executor = Pool(worker, 2)
    try:
        assert told(list(pool.run(shards))) == told(list(LocalExecutor(worker).run(shards)))
    finally:
        pool.close()


def told(results: list[BatchDone]) -> list[tuple[object, ...]]:
    """Of every row what must be the same; each came once."""
    return sorted((row.run_id, row.image_id, row.status, *row.pixels.tolist()) for done in results for row in done.rows)
