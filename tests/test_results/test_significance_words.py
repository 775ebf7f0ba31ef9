"""What is said of comparisons: too few images in place of a tie, what can be told apart, what rests on few images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from results.counts import image_effects
from results.counts.significance import Group
from results.tables import significance_words as words


def standings(group: Group, **effects: Any) -> Any:
    left = tuple(run_id for run_id in "abc" if run_id not in group.run_ids)
    groups = (group, Group(left, ())) if left else (group,)
    return SimpleNamespace(effects=SimpleNamespace(**effects), groups=groups)


@pytest.mark.parametrize(
    ("group", "images", "said"),
    [
        (
            Group(("a", "b", "c"), (), enough=False), 9,
            "Too few images (9) to separate any of 3 runs; 10 are the least.",
        ),
        (
            Group(("a",), (), 0.048, 4680), 200,
            "3 runs, each compared with the best over the same 200 images: it is separated from all others. 200 images "
            "find a difference of 4.8 points with a chance of 80 %; one point needs about 4,700.",
        ),
        (
            Group(("a", "b"), (), 0.0004, 2), 2000,  # never "0.0 points"
            "3 runs, each compared with the best over the same 2,000 images: 1 of the others is not separated from it. "
            "2,000 images find a difference of 0.04 points with a chance of 80 %; one point needs about 2.",
        ),
    ],
)  # fmt: skip
def test_what_a_column_says_of_its_best_runs(group: Group, images: int, said: str) -> None:
    assert words.column(standings(group, images=images, blocks=(images,))) == said


def test_clusters_are_called_by_their_name() -> None:
    said = words.column(standings(Group(("a", "b", "c"), (), 0.025, 390), images=60, blocks=(12,)))
    assert said == (
        "3 runs, each compared with the best over the same 12 clusters (60 images): 2 of the others are not separated "
        "from it. 12 clusters (60 images) find a difference of 2.5 points with a chance of 80 %; one point needs about "
        "78 clusters (some 390 images)."
    )
    few = standings(Group(("a", "b", "c"), (), enough=False), images=60, blocks=(9,))
    assert words.column(few) == "Too few clusters (9) to separate any of 3 runs; 10 are the least."


@pytest.mark.parametrize(
    ("group", "last"),
    [(Group(("a", "b"), ()), "from it."), (Group(("a", "b"), (), 4e-10, 10), "one point needs about 10.")],
)
def test_nothing_is_said_to_be_zero(group: Group, last: str) -> None:
    said = words.column(standings(group, images=12, blocks=(12,)))
    assert said.endswith(last) and "0.0" not in said.replace("less than 0.0001 points", "")


def test_one_run_alone_is_compared_with_nothing() -> None:
    assert words.what_was_compared([Group(("a",), ())], SimpleNamespace(images=200, blocks=(200,))) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("holding", "rare"), [(4, 1), (5, 0)])
def test_classes_of_fewer_than_five_images_are_counted_and_told(holding: int, rare: int) -> None:
    labelled = np.ones((12, 3), np.int64)
    labelled[holding:, 2] = 0
    effects = image_effects.of_arrays(labelled[None], 2 * labelled[None], labelled)
    assert (effects.rare, effects.classes) == (rare, 3)
    said = ["1 of 3 classes rest on fewer than five images, so intervals are too narrow"]
    found = words.rare(standings(Group(("a",), ()), rare=effects.rare, classes=effects.classes))
    assert found == (said if rare else [])
