"""Every printed number of the shipped ledger against docs/published.md: a grid that computes it, or why none does."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.protocol import presets
from results.tables.ledger import SHIPPED, Published, published_numbers

PAGE, GRIDS = Path("docs/published.md"), Path("grids")
HEADS = {
    "By a shipped grid": 5, "By a shipped grid with another model or another file": 6, "By a grid of one's own": 4,
    "Left out, and why": 4,
}  # fmt: skip
Line = tuple[str, ...]


def sections() -> dict[str, list[Line]]:
    """The lines of the page's tables by heading."""
    found: dict[str, list[Line]] = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        head, _, body = part.partition("\n")
        written = [line for line in body.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in written[1:]]
        found[head] = [(*(cell.strip("`") for cell in line[:5]), *line[5:]) for line in cells]
    return found


def means(line: Line, one: Published) -> bool:
    patterns = [".*".join(map(re.escape, part.split("*"))) for part in line[:3]]
    known = (one.source, one.method, one.variant)
    return all(re.fullmatch(part, text) for part, text in zip(patterns, known, strict=True))


def walked() -> tuple[dict[str, list[tuple[Line, Published]]], list[Line]]:
    """By heading, every number with the first line that means it; and the lines that mean none."""
    lines = [(head, line) for head, held in sections().items() for line in held]
    found: dict[str, list[tuple[Line, Published]]] = {head: [] for head in sections()}
    for one in published_numbers():
        head, line = next(pair for pair in lines if means(pair[1], one))
        found[head].append((line, one))
    used = {id(line) for held in found.values() for line, _ in held}
    return found, [line for _, line in lines if id(line) not in used]


@cache
def grid(name: str) -> Any:
    return yaml.safe_load((GRIDS / f"{name}.yaml").read_text("utf-8"))


def test_every_number_is_computed_or_left_out_with_its_reason() -> None:
    assert {head: {len(line) for line in held} for head, held in sections().items()} == {
        head: {cells} for head, cells in HEADS.items()
    }
    found, idle = walked()
    assert idle == []
    print({head: len(held) for head, held in found.items()})
    assert sum(map(len, found.values())) == len(SHIPPED.read_text("utf-8").splitlines()) - 1
    assert all(line[-1] for held in found.values() for line, _ in held)


@pytest.mark.parametrize("head", list(HEADS)[:2])
def test_a_number_of_a_grid_has_its_method_data_set_and_protocol_there(head: str) -> None:
    """The vocabulary and the background of the cell are those that the number is printed under, where that is known."""
    for line, one in walked()[0][head]:
        written, entry = grid(line[3]), one.method if line[4] == "*" else line[4]
        (method,) = [item for item in written["methods"] if item["name"] == entry]
        assert one.dataset in [item["name"] for item in written["benchmarks"]], one
        if {"method": entry} in written.get("exclude", []):
            assert (entry, one.dataset) in {(item["method"], item["benchmark"]) for item in written["include"]}, one
        said = method.get("protocols", {}).get(one.dataset) or method.get("protocol") or written["protocol"]
        rules = presets.preset(said if isinstance(said, str) else said["preset"]).settings
        scored = "ignored" if rules.background == "ignored" else "scored"
        assert one.vocabulary in ("unknown", rules.vocabulary), one
        assert one.background in ("unknown", scored), one
