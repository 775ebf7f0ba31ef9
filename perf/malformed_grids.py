"""A seed and a number flow in; what the door makes of so many spoilt grids flows out: exit 1 if one lacks its sentence.

python -m perf.malformed_grids [--count 1000] [--seed N]        (or: make grids)
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

from malformed_grids import Outcome, grids, outcome


def main() -> int:
    """Plan every grid in this process; the record goes to standard output."""
    parser = argparse.ArgumentParser(prog="python -m perf.malformed_grids", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for place, content in enumerate(grids(options.seed, options.count)):
            found.append(outcome(content, Path(folder)))
            if found[-1].fault:
                print(f"grid {place}: {found[-1].fault}\n{found[-1].said[:1000]}\n")
    codes, faults = Counter(one.code for one in found), sum(bool(one.fault) for one in found)
    sentences = {one.said.partition(": ")[2] for one in found if one.code == 2}
    print(f"seed {options.seed}: {len(found)} grids; {codes[2]} refused in {len(sentences)} different sentences")
    print(f"{codes[0]} still sound, {faults} without their sentence")
    print(f"the longest sentence has {max(len(one.said) for one in found)} letters, the slowest grid took "
          f"{max(one.seconds for one in found):.1f} s")  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
