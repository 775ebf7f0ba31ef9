"""A results folder of grids/learn.yaml flows in; what learning gained flows out, with paired 95 % intervals, as lines.

`python -m perf.learning RESULTS [LEARNED:TEACHER ...]`: differences of mIoU in points, by bootstrap over the images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from results import significance
from results.store import Store

PAIRS = (
    "StableSeg+:StableSeg", "Weights:StableSeg", "StableSeg++:StableSeg+", "StableSeg++:StableSeg",
    "MaskCLIP+:MaskCLIP",
)  # fmt: skip


def differences(store: Store, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, float, float, float]]:
    """(one, other, difference, low, high) in points of mIoU for pairs of names (with variant) of the last grid."""
    table = store.table()
    assert table is not None, "the folder holds no grid"
    recipes = {run_id: recipe for run_id, recipe in store.recipes().items() if run_id in table.run_ids}
    named = {f"{recipe.method_name} {recipe.variant}".strip(): run_id for run_id, recipe in recipes.items()}
    first = next(iter(recipes.values()))
    chosen = [run_id for run_id in table.run_ids if run_id in named.values()]
    counts = significance.image_counts(store.chunks(chosen), chosen, len(first.classes), first.scores_background)
    pairwise = {(one.better, one.worse): one for one in significance.compare(significance.bootstrap(counts))}
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
    for one, other, difference, low, high in differences(Store.open(options.results, create=False), pairs):
        print(f"{one} - {other}: {difference:+.2f} [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main()
