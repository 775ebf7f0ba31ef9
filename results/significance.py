"""Per-image counts of the runs of one benchmark go in; intervals, paired differences and tie groups come out.

The statistic is the ratio-of-sums mIoU (mmseg's), so the images are what is drawn again (the bootstrap, Efron 1979).
All runs of a benchmark share one resampling matrix: each resample gives every image a weight, the number of times it
was drawn, and one matrix product of weights (resamples, images) with integer intersections and unions (images, runs x
classes) gives the sums of all runs at once. Those sums are integers below 2^53, exact in float64 in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.errors import StoreError

Floats = NDArray[np.float64]
_BLOCK = 250  # resamples that go through the product together: 6 MB an array at 20 runs x 150 classes
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Integer counts of some runs on the same images: intersection and union, (runs, images, classes).

    left_out: images that are not ok in every run and so are in no comparison.
    """

    run_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    left_out: int = 0


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """mIoU 0..1 of each run (runs,), and of each resample (resamples, runs); `images` is how many there were."""

    run_ids: tuple[str, ...]
    score: Floats
    replicates: Floats
    images: int

    def interval(self, run_id: str, level: float = 0.95) -> tuple[float, float]:
        """The interval of a run's mIoU."""
        return _interval(self.replicates[:, self.run_ids.index(run_id)], level, self.images)


@dataclass(frozen=True)
class Comparison:
    """Run `better` against run `worse` on the same images: difference of mIoU (>= 0), its interval, p-values."""

    better: str
    worse: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def image_counts(chunks: Iterable[pl.DataFrame], run_ids: Sequence[str], classes: int, background: bool) -> ImageCounts:
    """Counts of the given runs (of one benchmark and protocol) from `Store.chunks`, over the images that all have.

    Classes 1..classes are scored, and 0 before them if `background`. StoreError when no image is ok in every run.
    """
    frames = [chunk.filter((pl.col("status") == "ok") & pl.col("run_id").is_in(list(run_ids))) for chunk in chunks]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"run_id": pl.String, "image_id": pl.String})
    tallied = rows.group_by("image_id").agg(pl.col("run_id").n_unique())
    common = sorted(tallied.filter(pl.col("run_id") == len(set(run_ids)))["image_id"])
    if not common:
        raise StoreError(f"no image is scored in all of the {len(run_ids)} runs; finish the sweep, then compare")
    place = {name: pl.Enum(list(ids)) for name, ids in (("run_id", run_ids), ("image_id", common))}
    rows = rows.filter(pl.col("image_id").is_in(common))
    lines = rows.select("run_id", "image_id", "true", "predicted", "pixels").explode("true", "predicted", "pixels")
    index = [lines[name].cast(kind).to_physical().to_numpy().astype(np.int64) for name, kind in place.items()]
    overlap = [lines[name].fill_null(0).to_numpy().astype(np.int64) for name in ("true", "predicted", "pixels")]
    shape = (len(run_ids), len(common), classes + int(background))
    sums = _counts(index, overlap, shape, first=0 if background else 1)
    return ImageCounts(tuple(run_ids), tuple(common), *sums, left_out=tallied.height - len(common))


