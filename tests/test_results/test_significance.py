"""The bootstrap: against a plain loop, against scipy, and by simulation of what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from seeds import seed_of

from harness.contracts import Row
from harness.errors import StoreError
from results import estimators, significance
from results.rows import frame_of
from results.significance import Bootstrap, Comparison, ImageCounts, bootstrap, compare, holm, image_counts, tie_groups
from results.tally import tally

SEED = seed_of(__name__)


def simulated(rng: np.random.Generator, gains: list[float], images: int = 120, classes: int = 6) -> ImageCounts:
    """Runs on the same images; a run's chance to get a pixel right is its gain plus that of image, run and class."""
    present = rng.random((images, classes)) < 0.5
    labelled = np.where(present, rng.integers(200, 2000, (images, classes)), 0)
    hardness = rng.normal(0.6, 0.1, (1, images, 1))
    own = rng.normal(0.0, 0.1, (len(gains), images, classes))
    chance = np.clip(hardness + own + np.array(gains)[:, None, None], 0.02, 0.98)
    inside = rng.binomial(labelled, chance)
    wrong = (labelled - inside).sum(axis=2, keepdims=True)
    predicted = inside + np.where(present, wrong // np.maximum(present.sum(axis=1), 1)[:, None], 0)
    union = labelled + predicted - inside
    names = tuple(f"r{i}" for i in range(len(gains)))
    return ImageCounts(names, tuple(map(str, range(images))), inside, union)


def plain_miou(counts: ImageCounts, run: int, weights: NDArray[np.int64]) -> float:
    inside = (counts.intersection[run] * weights[:, None]).sum(axis=0)
    union = (counts.union[run] * weights[:, None]).sum(axis=0)
    return float(np.mean([i / u for i, u in zip(inside, union, strict=True) if u]))


def test_every_resample_is_the_miou_of_its_weights() -> None:
    rng = np.random.default_rng(SEED)
    counts = simulated(rng, [0.0, 0.1, 0.2], images=9)
    counts.union[:, :, 4] = counts.intersection[:, :, 4] = 0  # a class that is absent everywhere
    result = bootstrap(counts, resamples=600, seed=5)
    everyone = np.ones(9, np.int64)
    assert result.score.tolist() == pytest.approx([plain_miou(counts, r, everyone) for r in range(3)], abs=1e-12)
    seen = 0
    for start, weights in significance._weights(600, 9, seed=5):
        assert (weights.sum(axis=1) == 9).all()
        for k in rng.integers(len(weights), size=5):
            expected = [plain_miou(counts, run, weights[k].astype(np.int64)) for run in range(3)]
            assert result.replicates[start + k].tolist() == pytest.approx(expected, abs=1e-12)
        seen += len(weights)
    assert seen == 600


def test_the_same_seed_gives_the_same_bits_and_more_resamples_begin_alike() -> None:
    counts = simulated(np.random.default_rng(SEED), [0.0, 0.1])
    first, again = bootstrap(counts, 300, seed=1), bootstrap(counts, 700, seed=1)
    np.testing.assert_array_equal(first.replicates, again.replicates[:300])
    assert (bootstrap(counts, 300, seed=2).replicates != first.replicates).any()


def test_a_run_against_itself_ties() -> None:
    counts = simulated(np.random.default_rng(SEED), [0.0])
    twice = ImageCounts(
        ("a", "b"), counts.image_ids, np.repeat(counts.intersection, 2, 0), np.repeat(counts.union, 2, 0)
    )
    result = bootstrap(twice, 500)
    (pair,) = compare(result)
    assert (pair.difference, pair.low, pair.high, pair.p, pair.p_holm) == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert tie_groups(result, [pair]) == [("a", "b")]


def test_a_planted_gain_is_found_and_ordered() -> None:
    counts = simulated(np.random.default_rng(SEED), [0.0, 0.15, 0.0005, 0.3])
    result = bootstrap(counts, 2000)
    pairs = compare(result)
    assert [len(group) for group in tie_groups(result, pairs)] == [1, 1, 2]
    assert tie_groups(result, pairs)[:2] == [("r3",), ("r1",)]
    big = next(p for p in pairs if (p.better, p.worse) == ("r3", "r1"))
    assert 0 < big.low < big.difference < big.high
    assert big.p == pytest.approx(significance.p_value(np.ones(2000), 120))
    low, high = result.interval("r3")
    assert low < result.score[3] < high


@pytest.mark.parametrize("images", [15, 60, 2000])
def test_p_is_the_level_at_which_the_interval_reaches_zero(images: int) -> None:
    rng = np.random.default_rng(SEED)
    replicates = np.stack([rng.normal(2.2, 1.0, 20_000), np.zeros(20_000)], axis=1)
    result = Bootstrap(("a", "b"), np.array([2.2, 0.0]), replicates, images)
    p = compare(result)[0].p
    assert compare(result, level=1 - 1.05 * p)[0].low > 0
    assert compare(result, level=1 - 0.95 * p)[0].low < 0


def test_a_run_ties_with_its_groups_best_not_with_its_neighbour() -> None:
    result = Bootstrap(tuple("abcd"), np.array([0.5, 0.9, 0.6, np.nan]), np.zeros((1, 4)), 9)
    apart = Comparison("b", "a", 0.4, 0.1, 0.7, 0.001, 0.01)
    ties = [Comparison("b", "c", 0.3, -0.1, 0.7, 0.2, 0.4), Comparison("c", "a", 0.1, -0.1, 0.2, 0.4, 0.4)]
    assert tie_groups(result, [apart, *ties]) == [("b", "c"), ("a",)]
    assert tie_groups(result, [apart, *ties], alpha=0.001) == [("b", "c", "a")]


def test_false_positives_stay_at_alpha_and_power_is_that_of_the_t_test() -> None:
    """Under no difference at most alpha of the pairs are called different, and intervals cover as often as they say.

    A planted gain is found about as often as a paired t-test on a plain mean finds it.
    """
    rng = np.random.default_rng(SEED)
    alpha, trials, images = 0.05, 1000, 60
    called = covered = found = found_by_t = 0
    for _ in range(trials):
        # One class and equal unions: the ratio of sums is a mean, whose t-test is the yardstick.
        noise = rng.integers(0, 400, (2, images, 1))
        union = np.full((2, images, 1), 1000)
        null = bootstrap(ImageCounts(("a", "b"), (), 300 + noise, union), 400, int(rng.integers(2**32)))
        (pair,) = compare(null, level=1 - alpha)
        called += pair.p < alpha
        covered += pair.low <= 0 <= pair.high
        shifted = 300 + noise + np.array([0, 55])[:, None, None]
        result = bootstrap(ImageCounts(("a", "b"), (), shifted, union), 400, int(rng.integers(2**32)))
        (gain,) = compare(result)
        found += gain.p < alpha and gain.better == "b"
        found_by_t += stats.ttest_rel(shifted[1, :, 0], shifted[0, :, 0]).pvalue < alpha
    chance = stats.binom(trials, alpha)
    assert called <= chance.ppf(1 - 1e-6)
    assert called >= chance.ppf(1e-6)  # a test that never calls anything would be worthless
    assert trials - covered <= chance.ppf(1 - 1e-6)
    assert abs(found - found_by_t) <= 0.04 * trials
    assert 0.5 * trials < found < trials


def test_familywise_errors_of_many_equal_runs_stay_below_alpha() -> None:
    rng = np.random.default_rng(SEED)
    trials, wrong = 60, 0
    for _ in range(trials):
        counts = simulated(rng, [0.0] * 5, images=80)
        result = bootstrap(counts, 2000, int(rng.integers(2**32)))
        wrong += len(tie_groups(result, compare(result), alpha=0.05)) > 1
    assert wrong <= stats.binom(trials, 0.05).ppf(1 - 1e-6)


@pytest.mark.parametrize("images", [20, 60, 2000])
@pytest.mark.parametrize("tail", [0.0005, 0.025, 0.2])
def test_the_expanded_tail_is_students(images: int, tail: float) -> None:
    expected = stats.norm.cdf(-stats.t.ppf(1 - tail, images - 1) * np.sqrt(images / (images - 1)))
    expanded = significance._expanded_tail(tail, images)
    assert expanded == pytest.approx(expected, rel=2e-2)
    assert significance._nominal_tail(expanded, images) == pytest.approx(tail, rel=1e-6)


def test_holm_equals_scipy_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def overlap_row(run_id: str, image_id: str, *overlap: tuple[int, int, int]) -> Row:
    return Row(run_id, image_id, "ok", 0.1, None, *np.array(overlap, np.int64).reshape(-1, 3).T)


@pytest.mark.parametrize("background", [False, True])
def test_counts_are_those_of_the_estimators_on_common_images(background: bool) -> None:
    first = 0 if background else 1
    rng = np.random.default_rng(SEED)
    data = []
    for run_id in ("a", "b"):
        for image in range(5):
            pairs = rng.choice((4 - first) * 5, 6, replace=False)
            overlap = [(int(p) // 5 + first, (1, 2, 3, 255, first)[int(p) % 5]) for p in pairs]
            data.append(
                overlap_row(run_id, str(image), *((t, p, 7 + k) for k, (t, p) in enumerate(dict.fromkeys(overlap))))
            )
    data += [overlap_row("a", "5", (1, 1, 9)), Row("b", "5", "failed", 0.1, "boom"), overlap_row("c", "0", (1, 1, 9))]
    data += [overlap_row("a", "6"), overlap_row("b", "6")]  # an image without a scored pixel
    chunks = [frame_of(data[:4]), frame_of(data[4:])]
    found = image_counts(chunks, ["a", "b"], 3, background)
    assert found.image_ids == ("0", "1", "2", "3", "4", "6")
    assert found.left_out == 1
    for place, run_id in enumerate(("a", "b")):
        kept = frame_of([r for r in data if r.run_id == run_id and r.image_id != "5"])
        sums = tally([kept], [run_id] if background else [])
        expected = estimators.counts_of(sums.confusions, 3, background)
        np.testing.assert_array_equal(found.intersection[place].sum(axis=0), expected.intersection)
        np.testing.assert_array_equal(found.union[place].sum(axis=0), expected.union)
        assert bootstrap(found, 10).score[place] == pytest.approx(estimators.miou(expected), abs=1e-12)


def test_runs_without_a_common_image_are_refused() -> None:
    data = [overlap_row("a", "0", (1, 1, 9)), overlap_row("b", "1", (1, 1, 9))]
    with pytest.raises(StoreError, match="no image is scored in all of the 2 runs"):
        image_counts([frame_of(data)], ["a", "b"], 2, False)
