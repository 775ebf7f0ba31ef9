"""Scores without a network again: presence, the worst classes and images, and what an oracle makes of kept maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import matthews_corrcoef

from harness.contracts import Row, boundary_width
from results.counts import boundaries, estimators, oracles
from results.counts.estimators import ClassCounts
from results.counts.presence import matthews, presence
from results.folder import keepsakes
from results.folder.rows import frame_of
from results.folder.store import Store
from results.tables import matrices, scores
from results.tables.evidence import Evidence, gather
from results.tables.explain import receipt
from results.tables.spec import TableSpec

CLASSES, IMAGES, NONE = 5, 40, 65535


def rows_of(rng: np.random.Generator, run_id: str, background: bool) -> tuple[list[Row], NDArray[np.bool_]]:
    """Rows, and which class (first axis: 0 true, 1 seen; then images, then classes) is present where."""
    rows, there = [], np.zeros((2, IMAGES, CLASSES + 1), bool)
    for number in range(IMAGES):
        pairs: dict[tuple[int, int], int] = {}
        for _ in range(rng.integers(1, 5)):
            true = int(rng.integers(0 if background else 1, CLASSES))  # class 5 is in no truth
            seen = int(rng.choice([true, 1, 3, 5, NONE]))
            pairs[true, seen] = pairs.get((true, seen), 0) + int(rng.integers(1, 9))
            there[0, number, true] = True
            if seen != NONE:
                there[1, number, seen] = True
        arrays = (np.array([pair[n] for pair in pairs]) for n in (0, 1))
        rows.append(Row(run_id, f"{number}", "ok", 0.1, None, *arrays, np.array(list(pairs.values()))))
    return [*rows, Row(run_id, "failed", "failed", 0.1, "MethodError: no")], there


@pytest.mark.parametrize("background", [False, True])
def test_presence_is_sklearns_correlation_class_by_class(rng: np.random.Generator, background: bool) -> None:
    made = {run_id: rows_of(rng, run_id, background) for run_id in ("a", "b")}
    rows = [row for own, _ in made.values() for row in own]
    order = rng.permutation(len(rows))
    parts = [frame_of([rows[n] for n in cut]) for cut in np.array_split(order, 3)]
    found = presence(parts, {"a": CLASSES, "b": CLASSES}, ["a", "b"] if background else [])
    for run_id, (_, there) in made.items():
        assert found[run_id].images == IMAGES
        true, seen = there[:, :, 0 if background else 1 :]
        for number, value in enumerate(matthews(found[run_id])):
            if 0 < true[:, number].sum() < IMAGES:
                assert value == pytest.approx(matthews_corrcoef(true[:, number], seen[:, number]), abs=1e-12)
            else:
                assert np.isnan(value)
    assert np.isnan(matthews(found["a"])[-1])  # in no image: nothing to know


def test_who_always_says_the_same_knows_nothing() -> None:
    """Class 1 is in half of the images; one run sees it in all, one in none, one where it is, one where it is not."""
    answers = {"all": (1, 1), "none": (2, 2), "right": (1, 2), "wrong": (2, 1)}
    rows = [
        Row(run_id, f"{place}{number}", "ok", 0.1, None, np.array([true]), np.array([seen]), np.array([3]))
        for run_id, pair in answers.items()
        for place, (true, seen) in enumerate(zip((1, 2), pair, strict=True))
        for number in range(4)
    ]
    found = presence([frame_of(rows)], dict.fromkeys(answers, 2))
    assert {run_id: matthews(one)[0] for run_id, one in found.items()} == {"all": 0, "none": 0, "right": 1, "wrong": -1}


def test_the_worst_classes_and_images() -> None:
    inside, labelled = np.array([1, 5, 9, 0, 0]), np.array([10, 10, 10, 10, 0])
    counts = ClassCounts(inside, labelled, inside + np.array([0, 0, 0, 0, 7]))  # the last is predicted, in no truth
    assert estimators.worst_class_iou(counts) == 0 and estimators.miou(counts) == pytest.approx((0.1 + 0.5 + 0.9) / 5)
    assert estimators.worst_decile_miou(counts) == 0  # a tenth of four labelled classes is one
    many = np.arange(1, 26)
    counts = ClassCounts(many, np.full(25, 100), many)
    assert estimators.worst_decile_miou(counts) == pytest.approx((0.01 + 0.02 + 0.03) / 3)  # of 25, rounded up
    assert estimators.worst_class_iou(counts) == pytest.approx(0.01)
    none = ClassCounts(*np.zeros((3, 2), np.int64))
    assert estimators.worst_class_iou(none) is None and estimators.worst_decile_miou(none) is None


TRUTH = np.array([[1, 1, 1, 2, 2, 2, NONE],
                  [1, 1, 1, 2, 2, 2, NONE],
                  [1, 1, 1, 3, 3, 3, 3]], np.uint16)  # fmt: skip


def miou_of(oracle: oracles.Oracle, predicted: NDArray[np.uint16]) -> float | None:
    return estimators.miou(oracles.counts_under([(TRUTH, predicted)], oracle, 3, background=False))


def test_regions_that_are_right_under_wrong_names_are_all_that_naming_costs() -> None:
    turned = np.array([0, 2, 3, 1], np.uint16)[np.where(TRUTH == NONE, 1, TRUTH)]
    assert miou_of(oracles.as_it_is, turned) == pytest.approx(0)
    assert miou_of(oracles.named_by_oracle, turned) == 1
    assert miou_of(oracles.drawn_by_oracle, turned) == pytest.approx(0)  # the names stay wrong


def test_names_that_are_right_for_most_of_a_region_are_all_that_grouping_costs() -> None:
    ragged = TRUTH.copy()
    ragged[TRUTH == NONE] = 2
    ragged[0, :3], ragged[1, 5], ragged[2, 6] = 3, 1, 2  # less than half of each true region
    assert miou_of(oracles.drawn_by_oracle, ragged) == 1
    inside, union = [6, 5, 3], [10, 7, 7]  # counted by hand, as it is
    plain = sum(one / other for one, other in zip(inside, union, strict=True)) / 3
    assert miou_of(oracles.as_it_is, ragged) == pytest.approx(plain)


def test_two_regions_of_one_class_are_named_apart_and_no_class_stays_none() -> None:
    predicted = np.full(TRUTH.shape, NONE, np.uint16)
    predicted[:, :2], predicted[:2, 4:] = 3, 3  # one over class 1, one over class 2 and void
    named = oracles.named_by_oracle(TRUTH, predicted)
    assert (named[:, :2] == 1).all() and (named[:2, 4:] == 2).all() and (named[2, 3:] == NONE).all()
    only_void = np.full(TRUTH.shape, NONE, np.uint16)
    only_void[:2, 6] = 2  # no scored pixel names it
    assert np.array_equal(oracles.named_by_oracle(TRUTH, only_void), only_void)


def regions_by_hand(labels: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Flood fill, pixel by pixel."""
    found, count = np.full(labels.shape, -1), 0
    for start in np.ndindex(labels.shape):
        if labels[start] == NONE or found[start] >= 0:
            continue
        waiting = [start]
        while waiting:
            y, x = waiting.pop()
            inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
            if inside and found[y, x] < 0 and labels[y, x] == labels[start]:
                found[y, x] = count
                waiting += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        count += 1
    return found


