"""Our code between an image and its counts says its version, and an edit that can change a pixel is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import golden_runs
import house_table
import pytest

from harness.recipes import house, surroundings
from harness.recipes.house import Line
from harness.recipes.syntax import SourceText, parsed


def test_the_table_is_in_step_with_the_sources() -> None:
    wrong = house_table.out_of_step(house_table.table(), house_table.covered())
    assert not wrong, house_table.cure(wrong)


def test_golden_counts_are_what_they_were(tmp_path: Path) -> None:
    counts = golden_runs.golden_counts(tmp_path)
    assert golden_runs.differences(counts) == []
    assert golden_runs.news(counts) == [], f"golden runs were added or taken away: run `{house_table.COMMAND} --runs`"


def test_what_is_covered_is_computed_from_imports() -> None:
    covered = set(house_table.covered())
    assert {
        "harness.protocol.decision", "harness.protocol.offering", "harness.protocol.views", "harness.protocol.rules",
        "harness.work.scoring", "harness.work.judge", "harness.work.batch_work", "harness.work.slots",
        "harness.work.lesson_masks", "harness.planning.batches", "methods.diffusion.maps", "methods.refine.vote",
        "methods.clip.network", "methods.student.fit", "benchmarks.masks", "benchmarks.shapes_world",
    } <= covered  # fmt: skip
    assert not any(name.startswith(("results", "harness.executors", "harness.grid")) for name in covered)


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Replace a text in a module of ours, for all who read its source."""
    real, edits = surroundings.source_text, dict[Path, SourceText]()

    def told(path: Path) -> SourceText:
        return edits[path] if path in edits else real(path)

    def edit(module: str, old: str, new: str) -> None:
        path = surroundings.source_file(module)
        assert path is not None and old in path.read_text("utf-8")
        edits[path] = parsed(path.read_text("utf-8").replace(old, new, 1).encode())

    monkeypatch.setattr(surroundings, "source_text", told)
    monkeypatch.setattr(house, "source_text", told)
    return edit


EDITS = [
    ("harness.protocol.decision", " < ", " > "),
    ("harness.work.scoring", "table[found]", "2 * table[found]"),
    ("methods.diffusion.maps", " / ", " * "),
]


@pytest.mark.parametrize(("module", "old", "new"), EDITS)
def test_a_changed_rule_is_found_and_both_ways_out_are_named(
    module: str, old: str, new: str, edited: Callable[[str, str, str], None]
) -> None:
    edited(module, old, new)
    wrong = house_table.out_of_step(house_table.table(), house_table.covered())
    assert list(wrong) == [module]
    said = house_table.cure(wrong)
    assert module in said and "--raise" in said and "renews the digests if the golden counts are still equal" in said


def test_comments_docstrings_and_layout_change_nothing(edited: Callable[[str, str, str], None]) -> None:
    edited("methods.clip.network", "import torch\n", "# a thought\nimport torch\n\n\n")
    edited("harness.work.scoring", '"""Count pixel pairs', '"""Counts all pixel pairs')
    assert house_table.out_of_step(house_table.table(), house_table.covered()) == {}


def test_a_new_module_between_image_and_counts_must_be_covered() -> None:
    table = {name: line for name, line in house_table.table().items() if name != "harness.protocol.views"}
    wrong = house_table.out_of_step(table, house_table.covered())
    assert wrong == {"harness.protocol.views": "it lies between an image and its counts and has no version"}


def test_a_module_that_moves_keeps_its_version_and_its_name_in_ids() -> None:
    digest = house.digest_of("harness.work.scoring")
    table = {"harness.work.counting": Line("harness.work.counting", 3, digest, "harness.work.counting")}
    moved = house_table.renewed(table, ["harness.work.scoring"])
    assert moved == {"harness.work.scoring": Line("harness.work.scoring", 3, digest, "harness.work.counting")}
    assert house_table.spelled(moved).splitlines()[-1] == f"harness.work.scoring 3 {digest} harness.work.counting"


def test_a_raised_version_goes_up_by_one() -> None:
    table = house_table.table()
    raised = house_table.renewed(table, table, ["harness.work.scoring"])
    assert raised["harness.work.scoring"].version == table["harness.work.scoring"].version + 1
    assert {name for name in table if raised[name] != table[name]} == {"harness.work.scoring"}


def test_a_module_of_promises_alone_has_nothing_to_be_entered() -> None:
    modules = ["harness.contracts.plug_ins", "harness.protocol.decision"]
    assert house_table.not_exercised(modules, set()) == ["harness.protocol.decision"]
