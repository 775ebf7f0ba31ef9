"""What images do to runs goes in; what chance alone does to the differences between all runs comes out, by resampling.

Images are drawn again with replacement, the same for all runs (the bootstrap, Efron 1979), on the leave-one-out values
of mIoU, so that what is held is runs x images and resamples x runs, whatever the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from results.counts.image_effects import Floats, ImageEffects

MOST_RESAMPLES, LEAST_RESAMPLES = 10_000, 2_000
_MOST_DIFFERENCES = 400_000_000  # resamples x runs x runs: some seconds on one core
_BLOCK = 250  # resamples that are drawn at a time
DUST = 1e-9  # what floats add to a difference
_NOTHING = 1e-13  # of a mIoU: below what one pixel does in the largest data sets
_NEAR = 1e-6  # of the runs' own variance: below it that of their difference is summed image by image


@dataclass(frozen=True, eq=False)
class Drawn:
    """Runs with standard errors of their paired differences (runs, runs) and what chance alone does to them.

    largest: (resamples, runs), how far above each run another one comes by chance, at most, in standard errors.
    """

    effects: ImageEffects
    errors: Floats
    largest: Floats

    @classmethod
    def of(cls, effects: ImageEffects, seed: int) -> Drawn:
        errors = _errors(effects.values)
        return cls(effects, errors, _largest(effects, errors, seed))


def threshold(largest: Floats, alpha: float) -> float:
    """What the observed must exceed for p <= alpha."""
    number = largest.size + 1
    return float(np.sort(largest)[-max(math.floor(alpha * number + DUST), 1)])


def _errors(values: Floats) -> Floats:
    """Standard errors of all paired differences, (runs, runs); 0 where two runs answer alike on every image."""
    products = values.T @ values
    own = np.diag(products)
    squares = own[:, None] + own[None, :] - 2 * products
    near = squares <= _NEAR * np.maximum(own[:, None], own[None, :])  # what rounding may have eaten
    _, alike = np.unique([hash(column.tobytes()) for column in values.T], return_inverse=True)
    same = alike[:, None] == alike[None, :]
    squares[same] = 0.0
    for run in np.flatnonzero((near & ~same).any(axis=1)):
        others = np.flatnonzero(near[run] & ~same[run])
        squares[run, others] = ((values[:, others] - values[:, run : run + 1]) ** 2).sum(axis=0)
    return np.sqrt(squares)


def studentised(gaps: Floats | float, errors: Floats) -> Floats:
    """Differences by their standard errors; without an error, a difference is beyond all chance, and none is 0."""
    gaps = np.asarray(gaps, np.float64)
    gaps = np.where(np.abs(gaps) > _NOTHING, gaps, 0.0)
    without = np.where(gaps > DUST, np.inf, 0.0)
    return np.divide(gaps, errors, out=without, where=np.asarray(errors) > 0)


def _largest(effects: ImageEffects, errors: Floats, seed: int) -> Floats:
    """See `Drawn`."""
    runs = len(effects.run_ids)
    inverse = np.divide(1.0, errors, out=np.zeros_like(errors), where=errors > 0)
    number = resamples(runs)
    largest = np.empty((number, runs))
    for start, weights in _weights(number, effects.blocks, seed):
        moved = weights @ effects.values
        for run in range(runs):
            apart = (moved - moved[:, run : run + 1]) * inverse[run]
            largest[start : start + len(weights), run] = apart.max(axis=1)
    return largest


def resamples(runs: int) -> int:
    """How many are drawn; the threshold of many runs needs no more of them than that of two."""
    return min(MOST_RESAMPLES, max(LEAST_RESAMPLES, _MOST_DIFFERENCES // runs**2))


def as_student(drawn: Floats | float, effects: ImageEffects) -> Floats:
    """A quantile of draws, whose error is known, as one of a difference whose error is estimated from the same images.

    Resampling n values scatters too little, by sqrt((n - 1) / n), and like a normal variable (Hesterberg 2015, What
    Teachers Should Know About the Bootstrap, 3.3). Two thirds of the degrees of freedom, because the errors of ratios
    vary more than those of means: that holds the error rate from 20 images on.
    """
    units, freedom = min(effects.blocks), 2 * effects.freedom / 3
    return np.asarray(-stdtrit(freedom, ndtr(-np.asarray(drawn))) * math.sqrt(units / (units - 1)))


def as_normal(observed: Floats, effects: ImageEffects) -> Floats:
    """The inverse of `as_student`."""
    units, freedom = min(effects.blocks), 2 * effects.freedom / 3
    return np.asarray(-ndtri(stdtr(freedom, -observed * math.sqrt((units - 1) / units))))


def _weights(number: int, blocks: Sequence[int], seed: int) -> Iterator[tuple[int, Floats]]:
    """How often each unit was drawn, (up to _BLOCK, units), each block by itself; with the number of the first draw."""
    rng = np.random.default_rng(seed)
    for start in range(0, number, _BLOCK):
        rows = min(_BLOCK, number - start)
        yield start, np.concatenate([_drawn(rng, rows, units) for units in blocks], axis=1)


def _drawn(rng: np.random.Generator, rows: int, units: int) -> NDArray[np.float64]:
    drawn = rng.integers(units, size=(rows, units)) + np.arange(rows)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
