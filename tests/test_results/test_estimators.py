"""The estimators: the hand-worked fixture, scikit-learn, torchmetrics, and laws that hold for any label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from seeds import seed_of
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, recall_score

from harness.contracts import IGNORED, WIDE_IGNORED, Row
from results.counts import estimators
from results.counts.estimators import ClassCounts, RunningScores
from results.counts.tally import Tally, tally
from results.folder.rows import checked, frame_of

Map = NDArray[np.uint8]
SEED = seed_of(__name__)


def row_of(truth: Map, label_map: Map, run_id: str = "r", image_id: str = "0", background: bool = True) -> Row:
    """A row made pixel by pixel, the slow and plain way. Maps are numbered as truths of 8 bits."""
    overlap: dict[tuple[int, int], int] = {}
    for t, p in zip(truth.ravel().tolist(), label_map.ravel().tolist(), strict=True):
        if t != IGNORED and (background or t != 0):
            pair = (t, WIDE_IGNORED if p == IGNORED else p)
            overlap[pair] = overlap.get(pair, 0) + 1
    columns = np.array([(t, p, n) for (t, p), n in overlap.items()], np.int64).reshape(-1, 3).T
    return checked([Row(run_id, image_id, "ok", 0.1, None, *columns)])[0]


def tallied(maps: Sequence[tuple[Map, Map]], background: bool = True) -> Tally:
    rows = [row_of(t, p, "r", f"{i:04d}", background) for i, (t, p) in enumerate(maps)]
    return tally([frame_of(rows)], ["r"] if background else [])


def counts(maps: Sequence[tuple[Map, Map]], classes: int, background: bool = True) -> ClassCounts:
    return estimators.counts_of(tallied(maps, background).confusions, classes, background)


# benchmarks.md 13.2, its classes 0..3 as our 1..4: background is not scored.
FIXTURE = [
    (np.array([[1, 1, 2], [1, 255, 2]], np.uint8), np.array([[1, 2, 2], [1, 1, 2]], np.uint8)),
    (np.array([[2, 2, 1, 255]], np.uint8), np.array([[2, 3, 1, 2]], np.uint8)),
]


def test_the_hand_worked_fixture() -> None:
    found = counts(FIXTURE, 4, background=False)
    expected = {
        "miou": 0.45,
        "miou_gt_present": 0.675,
        "miou_all_zero": 0.3375,
        "pixel_accuracy": 0.75,
        "mean_accuracy": 0.75,
        "mean_dice": 0.535714285714,
        "mean_f_score": 0.803571428571,
        "frequency_weighted_iou": 0.5 * 0.75 + 0.5 * 0.6,
        "worst_class_iou": 0.6,
        "worst_decile_miou": 0.6,
    }
    assert set(expected) == set(estimators.SCORES)
    for name, value in expected.items():
        assert estimators.SCORES[name](found) == pytest.approx(value, abs=1e-12), name
    np.testing.assert_allclose(estimators.class_iou(found), [0.75, 0.6, 0.0, np.nan])
    images = tallied(FIXTURE, background=False).images["image_miou"]
    assert images.to_list() == pytest.approx([(2 / 3 + 2 / 3) / 2, (1 + 0.5 + 0) / 3])
    assert estimators.image_miou(images) == pytest.approx(0.583333333333, abs=1e-12)


def test_a_class_that_spills_over_background_pays_only_where_background_is_scored() -> None:
    truth, ones = np.zeros((10, 10), np.uint8), np.ones((10, 10), np.uint8)
    truth[:5] = 1
    assert estimators.class_iou(counts([(truth, ones)], 1))[1] == 0.5
    assert estimators.class_iou(counts([(truth, ones)], 1, background=False)).tolist() == [1.0]
    scored = counts([(truth, ones)], 1)
    assert estimators.miou(scored) == 0.25


def random_maps(
    rng: np.random.Generator, classes: int, images: int, first: int = 0, no_class: bool = False
) -> list[tuple[Map, Map]]:
    """Truths and label maps of mixed sizes, a fifth ignored, a few classes an image, the last class only predicted."""
    maps = []
    for _ in range(images):
        shape = rng.integers(3, 60, 2)
        present = rng.choice(np.arange(first, classes), min(4, classes - first), replace=False)
        truth = rng.choice(present, shape).astype(np.uint8)
        guess = rng.integers(first, classes + 1, shape).astype(np.uint8)
        label_map = np.where(rng.random(shape) < 0.6, truth, guess).astype(np.uint8)
        truth[rng.random(shape) < 0.2] = IGNORED
        if no_class:
            label_map[rng.random(shape) < 0.1] = 255
        maps.append((truth, label_map))
    return maps


def flat(maps: Sequence[tuple[Map, Map]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth = np.concatenate([t.ravel() for t, _ in maps]).astype(np.int64)
    label_map = np.concatenate([p.ravel() for _, p in maps]).astype(np.int64)
    return truth[truth != IGNORED], label_map[truth != IGNORED]


@pytest.mark.parametrize("classes", [2, 19, 59, 150])
def test_scores_equal_scikit_learn(classes: int) -> None:
    maps = random_maps(np.random.default_rng(SEED), classes, images=12)
    truth, label_map = flat(maps)
    found = counts(maps, classes)  # background and classes 1..classes, the last never labelled
    every = np.arange(classes + 1)
    seen = np.union1d(truth, label_map)
    assert estimators.miou(found) == pytest.approx(jaccard_score(truth, label_map, average="macro"), abs=1e-9)
    np.testing.assert_allclose(
        estimators.class_iou(found)[seen], jaccard_score(truth, label_map, labels=seen, average=None), atol=1e-9
    )
    zero = jaccard_score(truth, label_map, labels=every, average="macro", zero_division=0)
    assert estimators.miou_all_zero(found) == pytest.approx(zero, abs=1e-9)
    present = jaccard_score(truth, label_map, labels=np.unique(truth), average="macro")
    assert estimators.miou_gt_present(found) == pytest.approx(present, abs=1e-9)
    weighted = jaccard_score(truth, label_map, average="weighted", zero_division=0)
    assert estimators.frequency_weighted_iou(found) == pytest.approx(weighted, abs=1e-9)
    assert estimators.pixel_accuracy(found) == pytest.approx(accuracy_score(truth, label_map), abs=1e-9)
    assert estimators.mean_dice(found) == pytest.approx(f1_score(truth, label_map, average="macro"), abs=1e-9)
    recall = recall_score(truth, label_map, labels=np.unique(truth), average="macro")
    assert estimators.mean_accuracy(found) == pytest.approx(recall, abs=1e-9)
    true_positive = [c for c in seen if ((truth == c) & (label_map == c)).any()]
    f_score = f1_score(truth, label_map, labels=true_positive, average="macro")
    assert estimators.mean_f_score(found) == pytest.approx(f_score, abs=1e-9)
    each = [jaccard_score(*flat([pair]), average="macro") for pair in maps]
    images = tallied(maps).images["image_miou"]
    assert images.to_list() == pytest.approx(each, abs=1e-9)
    assert estimators.image_miou(images) == pytest.approx(np.mean(each), abs=1e-9)


@pytest.mark.parametrize("classes", [19, 150])
def test_pixels_without_a_class_are_misses_of_their_own_class_only(classes: int) -> None:
    maps = random_maps(np.random.default_rng(SEED + 1), classes, images=8, no_class=True)
    truth, label_map = flat(maps)
    seen = np.setdiff1d(np.union1d(truth, label_map), [255])
    expected = jaccard_score(truth, label_map, labels=seen, average="macro")
    assert estimators.miou(counts(maps, classes)) == pytest.approx(expected, abs=1e-9)
    nothing = [(t, np.full_like(p, 255)) for t, p in maps]
    assert estimators.miou(counts(nothing, classes)) == 0.0
    assert estimators.pixel_accuracy(counts(nothing, classes)) == 0.0


@pytest.mark.parametrize("classes", [19, 150])
def test_counts_equal_torchmetrics(classes: int) -> None:
    """torchmetrics divides in float32: its integer matrix is compared exactly, its last number to float32's grain."""
    torch = pytest.importorskip("torch")
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

    maps = random_maps(np.random.default_rng(SEED + 2), classes, images=6)
    size = classes + 1
    matrix = MulticlassConfusionMatrix(size, ignore_index=IGNORED)
    jaccard = MulticlassJaccardIndex(size, average="macro", ignore_index=IGNORED)
    for truth, label_map in maps:
        pair = torch.from_numpy(label_map.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
        matrix.update(*pair)
        jaccard.update(*pair)
    ours = np.zeros((size, size), np.int64)
    found = tallied(maps).confusions
    ours[found["true"].to_numpy(), found["predicted"].to_numpy()] = found["pixels"].to_numpy()
    np.testing.assert_array_equal(ours, matrix.compute().numpy())
    assert estimators.miou(counts(maps, classes)) == pytest.approx(float(jaccard.compute()), abs=1e-6)


def test_confusions_equal_scikit_learn_and_name_the_words() -> None:
    maps = random_maps(np.random.default_rng(SEED + 3), 5, images=4)
    truth, label_map = flat(maps)
    names = ["cat", "dog", "cow", "hen", "pig"]
    words = estimators.confused_with(tallied(maps).confusions, names)
    expected = confusion_matrix(truth, label_map, labels=range(6))
    full = ["background", *names]
    for true, predicted, pixels, share in words.iter_rows():
        t, p = full.index(true), full.index(predicted)
        assert t != p
        assert pixels == expected[t, p]
        assert share == pytest.approx(expected[t, p] / expected[t].sum(), abs=1e-12)
    shares = words.with_columns(place=pl.col("true").replace_strict(full, range(6))).select("place", -pl.col("share"))
    assert shares.rows() == sorted(shares.rows())  # classes in order, the most frequent mistake first
    assert words.height == int((expected[~np.eye(6, dtype=bool)] > 0).sum())
    held = counts(maps, 5)
    assert held.labelled.tolist() == expected.sum(axis=1).tolist()
    assert held.predicted.tolist() == expected.sum(axis=0).tolist()
    pig = full.index("pig")  # never labelled, but predicted
    assert held.labelled[pig] == 0 and estimators.class_iou(held)[pig] == 0.0


def test_where_background_is_not_scored_it_is_neither_truth_nor_class() -> None:
    """Even if rows held it: its pixels are left out, and who calls a pixel background gives it no class."""
    maps = random_maps(np.random.default_rng(SEED + 4), 5, images=6)
    rows = [frame_of([row_of(t, p, "r", f"{i:04d}", background=True) for i, (t, p) in enumerate(maps)])]
    without = [
        (np.where(t == 0, IGNORED, t).astype(np.uint8), np.where(p == 0, 255, p).astype(np.uint8)) for t, p in maps
    ]
    expected = tallied(without, background=False)
    assert tally(rows).confusions.equals(expected.confusions)
    assert tally(rows).images["image_miou"].equals(expected.images["image_miou"])
    raw = estimators.counts_of(tally(rows, ["r"]).confusions, 5, background=False)
    for name, score in estimators.SCORES.items():
        assert score(raw) == score(estimators.counts_of(expected.confusions, 5, background=False)), name
    given = [sum(int(((p == c) & (t != IGNORED)).sum()) for t, p in without) for c in range(1, 6)]
    assert raw.predicted.tolist() == given


def test_what_is_undefined_is_none() -> None:
    nothing = counts([(np.full((2, 3), IGNORED, np.uint8), np.ones((2, 3), np.uint8))], 3)
    assert {name: score(nothing) for name, score in estimators.SCORES.items()} == dict.fromkeys(estimators.SCORES)
    assert estimators.image_miou([None, None]) is None
    assert RunningScores().miou("r") is None


maps_of_one_size = st.tuples(
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), min_size=12, max_size=12),
    st.lists(st.sampled_from([0, 1, 2, 3, 4]), min_size=12, max_size=12),
).map(lambda pair: (np.array(pair[0], np.uint8).reshape(3, 4), np.array(pair[1], np.uint8).reshape(3, 4)))
some_maps = st.lists(maps_of_one_size, min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(maps=some_maps, order=st.randoms(use_true_random=False), cut=st.integers(0, 5))
def test_sums_depend_on_no_split_and_no_order(maps: list[tuple[Map, Map]], order: object, cut: int) -> None:
    rows = [row_of(t, p, "r", str(i)) for i, (t, p) in enumerate(maps)]
    whole = tally([frame_of(rows)], ["r"])
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    parts = [frame_of(part) for part in (shuffled[:cut], shuffled[cut:])]
    split = tally(parts, ["r"])
    assert split.confusions.equals(whole.confusions)
    assert split.images.equals(whole.images)
    valid = sum(int((t != IGNORED).sum()) for t, _ in maps)
    assert whole.confusions["pixels"].sum() == valid
    running = RunningScores()
    running.add(shuffled[:cut])
    running.add(shuffled[cut:])
    assert running.miou("r") == estimators.miou(estimators.counts_of(whole.confusions, 4, True))


@settings(max_examples=40, deadline=None)
@given(maps=some_maps, background=st.booleans())
def test_an_images_own_score_is_that_of_a_data_set_of_one(maps: list[tuple[Map, Map]], background: bool) -> None:
    images = tallied(maps, background).images["image_miou"].to_list()
    alone = [estimators.miou(counts([pair], 4, background)) for pair in maps]
    assert images == pytest.approx(alone, abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(maps=some_maps, numbers=st.permutations([7, 254, 255, 256, 1000, 65534]), background=st.booleans())
def test_numbers_that_need_16_bits_change_no_score_and_no_bit_of_others(
    maps: list[tuple[Map, Map]], numbers: list[int], background: bool
) -> None:
    few = [row_of(t, p, "few", f"{i:04d}", background) for i, (t, p) in enumerate(maps)]
    table = np.arange(WIDE_IGNORED + 1)
    table[1:5] = numbers[:4]
    many = list(checked(replace(r, run_id="many", true=table[r.true], predicted=table[r.predicted]) for r in few))
    scored = ["few", "many"] if background else []
    both = tally([frame_of([*few, *many])], scored)
    own = {run_id: both.images.filter(run_id=run_id)["image_miou"] for run_id in ("few", "many")}
    for run_id, rows in (("few", few), ("many", many)):
        alone = tally([frame_of([row]) for row in rows], scored)
        assert own[run_id].equals(alone.images["image_miou"])  # to the last bit, whatever else is looked at
    assert own["many"].to_list() == pytest.approx(own["few"].to_list(), abs=1e-15)
    one, other = (
        estimators.counts_of(both.confusions.filter(run_id=run_id), classes, background)
        for run_id, classes in (("few", 4), ("many", 65534))
    )
    for name in ("miou", "miou_gt_present", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_dice"):
        assert estimators.SCORES[name](other) == pytest.approx(estimators.SCORES[name](one), abs=1e-15), name
    running = RunningScores()
    running.add(many[:1])
    first = tally([frame_of(many[:1])], ["many"]).confusions
    assert running.miou("many") == estimators.miou(estimators.counts_of(first, 65534, True))
    running.add(many[1:])
    whole = tally([frame_of(many)], ["many"]).confusions
    assert running.miou("many") == estimators.miou(estimators.counts_of(whole, 65534, True))


@settings(max_examples=40, deadline=None)
@given(maps=some_maps, names=st.permutations(range(5)), noise=maps_of_one_size)
def test_renaming_and_ignored_pixels_change_no_score(
    maps: list[tuple[Map, Map]], names: list[int], noise: tuple[Map, Map]
) -> None:
    before = counts(maps, 4)
    table = np.array([*names, *range(5, 256)], np.uint8)
    renamed = counts([(table[t], table[p]) for t, p in maps], 4)
    disturbed = counts([(t, np.where(t == IGNORED, noise[1], p).astype(np.uint8)) for t, p in maps], 4)
    for name, score in estimators.SCORES.items():
        assert score(renamed) == pytest.approx(score(before), abs=1e-15), name
        assert score(disturbed) == score(before), name
    np.testing.assert_array_equal(renamed.intersection[names], before.intersection)


@settings(max_examples=25, deadline=None)
@given(maps=some_maps)
def test_perfect_label_maps_score_one(maps: list[tuple[Map, Map]]) -> None:
    truth = [(t, np.where(t == IGNORED, 0, t).astype(np.uint8)) for t, _ in maps]
    perfect = counts(truth, 4)
    present = int((perfect.labelled > 0).sum())
    for name, score in estimators.SCORES.items():
        expected = present / 5 if name == "miou_all_zero" else 1.0
        assert score(perfect) == (pytest.approx(expected, abs=1e-15) if present else None), name