def _counts(
    index: Sequence[NDArray[np.int64]], overlap: Sequence[NDArray[np.int64]], shape: tuple[int, int, int], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union, of `shape`, from overlaps with the positions of their runs and images."""
    (run, image), (true, predicted, pixels) = index, overlap
    true, predicted = true - first, predicted - first
    scored = (true >= 0) & (true < shape[2])
    given = scored & (predicted >= 0) & (predicted < shape[2])
    right = given & (true == predicted)
    inside, union = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(inside, (run[right], image[right], true[right]), pixels[right])
    np.add.at(union, (run[scored], image[scored], true[scored]), pixels[scored])
    np.add.at(union, (run[given], image[given], predicted[given]), pixels[given])
    return inside, union - inside


def bootstrap(counts: ImageCounts, resamples: int = 10_000, seed: int = 0) -> Bootstrap:
    """mIoU of every run on every resample; the same counts and seed give the same bits.

    No p-value falls below 2 / resamples, so after Holm's rule n runs need more than n (n - 1) / alpha resamples.
    """
    runs, images, classes = counts.intersection.shape
    columns = [np.moveaxis(c, 1, 0).reshape(images, runs * classes) for c in (counts.intersection, counts.union)]
    # A column that is zero for all images stays zero: absent classes need no product.
    used = columns[1].any(axis=0)
    inside, union = (column[:, used].astype(np.float64) for column in columns)
    run_of = np.repeat(np.arange(runs), classes)[used]
    replicates = np.empty((resamples, runs))
    for start, weights in _weights(resamples, images, seed):
        replicates[start : start + len(weights)] = _mious(weights @ inside, weights @ union, run_of, runs)
    everyone = np.ones((1, images))
    score = _mious(everyone @ inside, everyone @ union, run_of, runs)[0]
    return Bootstrap(counts.run_ids, score, replicates, images)


def _weights(resamples: int, images: int, seed: int) -> Iterator[tuple[int, Floats]]:
    """Blocks of multinomial weights (up to _BLOCK, images) with the number of their first resample."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = rng.integers(images, size=(rows, images)) + np.arange(rows)[:, None] * images
        yield start, np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _mious(inside: Floats, union: Floats, run_of: NDArray[np.int64], runs: int) -> Floats:
    """mmseg's mIoU (resamples, runs) from sums (resamples, columns); NaN for a run without a scored pixel."""
    there = union > 0
    iou = np.divide(inside, union, out=np.zeros_like(inside), where=there)
    bounds = np.searchsorted(run_of, np.arange(runs + 1))
    out = np.full((len(iou), runs), np.nan)
    for run, (low, high) in enumerate(pairwise(bounds)):
        number = there[:, low:high].sum(axis=1)
        np.divide(iou[:, low:high].sum(axis=1), number, out=out[:, run], where=number > 0)
    return out


def compare(result: Bootstrap, level: float = 0.95) -> list[Comparison]:
    """Every pair of runs, the better one first, in order of score; p-values by Holm's rule over all pairs.

    A run without a score is in no pair.
    """
    order = [int(i) for i in np.argsort(-result.score, kind="stable") if not np.isnan(result.score[i])]
    pairs = [(a, b) for place, a in enumerate(order) for b in order[place + 1 :]]
    p, intervals = [], []
    for a, b in pairs:  # one difference at a time: those of many pairs would fill the memory
        difference = result.replicates[:, a] - result.replicates[:, b]
        p.append(p_value(difference, result.images))
        intervals.append(_interval(difference, level, result.images))
    corrected = holm(p)
    return [
        Comparison(
            result.run_ids[a],
            result.run_ids[b],
            float(result.score[a] - result.score[b]),
            *intervals[n],
            p[n],
            corrected[n],
        )
        for n, (a, b) in enumerate(pairs)
    ]


def p_value(differences: Floats, images: int) -> float:
    """Two-sided p of "no difference": twice the smaller share of resamples on either side of 0, at most 1.

    It is the level at which the interval of the same resamples first reaches 0.
    """
    differences = differences[~np.isnan(differences)]
    side = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    tail = min(0.5, (side + 1) / (differences.size + 1))
    return min(1.0, 2 * _nominal_tail(tail, images))


def _interval(replicates: Floats, level: float, images: int) -> tuple[float, float]:
    """The percentile interval, expanded for few images; NaN where no resample is defined."""
    tail = _expanded_tail((1 - level) / 2, images)
    defined = replicates[~np.isnan(replicates)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _expanded_tail(tail: float, images: int) -> float:
    """The share of resamples to cut off on a side so that a mean of `images` values is covered at the nominal level.

    Hesterberg 2015, What Teachers Should Know About the Bootstrap, 3.3: percentile intervals are too narrow by
    sqrt((n - 1) / n) and use normal quantiles where Student's are due.
    """
    return _NORMAL.cdf(-_student(-_NORMAL.inv_cdf(tail), images - 1) * np.sqrt(images / max(images - 1, 1)))


def _nominal_tail(expanded: float, images: int) -> float:
    """The inverse of `_expanded_tail`, by bisection."""
    low, high = 1e-12, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _expanded_tail(middle, images) < expanded else (low, middle)
    return high


def _student(z: float, freedom: int) -> float:
    """Student's quantile for the normal quantile z >= 0 (Abramowitz and Stegun 26.7.5)."""
    n = max(freedom, 1)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given."""
    adjusted = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def tie_groups(result: Bootstrap, comparisons: Sequence[Comparison], alpha: float = 0.05) -> list[tuple[str, ...]]:
    """Runs by score in groups: a run joins its group unless it is significantly worse than the group's best (Holm)."""
    separated = {(c.better, c.worse) for c in comparisons if c.p_holm <= alpha}
    groups: list[list[str]] = []
    for index in np.argsort(-result.score, kind="stable"):
        run_id = result.run_ids[int(index)]
        if np.isnan(result.score[index]):
            continue
        if groups and (groups[-1][0], run_id) not in separated:
            groups[-1].append(run_id)
        else:
            groups.append([run_id])
    return [tuple(group) for group in groups]