def test_oracles_choose_what_counting_by_hand_chooses(rng: np.random.Generator) -> None:
    truth = rng.choice(np.array([1, 2, 3, NONE], np.uint16), (9, 14), p=[0.4, 0.3, 0.2, 0.1])
    predicted = rng.choice(np.array([1, 2, 4, NONE], np.uint16), (9, 14))
    for oracle, drawn, other in (
        (oracles.named_by_oracle, predicted, truth),
        (oracles.drawn_by_oracle, truth, predicted),
    ):
        regions, made = regions_by_hand(drawn), oracle(truth, predicted)
        for region in range(regions.max() + 1):
            inside = regions == region
            voters = other[inside & (truth != NONE)] if drawn is predicted else other[inside]
            values = set(made[inside].tolist())
            counts = np.bincount(voters, minlength=1) if voters.size else np.array([0])
            best = int(counts.argmax()) if voters.size else int(drawn[inside][0])  # the lowest of equals
            assert values == {best}
        assert np.array_equal(made[regions < 0], predicted[regions < 0])


def eroded_by_hand(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """A square of 3 x 3, so many times, the world outside the image being empty."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        shifts = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
        mask = np.logical_and.reduce(shifts)
    return mask


@pytest.mark.parametrize(("shape", "width"), [((9, 14), 1), ((60, 90), 2), ((121, 200), 5)])
@pytest.mark.parametrize("background", [False, True])
def test_boundaries_are_what_eroding_class_by_class_takes(
    shape: tuple[int, int], width: int, background: bool, rng: np.random.Generator
) -> None:
    """Against the published steps, on blocks of classes with holes of void."""
    assert boundary_width(shape) == width

    def blocks(values: list[int]) -> NDArray[np.uint16]:
        small = rng.choice(np.array(values, np.uint16), (shape[0] // 8 + 1, shape[1] // 8 + 1))
        return small.repeat(8, axis=0).repeat(8, axis=1)[: shape[0], : shape[1]]

    pairs = [(blocks([0 if background else 1, 1, 2, NONE]), blocks([1, 2, 3, NONE])) for _ in range(3)]
    first = 0 if background else 1
    sums = np.zeros((2, 4 - first), np.int64)
    for truth, given in pairs:
        predicted = given.copy()
        predicted[truth == NONE] = NONE
        for number in range(first, 4):
            edges = [one & ~eroded_by_hand(one, width) for one in (truth == number, predicted == number)]
            sums[:, number - first] += (edges[0] & edges[1]).sum(), (edges[0] | edges[1]).sum()
    counts = boundaries.of_maps(pairs, 3, background)
    assert counts.intersection.tolist() == sums[0].tolist() and counts.union.tolist() == sums[1].tolist()


def test_a_shifted_square_has_the_boundary_iou_that_one_counts() -> None:
    """One pixel wide in 40 x 25: a frame of 5 x 5 has 16 pixels, and one shifted by a column shares 8 with it."""
    truth, predicted = np.full((40, 25), NONE, np.uint16), np.full((40, 25), NONE, np.uint16)
    truth[:], predicted[:] = 2, 2
    truth[10:15, 5:10], predicted[10:15, 6:11] = 1, 1
    counts = boundaries.of_maps([(truth, predicted)], 2, background=False)
    assert (counts.intersection[0], counts.union[0]) == (8, 24)


@pytest.fixture(scope="module")
def maps(toys: Store) -> Evidence:
    return gather(toys)


def test_kept_maps_are_scored_as_the_rows_are(maps: Evidence) -> None:
    """Of the kept images alone, `as it is` is the mIoU of their rows; both oracles are above it, and say so beside."""
    run_id = next(iter(maps.recipes))
    kept = sorted(keepsakes.kept_label_maps(maps.store.folder, {run_id: maps.images["image_id"].unique()})[run_id])
    rows = maps.store.rows([run_id])
    own = rows.filter(rows["image_id"].is_in(kept)).explode("true", "predicted", "pixels")
    plain = estimators.miou(estimators.counts_of(own, 4, background=False))
    for name in ("oracle_naming", "oracle_grouping"):
        found = scores.score(maps, run_id, name)
        assert found.value is not None and plain is not None and found.value > plain
        assert found.note == f"over 6 kept images, where mIoU is {100 * plain:.2f}"


def test_what_cannot_be_scored_says_why(maps: Evidence, tmp_path: Path) -> None:
    run_id = next(iter(maps.recipes))
    assert scores.score(maps, run_id, "presence_mcc").why.startswith("the vocabulary told which classes are present")
    store = Store.open(tmp_path / "bare")
    recipe = {**maps.recipes[run_id].as_dict(), "protocol": {"vocabulary": "all", "background": "ignored"}}
    store.write_recipe(run_id, json.loads(json.dumps(recipe)))
    with store.writer() as writer:
        writer.append([Row(run_id, str(n), "ok", 0.1, None, *np.array([[1 + n % 2], [1], [5]])) for n in range(4)])
    bare = gather(store, everything=True)
    assert scores.score(bare, run_id, "oracle_naming").why.startswith("no label maps are kept")
    assert scores.score(bare, run_id, "presence_mcc").value == 0  # class 1 is always seen


def test_tables_receipts_and_estimators_of_images_take_them(maps: Evidence) -> None:
    for value in ("oracle_naming", "worst_class_iou", "worst_decile_image_miou", "boundary_iou"):
        matrix = matrices.build_matrix(maps, TableSpec("t", value=value))
        assert any(cell.value is not None for line in matrix.cells for cell in line)
    assert "over 6 kept images" in " ".join(cell.note for line in matrices.build_matrix(
        maps, TableSpec("t", value="oracle_naming")).cells for cell in line)  # fmt: skip
    run_id = next(iter(maps.recipes))
    own = maps.images.filter(run_id=run_id)["image_miou"].drop_nulls().sort()
    worst = scores.score(maps, run_id, "worst_decile_image_miou").value
    assert worst == pytest.approx(own.head(3).mean())  # a tenth of 30
    (words,) = [lines for title, lines in receipt(maps, run_id, "oracle_grouping") if title == "Number"]
    assert words[0].startswith("oracle_grouping = ") and words[1].startswith("over 6 kept images")
