"""The table of docs/learning.md flows in: its order is the poster's (table 3), and what the text says of it is so."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "learning.md").read_text("utf-8")
MEASURED = PAGE.split("## Measured on Shapes")[1].split("### Why better masks did not help")[0]
COLUMNS = ("ignored", "scored")  # the background
ROUNDED = 0.016  # between numbers of two digits behind the point and what was made of more


def by_method() -> dict[str, list[tuple[float, ...]]]:
    """Method -> mIoU of every seed of its student, with the background left out and scored."""
    found: dict[str, list[tuple[float, ...]]] = {}
    method = ""
    for name, _, *scores in re.findall(r"^\| ([^|]*)\| ([^|]*)\| (\d+\.\d+) \| (\d+\.\d+) \|$", MEASURED, re.MULTILINE):
        method = name.strip() or method
        found.setdefault(method, []).append(tuple(map(float, scores)))
    return found


def test_the_order_is_the_posters_for_every_seed_with_the_background_and_without() -> None:
    held = by_method()
    plain, plus, plus_plus = (held[name] for name in ("StableSeg (t = 1, SAR)", "StableSeg+", "StableSeg++"))
    assert len(plain) == 1 and len(plus) == len(plus_plus) == 3
    for column in range(len(COLUMNS)):
        assert plain[0][column] < min(one[column] for one in plus)
        assert max(one[column] for one in plus) < min(one[column] for one in plus_plus)


def test_means_and_spreads_are_those_of_the_table() -> None:
    told = re.search(
        r"StableSeg\+ has (\S+) \(standard deviation (\S+)\) and (\S+) \((\S+)\) in the mean,\s+"
        r"StableSeg\+\+ (\S+) \((\S+)\) and (\S+) \((\S+)\)", MEASURED,
    )  # fmt: skip
    assert told is not None
    numbers = iter(map(float, told.groups()))
    for method in ("StableSeg+", "StableSeg++"):
        for column in zip(*by_method()[method], strict=True):
            assert abs(next(numbers) - statistics.mean(column)) < ROUNDED
            assert abs(next(numbers) - statistics.stdev(column)) < ROUNDED


def test_differences_are_those_of_the_table_but_for_rounding() -> None:
    held = by_method()
    pairs = re.findall(r"^\| (.*?) \| ([+-]\S+) \[.*?\] \| ([+-]\S+) \[.*?\] \|$", MEASURED, re.MULTILINE)
    assert len(pairs) == 5
    seeds = iter(zip(held["StableSeg++"], held["StableSeg+"], strict=True))
    for name, *differences in pairs:
        better, worse = {
            "StableSeg+ - StableSeg": (held["StableSeg+"][0], held["StableSeg (t = 1, SAR)"][0]),
            "Weights - StableSeg": (held["Weights (StableSeg, learned)"][0], held["StableSeg (t = 1, SAR)"][0]),
        }.get(name) or next(seeds)  # fmt: skip
        assert all(abs(float(d) - (b - w)) < ROUNDED for d, b, w in zip(differences, better, worse, strict=True)), name
