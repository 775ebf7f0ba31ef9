"""A seed and a number flow in; so many schedules of dying workers are tried in virtual time: exit 1 at the first fault.

python -m perf.schedules [--count 3000] [--seed N]        (or: make schedules)
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

from virtual_pool import check_schedule


def main() -> int:
    """What went wrong is told with the seed of its schedule, which alone gives it again."""
    parser = argparse.ArgumentParser(prog="python -m perf.schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    for number in range(options.count):
        try:
            check_schedule(options.seed + number)
        except AssertionError as fault:
            print(f"schedule {number} of {options.count}: {fault}")
            return 1
    print(f"seed {options.seed}: {options.count} schedules, every result exactly once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
