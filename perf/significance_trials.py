"""Simulated data sets go in; how often intervals cover and comparisons err or find comes out, as a table for docs/.

Images hold a few classes each, with even or skewed frequencies; an image, a class in an image, and a run in both are
harder or easier at random, and wrong pixels fall on other classes. The true mIoU of a run is that of 50,000 images.

    python -m perf.significance_trials [--trials 400] [--only coverage|comparisons]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.counts import image_effects, resampling, significance
from results.counts.image_effects import ImageEffects

IMAGES, CLASSES = (20, 50, 200, 500, 2000), (10, 40, 150)
RUNS = (2, 8, 30)
GAIN = 0.35  # log odds of a pixel's being right, by which the better half of the runs is better
_MANY, _AT_ONCE = 50_000, 5_000
_MOST = 700_000  # runs x images x classes of one simulated data set
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SimulatedWorld:
    """Which classes an image holds and how well they are found. present, odds: (classes,)."""

    present: NDArray[np.float64]
    odds: NDArray[np.float64]

    @classmethod
    def of(cls, rng: np.random.Generator, classes: int, skewed: bool) -> SimulatedWorld:
        """About three classes an image; skewed: the k-th class is k ** 1.2 times rarer than the first."""
        frequency = 1 / np.arange(1, classes + 1) ** 1.2 if skewed else np.ones(classes)
        quality = rng.beta(4, 3, classes)
        return cls(np.clip(3.5 * frequency / frequency.sum(), 0, 0.9), np.log(quality / (1 - quality)))

    def draw(
        self, rng: np.random.Generator, images: int, gains: Sequence[float], own: float = 0.8
    ) -> tuple[Counts, Counts, Counts]:
        """Intersections and unions (runs, images, classes) and labelled pixels (images, classes)."""
        shape = images, len(self.present)
        here = rng.random(shape) < self.present
        labelled = np.where(here, np.exp(rng.normal(0, 1, shape)) * 5000, 0).astype(np.int64)
        hardness = self.odds + rng.normal(0, 0.8, (images, 1)) + rng.normal(0, 0.7, shape)
        share = here / np.maximum(here.sum(axis=1, keepdims=True), 1)
        stray = self.present / self.present.sum()
        inside, union = (np.empty((len(gains), *shape), np.int64) for _ in range(2))
        for run, gain in enumerate(gains):
            right = 1 / (1 + np.exp(-(hardness + gain + rng.normal(0, own, shape))))
            inside[run] = labelled * right
            wrong = (labelled - inside[run]).sum(axis=1)
            given = (share * (0.8 * wrong)[:, None]).astype(np.int64)
            given[np.arange(images), rng.choice(shape[1], images, p=stray)] += (0.2 * wrong).astype(np.int64)
            union[run] = labelled + given
        return inside, union, labelled

    def truth(self, rng: np.random.Generator, images: int = _MANY) -> NDArray[np.float64]:
        """The IoU of every class over very many images, (classes,)."""
        sums = np.zeros((2, len(self.present)))
        for _ in range(images // _AT_ONCE):
            inside, union, _ = self.draw(rng, _AT_ONCE, [0.0])
            sums += inside[0].sum(axis=0), union[0].sum(axis=0)
        return sums[0] / np.maximum(sums[1], 1)


def coverage(images: int, classes: int, skewed: bool, trials: int, seed: int) -> tuple[float, float, float]:
    """How often the interval holds the mIoU of its classes over very many images; its width in points; rare classes."""
    rng, worlds = np.random.default_rng(seed), 5
    held, width, rare = [], [], []
    for _ in range(worlds):
        world = SimulatedWorld.of(rng, classes, skewed)
        truth = world.truth(rng)
        for _ in range(trials // worlds):
            inside, union, labelled = world.draw(rng, images, [0.0])
            effects = image_effects.of_arrays(inside, union, labelled)
            low, high = significance.interval(effects, "0") or (0.0, 1.0)
            held.append(low <= truth[union[0].any(axis=0)].mean() <= high)
            width.append(100 * (high - low))
            rare.append(effects.rare)
    return float(np.mean(held)), float(np.mean(width)), float(np.mean(rare))


def compared(
    images: int, classes: int, skewed: bool, gains: Sequence[float], trials: int, seed: int
) -> tuple[float, float, float]:
    """Shares of the trials: a run as good as the best is called worse; of the worse runs, those that are found.

    And how large a difference would be found with a chance of 80 %, in points. Runs of equal gain are equally good.
    """
    rng = np.random.default_rng(seed)
    wrong, found, detectable = [], [], []
    good = {str(n) for n, gain in enumerate(gains) if gain == max(gains)}
    for _ in range(trials):
        effects = drawn_counts(rng, images, classes, skewed, gains)
        group = significance.with_the_best(effects, int(rng.integers(2**32)))
        worse = set(effects.run_ids) - set(group.run_ids)
        wrong.append(bool(worse & good))
        found.append(len(worse - good) / max(len(gains) - len(good), 1))
        detectable.append(100 * (group.detectable or 0.0))
    return float(np.mean(wrong)), float(np.mean(found)), float(np.median(detectable))


def drawn_counts(
    rng: np.random.Generator, images: int, classes: int, skewed: bool, gains: Sequence[float]
) -> ImageEffects:
    """A world and a data set in it."""
    return image_effects.of_arrays(*SimulatedWorld.of(rng, classes, skewed).draw(rng, images, gains))


def show_coverage(trials: int) -> None:
    """One line a size."""
    print("| images | classes | frequencies | covers | width (points) | classes in fewer than 5 images |")
    print("|--:|--:|:--|--:|--:|--:|")
    for number, (images, classes, skewed) in enumerate(itertools.product(IMAGES, CLASSES, (False, True))):
        held, width, rare = coverage(images, classes, skewed, trials, number)
        kind = "skewed" if skewed else "even"
        print(f"| {images} | {classes} | {kind} | {held:.3f} | {width:.1f} | {rare:.0f} |", flush=True)


def show_comparisons(trials: int) -> None:
    """One line a size: all runs equal, then half of them better."""
    print(
        "| images | classes | frequencies | runs | all equal: any called worse "
        "| half worse: a good one called worse | half worse: found | detectable (points) |"
    )
    print("|--:|--:|:--|--:|--:|--:|--:|--:|")
    sizes = itertools.product(IMAGES, CLASSES, (False, True), RUNS)
    for number, (images, classes, skewed, runs) in enumerate(sizes):
        if runs * images * classes > _MOST:
            continue
        none, _, _ = compared(images, classes, skewed, [0.0] * runs, trials, number)
        gains = [GAIN] * (runs // 2) + [0.0] * (runs - runs // 2)
        wrong, found, least = compared(images, classes, skewed, gains, trials, 10_000 + number)
        kind = "skewed" if skewed else "even"
        line = f"| {images} | {classes} | {kind} | {runs} | {none:.3f} | {wrong:.3f} | {found:.2f} | {least:.1f} |"
        print(line, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m perf.significance_trials", description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--only", choices=("coverage", "comparisons"))
    options = parser.parse_args()
    resampling.MOST_RESAMPLES = resampling.LEAST_RESAMPLES  # as few as are ever drawn
    if options.only != "comparisons":
        show_coverage(options.trials)
    if options.only != "coverage":
        show_comparisons(options.trials)


if __name__ == "__main__":
    main()
