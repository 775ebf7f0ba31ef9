"""A results folder of grids/learn.yaml flows in; what learning gained flows out, with paired 95 % intervals, as lines.

`python -m perf.learning RESULTS [LEARNED:TEACHER ...]`: differences of mIoU in points, by bootstrap over the images;
intervals hold for all pairs of runs at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from results.counts import significance
from results.folder.store import Store
from results.tables import leaderboard

PAIRS = (
    "StableSeg+:StableSeg", "Weights:StableSeg", "StableSeg++:StableSeg+", "StableSeg++:StableSeg",
    "MaskCLIP+:MaskCLIP",
)  # fmt: skip


def paired_differences(store: Store, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, float, float, float]]:
    """(one, other, difference, low, high) in points of mIoU for pairs of names (with variant) of the last grid.

    Of one protocol each; runs of another one stand in a grid by another name.
    """
    table = store.table()
    assert table is not None, "the folder holds no grid"
    board = leaderboard.build_board(store)
    named = {f"{entry.method} {entry.variant}".strip(): entry.run_id for entry in board.entries}
    pairwise = {}
    for standings in board.standings.values():
        assert standings.effects is not None, standings.why
        known = significance.all_pairs(standings.effects, standings.seed)
        pairwise |= {(one.better, one.worse): one for one in known}
    found = []
    for one, other in pairs:
        here, there = named[one], named[other]
        if (here, there) in pairwise:
            held = pairwise[here, there]
            found.append((one, other, 100 * held.difference, 100 * held.low, 100 * held.high))
        else:
            held = pairwise[there, here]
            found.append((one, other, -100 * held.difference, -100 * held.high, -100 * held.low))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m perf.learning", description=__doc__)
    parser.add_argument("results")
    parser.add_argument("pairs", nargs="*", default=list(PAIRS), metavar="LEARNED:TEACHER")
    options = parser.parse_args()
    pairs = [(one, other) for one, _, other in (pair.partition(":") for pair in options.pairs)]
    for one, other, difference, low, high in paired_differences(Store.open(options.results, create=False), pairs):
        print(f"{one} - {other}: {difference:+.2f} [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main()
