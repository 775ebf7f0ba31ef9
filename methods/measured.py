"""The kind of a network, or of a method without one, flows in; what it took where it was measured flows out.

The numbers are in the table beside this file: `python -m perf.pass_times` measures the lines of a CPU anew; those of a
card are printed by `python -m perf.gpu`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.contracts import Timing

TABLE = Path(__file__).with_name("measured.csv")


def timings(kind: str, dtype: str, share: float = 1.0) -> Sequence[Timing]:
    """Of every device on which this kind was measured in this number format; none where it never was.

    share: of the pixels that were shown when it was measured.
    """
    return [
        Timing(line["device"], share * float(line["seconds a pass"]), float(line["seconds a row"]))
        for line in _lines()
        if (line["network"], line["dtype"]) == (kind, dtype)
    ]


@cache
def _lines() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))
