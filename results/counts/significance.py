"""What images do to runs goes in; intervals, comparisons with the best, groups and what could be seen come out.

Each image's values (`results.counts.image_effects`) are drawn again with replacement, the same images for all runs (the
bootstrap, Efron 1979, on the leave-one-out values of mIoU). From the draws comes how far the largest of many
studentised differences strays by chance, and so one threshold for all of them, which more runs make no coarser.
`docs/statistics.md` says why these procedures were chosen, and what simulations say of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from results.counts.image_effects import Floats, ImageEffects
from results.counts.resampling import DUST, Drawn, as_normal, as_student, resamples, studentised, threshold

ALPHA = 0.05
POWER = 0.8
FEWEST = 10  # images below which nothing is said


@dataclass(frozen=True)
class Comparison:
    """Run `better` against run `worse` on the same images: difference of mIoU (>= 0), its interval, and p.

    Interval and p are adjusted for all runs that were compared along with this one; p <= alpha exactly where low > 0.
    """

    better: str
    worse: str
    difference: float
    low: float
    high: float
    p: float

    def turned(self) -> Comparison:
        """The same, seen from the other run."""
        return Comparison(self.worse, self.better, -self.difference, -self.high, -self.low, self.p)


@dataclass(frozen=True)
class Group:
    """The best of some runs, and those not separated from it.

    comparisons: of the first group, the best with each other run. detectable: the difference of mIoU that is found with
    a chance of 80 %; needed: how many images would find one point. None where there was nothing to compare, or all
    answer alike on every image. enough: whether there are images enough to separate anything.
    """

    run_ids: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    detectable: float | None = None
    needed: int | None = None
    enough: bool = True


def interval(effects: ImageEffects, run_id: str, level: float = 0.95) -> tuple[float, float] | None:
    """The approximate interval of one run's mIoU, 0..1: Student's, on the scale of log odds, from leaving images out.

    It is wider by the estimated bias on the side to which that points. None below FEWEST images or clusters.
    """
    place = effects.run_ids.index(run_id)
    score, bias = float(effects.score[place]), float(effects.bias[place])
    if min(effects.blocks) < FEWEST or math.isnan(score):
        return None
    error = math.sqrt(float((effects.values[:, place] ** 2).sum()))
    reach = float(stdtrit(effects.only([run_id]).freedom, (1 + level) / 2)) * error
    below, above = reach + max(bias, 0.0), reach + max(-bias, 0.0)
    slope = score * (1 - score)
    if slope <= 0:
        return max(0.0, score - below), min(1.0, score + above)
    odds = math.log(score / (1 - score))
    return _share(odds - below / slope), _share(odds + above / slope)


def _share(odds: float) -> float:
    """The inverse of log(x / (1 - x))."""
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def groups(effects: ImageEffects, seed: int = 0, alpha: float = ALPHA) -> tuple[Group, ...]:
    """The best run with all that are not separated from it, then the best of the rest with those, and so on.

    The chance that any run that is as good as the best is called worse than it is alpha at most; and so is the chance
    of any such error in all groups after the first together. Runs without a score are left out.
    """
    scored = [run_id for run_id, score in zip(effects.run_ids, effects.score, strict=True) if not np.isnan(score)]
    if not scored:
        return ()
    effects = effects.only(scored)
    if len(scored) < 2 or not _enough(effects, alpha):
        return (_without_comparison(effects, alpha),)
    drawn = Drawn.of(effects, seed)
    found = [_first(drawn, alpha)]
    reach = threshold(drawn.largest.max(axis=1), alpha)
    left = [n for n in _by_score(effects) if effects.run_ids[n] not in found[0].run_ids]
    while left:
        found.append(_further(drawn, left, reach))
        left = [n for n in left if effects.run_ids[n] not in found[-1].run_ids]
    return tuple(found)


def with_the_best(effects: ImageEffects, seed: int = 0, alpha: float = ALPHA, best: str | None = None) -> Group:
    """The first group alone: each run compared with the best, which the data choose, or with `best`."""
    if len(effects.run_ids) < 2 or not _enough(effects, alpha):
        return _without_comparison(effects, alpha)
    return _first(Drawn.of(effects, seed), alpha, None if best is None else effects.run_ids.index(best))


def _enough(effects: ImageEffects, alpha: float) -> bool:
    """Whether images and resamples can separate anything."""
    return min(effects.blocks) >= FEWEST and alpha * (resamples(len(effects.run_ids)) + 1) >= 1


def _without_comparison(effects: ImageEffects, alpha: float) -> Group:
    return Group(tuple(effects.run_ids[n] for n in _by_score(effects)), (), enough=_enough(effects, alpha))


def _by_score(effects: ImageEffects) -> list[int]:
    return [int(n) for n in np.argsort(-effects.score, kind="stable")]


def _first(drawn: Drawn, alpha: float, best: int | None = None) -> Group:
    """Each run beside the best.

    Hsu's comparisons with the best (1981, 1984), stepped down (Romano and Wolf 2005): a run is worse when its
    studentised difference from the best is above what the largest difference of any run from one that is not yet
    separated exceeds in alpha of the draws.
    """
    effects, order = drawn.effects, _by_score(drawn.effects)
    first = order[0] if best is None else best
    rest = [n for n in order if n != first]
    observed = studentised(effects.score[first] - effects.score, drawn.errors[first])
    p, reach = _step_down(drawn.largest, as_normal(observed, effects), first, alpha)
    reach = as_student(reach, effects)
    held = tuple(_pair(drawn, first, n, float(reach[n]), float(p[n])) for n in rest)
    tied = (effects.run_ids[first], *(one.worse for one in held if one.p > alpha))
    return Group(tied, held, *_detectable(drawn.errors[first, rest], float(reach[rest].min()), effects))


def _further(drawn: Drawn, left: Sequence[int], reach: float) -> Group:
    """The best of what is left, by the one threshold that holds for all differences between all runs at once."""
    effects, (first, *rest) = drawn.effects, left
    if not rest:
        return Group((effects.run_ids[first],), ())
    observed = studentised(effects.score[first] - effects.score, drawn.errors[first])
    worse = as_normal(observed, effects) > reach
    names = (effects.run_ids[first], *(effects.run_ids[n] for n in rest if not worse[n]))
    return Group(names, (), *_detectable(drawn.errors[first, rest], float(as_student(reach, effects)), effects))


def _detectable(errors: Floats, reach: float, effects: ImageEffects) -> tuple[float, int] | tuple[None, None]:
    """The difference that is found with a chance of POWER, for the middle one of some standard errors, and the images
    that find one point: as many as are needed at least. Runs that answer alike on every image tell nothing of it."""
    known = errors[errors > 0]
    if not known.size:
        return None, None
    difference = (reach + float(ndtri(POWER))) * float(np.median(known))
    return difference, max(FEWEST, math.ceil(effects.images * (100 * difference) ** 2))


def _pair(drawn: Drawn, better: int, worse: int, reach: float, p: float) -> Comparison:
    """The comparison of two runs, by position; reach: half the interval in standard errors."""
    gap = float(drawn.effects.score[better] - drawn.effects.score[worse])
    half, names = float(reach * drawn.errors[better, worse]), drawn.effects.run_ids
    return Comparison(names[better], names[worse], gap, gap - half, gap + half, p)


def _step_down(largest: Floats, observed: Floats, first: int, alpha: float) -> tuple[Floats, Floats]:
    """Adjusted p-values and thresholds (runs,): the farthest run is judged first, then those left by themselves."""
    order = [int(n) for n in np.argsort(-observed, kind="stable") if n != first]
    # top[k]: the largest over the runs that are left at step k, and the best.
    suffix = np.maximum.accumulate(np.stack([largest[:, n] for n in (first, *reversed(order))]), axis=0)[1:][::-1]
    p, reach = np.ones(observed.size), np.zeros(observed.size)
    highest, bound = 0.0, math.inf
    for top, run in zip(suffix, order, strict=True):
        judged = highest <= alpha  # a run after the first that is not separated keeps its threshold
        highest = max(highest, (1 + np.count_nonzero(top >= observed[run] * (1 - DUST))) / (top.size + 1))
        p[run], bound = highest, threshold(top, alpha) if judged else bound
        reach[run] = bound
    return p, reach


def all_pairs(effects: ImageEffects, seed: int = 0, alpha: float = ALPHA) -> list[Comparison]:
    """Every pair of runs, the better one first, in order of score; p and intervals hold for all pairs at once."""
    effects = effects.only([i for i, score in zip(effects.run_ids, effects.score, strict=True) if not np.isnan(score)])
    if len(effects.run_ids) < 2 or not _enough(effects, alpha):
        return []
    drawn, order = Drawn.of(effects, seed), _by_score(effects)
    largest = np.sort(drawn.largest.max(axis=1))
    reach, found = float(as_student(threshold(largest, alpha), effects)), []
    for place, better in enumerate(order):
        observed = as_normal(studentised(effects.score[better] - effects.score, drawn.errors[better]), effects)
        beyond = largest.size - np.searchsorted(largest, observed * (1 - DUST))
        p = (1 + beyond) / (largest.size + 1)
        found += [_pair(drawn, better, worse, reach, float(p[worse])) for worse in order[place + 1 :]]
    return found
