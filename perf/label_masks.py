"""A results folder of a grid with learners flows in; how right their teachers' masks are flows out, a line a teacher.

`python -m perf.label_masks RESULTS [--classes] [--limit IMAGES]`: masks against the truth of the train images, which no
learner saw; on the pixels of objects, which every protocol scores, and on those of the background, which some do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import WIDE_IGNORED, Recipe
from harness.recipes import loading
from harness.work import pictures
from results.folder import keepsakes
from results.folder.store import Store

Counts = NDArray[np.int64]  # (background and classes, background and classes and left out): truth and mask


def counted(labels: NDArray[Any], mask: NDArray[Any], classes: int) -> Counts:
    """Pixels of one image by truth and mask, where the truth says something."""
    scored = labels <= classes
    said = np.where(mask[scored] == WIDE_IGNORED, classes + 1, mask[scored]).astype(np.int64)
    pairs = np.bincount(labels[scored].astype(np.int64) * (classes + 2) + said, minlength=(classes + 1) * (classes + 2))
    return pairs.reshape(classes + 1, classes + 2)


def quality(counts: Counts) -> dict[str, float]:
    """Shares and means in percent; unions without the pixels that are left out."""
    objects, taught = counts[1:], counts[1:, 1:-1]
    return {
        "of object pixels taught a class": 100 * taught.sum() / objects.sum(),
        "right of those": 100 * np.trace(taught) / taught.sum(),
        "mIoU of those": 100 * _ious(taught).mean(),
        "of object pixels taught background": 100 * objects[:, 0].sum() / objects.sum(),
        "of background taught a class": 100 * counts[0, 1:-1].sum() / counts[0].sum(),
        "mIoU with background": 100 * _ious(counts[:, :-1]).mean(),
    }


def claims(counts: Counts) -> NDArray[np.float64]:
    """What every class claims of the background, in areas of its own."""
    found: NDArray[np.float64] = counts[0, 1:-1] / counts[1:].sum(axis=1)
    return found


def _ious(square: NDArray[np.int64]) -> NDArray[np.float64]:
    right = np.diag(square)
    ious: NDArray[np.float64] = right / (square.sum(axis=0) + square.sum(axis=1) - right)
    return ious


def masks_of(store: Store, run: Mapping[str, Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Truth and mask of every train image that has one."""
    told = run["benchmark"]
    benchmark = loading.build(Recipe.of(told["use"], **told["settings"]))
    for image_id in benchmark.ids():
        path = keepsakes.label_map_path(store.folder, run["run_id"], image_id)
        if path.exists():
            yield np.asarray(benchmark.load(image_id).truth), pictures.decode_map(path.read_bytes())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m perf.label_masks", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--classes", action="store_true", help="what every class claims of the background, too")
    parser.add_argument("--limit", type=int, default=None)
    options = parser.parse_args()
    store = Store.open(options.results, create=False)
    for run in store.raw_recipes().values():
        if run.get("rule") is None:
            continue
        classes = list(run["classes"])
        found = islice(masks_of(store, run), options.limit)
        counts = sum((counted(truth, mask, len(classes)) for truth, mask in found), np.zeros((), np.int64))
        said = ", ".join(f"{what} {number:.1f}" for what, number in quality(counts).items())
        print(f"{run['run_id']} {run['method_name']} {run['variant']}by {run['rule']}: {said}")
        if options.classes:
            print("   ", ", ".join(f"{name} {share:.2f}" for name, share in zip(classes, claims(counts), strict=True)))


if __name__ == "__main__":
    main()
