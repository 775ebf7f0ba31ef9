"""A benchmark's recipe and some of its ids flow in; the images that are others when they are loaded again flow out.

Rows of two runs can only be compared where an image is the same for both. So the same images are loaded by two fresh
objects, by the second in the opposite order, under the generators that a sweep would set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.checks.benchmark_walk import UNSTEADY, Problem
from harness.contracts import Recipe, Sample
from harness.foreign import chance
from harness.protocol.given import checked_sample
from harness.recipes import loading

IMAGES = 8


def unsteady(recipe: Recipe, image_ids: Sequence[str]) -> Iterator[Problem]:
    """A problem an image. Images that cannot be loaded are left to the walk."""
    chosen = sorted(random.Random(recipe.use).sample(list(image_ids), min(IMAGES, len(image_ids))))
    first, second = _loaded(recipe, chosen), _loaded(recipe, chosen[::-1])
    for image_id in (one for one in chosen if one in first and one in second):
        if what := _differing(first[image_id], second[image_id]):
            cure = "runs would be compared on different data, so let an id always give the same"
            yield Problem(UNSTEADY, image_id, f"its {what} when it is loaded again: {cure}")


def _loaded(recipe: Recipe, image_ids: Sequence[str]) -> dict[str, Sample]:
    """What a new object loads."""
    kept, found = chance.keep(), dict[str, Sample]()
    benchmark: Any = loading.build(recipe)
    for image_id in image_ids:
        chance.seed(recipe.use, image_id)
        try:
            found[image_id] = checked_sample(benchmark.load(image_id), image_id, len(benchmark.classes))
        except Exception:
            continue
    chance.put_back(kept)
    return found


def _differing(one: Sample, other: Sample) -> str:
    pairs = {"image": (one.image, other.image), "truth": (one.truth, other.truth)}
    names = [name for name, (here, there) in pairs.items() if not np.array_equal(here, there)]
    return " and ".join(names) + (" are others" if len(names) > 1 else " is another") if names else ""
