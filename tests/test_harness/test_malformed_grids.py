"""A seeded sample of spoilt grids: each gets exit 2 with one bounded sentence, or is still sound (1000: make grids)."""

from __future__ import annotations

from pathlib import Path

import malformed_grids
import yaml
from malformed_grids import SOUND, outcome

SAMPLE = 60


def test_the_grids_that_are_spoilt_were_sound(tmp_path: Path) -> None:
    for data in SOUND:
        found = outcome(yaml.safe_dump(data).encode(), tmp_path)
        assert (found.code, found.said, found.fault) == (0, "", "")


def test_no_spoilt_grid_is_without_its_sentence(tmp_path: Path, seed: int) -> None:
    codes = set()
    for place, content in enumerate(malformed_grids.grids(seed, SAMPLE)):
        found = outcome(content, tmp_path)
        assert not found.fault, f"grid {place} of seed {seed}: {found.fault}\n{found.said[:2000]}"
        codes.add(found.code)
    assert 2 in codes  # some of a sample are sound all the same, as a rule


def test_what_ought_to_be_found_is_found(tmp_path: Path) -> None:
    assert malformed_grids._fault(2, "two\nlines\n") == malformed_grids._fault(2, "") != ""
    assert malformed_grids._fault(2, "x" * 1001 + "\n") == "1001 letters"
    assert malformed_grids._fault(1, "") == "exit 1" and malformed_grids._fault(0, "and yet\n") != ""
    assert outcome(b"name: \x07", tmp_path).said.startswith("grid.yaml, line 1: ")
