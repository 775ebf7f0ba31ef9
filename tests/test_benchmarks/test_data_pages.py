"""The grid lines on the pages about the data sets are lines that the readers take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.contracts import Benchmark, Recipe
from harness.recipes import loading

GENERIC = {"folder", "table"}  # whose classes are the user's
NO_DATA_SET = ("README.md", "add_a_benchmark.md")
PAGES = sorted(path for path in Path("docs/data").glob("*.md") if path.name not in NO_DATA_SET)


def entries(page: Path) -> list[dict[str, Any]]:
    """Everything under `benchmarks:` in the page's YAML blocks."""
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [entry for block in blocks for entry in yaml.safe_load(block)["benchmarks"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_grid_lines_fit_the_reader(page: Path) -> None:
    found = entries(page)
    assert found
    for entry in found:
        benchmark = loading.build(Recipe.of(entry["use"], **entry["with"]))
        assert isinstance(benchmark, Benchmark)
        assert entry["use"].startswith(f"benchmarks.{page.stem}:")
        assert str(getattr(benchmark, "expected_images", None)) in page.read_text(encoding="utf-8")


def test_every_data_set_has_its_page() -> None:
    assert {page.stem for page in PAGES} - GENERIC == {path.stem for path in Path("benchmarks/names").glob("*.json")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_name_the_name_sets(page: Path) -> None:
    benchmark: Any = loading.build(Recipe.of(entries(page)[0]["use"], **entries(page)[0]["with"]))
    told = page.read_text(encoding="utf-8").partition("**Name sets:**")[2]
    published = () if page.stem in GENERIC else (*benchmark.catalogue.sets, *benchmark.catalogue.background)
    for name in ("own", *published):
        assert f"`{name}`" in told
