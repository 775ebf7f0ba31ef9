"""Brings harness/recipes/versions.txt in step with the sources: `python tests/renew_versions.py [--raise MODULE ...]`.

Without `--raise`, digests are renewed only if the golden counts are still what they were. With it, the versions of the
named modules go up and new golden counts are stored. `--runs` stores the counts of golden runs that were added, and
forgets those that were taken away, if all others are equal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "plugins"), str(Path(__file__).parents[1])]

from harness.work import arithmetic  # noqa: E402

arithmetic.prepare_environment(threads=1)  # before torch is loaded: as the tests count

import golden_runs  # noqa: E402
import house_table  # noqa: E402

from harness.recipes import house  # noqa: E402


def main() -> int:
    """0 when the table is in step, 1 with the reason when it cannot be brought there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raise", dest="raised", nargs="+", default=[], metavar="MODULE", help="whose pixels change")
    parser.add_argument("--runs", action="store_true", help="golden runs were added or taken away")
    options = parser.parse_args()
    modules, table = house_table.covered(), house_table.table()
    if unknown := sorted(set(options.raised) - set(modules)):
        print(f"{unknown[0]} is no module between an image and its counts; they are: {', '.join(modules)}")
        return 1
    wrong = house_table.out_of_step(table, modules)
    changed = sorted(name for name in wrong.keys() & table.keys() if name in modules)
    if wrong or options.raised or options.runs:
        refusal = _store(bool(options.raised)) if options.raised or options.runs else ""
        if refusal := refusal or ("" if options.raised else _compare(changed)):
            print(refusal)
            return 1
        new = house_table.renewed(table, modules, options.raised)
        house.TABLE.write_text(house_table.spelled(new), encoding="utf-8")
        if options.raised and (others := sorted(set(changed) - set(options.raised))):
            print(f"Renewed without being raised, because you said so: {', '.join(others)}")
    print(f"{house.TABLE.name} is in step: {len(modules)} modules, {len(wrong)} lines renewed.")
    return 0


def _store(raised: bool) -> str:
    """Store golden counts as they are now, unless runs of before changed and no version is raised for it."""
    with tempfile.TemporaryDirectory() as folder:
        counts = golden_runs.golden_counts(Path(folder))
    moved = [] if raised else golden_runs.differences(counts)
    if not moved:
        golden_runs.keep(counts)
    return "Pixels are counted otherwise than before:\n  " + "\n  ".join(moved) if moved else ""


def _compare(changed: Sequence[str]) -> str:
    """Why the digests cannot be renewed; empty when they can. Golden runs are made until every changed module acted."""
    idle, moved = list(changed), list[str]()
    for part in golden_runs.PARTS if changed else ():
        with tempfile.TemporaryDirectory() as folder, golden_runs.entered() as entered:
            counts = part(Path(folder))
        moved += golden_runs.differences(counts)
        if not (idle := house_table.not_exercised(idle, entered)):
            break
    if moved:
        return (
            "Pixels are counted otherwise than before:\n  "
            + "\n  ".join(moved)
            + (f"\nSay which of the changed modules is to blame: --raise {' '.join(changed)}")
        )
    return f"The golden runs enter no function of {', '.join(idle)}: say --raise {' '.join(idle)}" if idle else ""


if __name__ == "__main__":
    sys.exit(main())
