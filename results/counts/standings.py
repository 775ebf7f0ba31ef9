"""The runs of one benchmark and protocol go in; how each stands to the best, on the same images, comes out.

Runs with every image are compared over all images. A run with holes (a short one) is compared with the best of them
over the images that both have, so it shrinks nobody's comparison, and images that it failed lift it over nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from harness.errors import StoreError
from results.counts import estimators, significance
from results.counts.estimators import ClassCounts
from results.counts.image_effects import EffectsReader, ImageEffects, image_effects
from results.counts.significance import ALPHA, Comparison, Group
from results.counts.tally import tally
from results.folder.store import Store

_MOST_VALUES = 250_000_000  # runs x images that are held at a time, 2 GB an array: beyond it no intervals are made
Place = tuple[str, str]  # benchmark and protocol: what may be compared
BEST, TIED, WORSE, BETTER, TOO_FEW = "best", "not separated", "worse", "better", "too few images"


@dataclass(frozen=True)
class Standing:
    """One run beside the best on the same `images`. best_there: the best's mIoU on them; behind: that less its own.

    level: what runs are ranked by: the best's mIoU on all its images less `behind`; of a whole run, its own mIoU.
    group: counted from 1; None for a short run. words: BEST, TIED, WORSE or TOO_FEW; of a short run also BETTER.
    interval: of its own mIoU on its own images. whole: whether it has every image that is compared.
    """

    images: int
    behind: float
    best_there: float
    level: float
    words: str
    interval: tuple[float, float] | None = None
    comparison: Comparison | None = None
    group: int | None = None
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Standings:
    """What is known of a benchmark's runs. Where nothing could be compared, `why` says why; groups: the best first."""

    effects: ImageEffects | None = None
    groups: tuple[Group, ...] = ()
    by_run: Mapping[str, Standing] = field(default_factory=dict)
    why: str = ""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rivals:
    """Runs that may be compared: run id -> sums over all its good rows. whole: those that have every image.

    clusters: image id -> cluster, where images are not independent. seed: of the draws.
    """

    counts: Mapping[str, ClassCounts]
    whole: tuple[str, ...]
    background: bool
    classes: int
    images: int
    clusters: Mapping[str, str]
    seed: int


def stand(store: Store, places: Mapping[Place, Rivals]) -> dict[Place, Standings]:
    """In each place, compare the whole runs, then each short one (the others in `counts`) with the best of them.

    The folder is read once for all whole runs, however many places there are.
    """
    held = {place: rivals for place, rivals in places.items() if len(rivals.whole) * rivals.images <= _MOST_VALUES}
    readers = {
        place: EffectsReader({i: rivals.counts[i] for i in rivals.whole}, rivals.background, rivals.clusters)
        for place, rivals in held.items()
    }
    for chunk in store.chunks([run_id for rivals in held.values() for run_id in rivals.whole]):
        for reader in readers.values():
            reader.take(chunk)
    too_many = Standings(why="the images of all runs are too many to be drawn again and again")
    return {
        place: _stand(store, rivals, readers[place]) if place in held else too_many for place, rivals in places.items()
    }


def _stand(store: Store, rivals: Rivals, reader: EffectsReader) -> Standings:
    """One place, whose whole runs have been read."""
    try:
        effects = reader.finish()
    except StoreError as error:
        return Standings(why=str(error), seed=rivals.seed)
    groups = significance.groups(effects, rivals.seed)
    by_run = {run_id: _standing(effects, groups, run_id) for group in groups for run_id in group.run_ids}
    by_run.update(_short(store, rivals, groups[0].run_ids[0], float(effects.score.max())))
    return Standings(effects, groups, by_run, seed=rivals.seed)


def _standing(effects: ImageEffects, groups: Sequence[Group], run_id: str) -> Standing:
    """Of a run that has every image."""
    place = next(n for n, group in enumerate(groups) if run_id in group.run_ids)
    first = groups[0]
    best, own = float(effects.score.max()), float(effects.score[effects.run_ids.index(run_id)])
    held = next((c for c in first.comparisons if c.worse == run_id), None)
    words = BEST if run_id == first.run_ids[0] else WORSE if place else TIED
    return Standing(
        effects.images, best - own, best, own,
        words if first.enough else TOO_FEW, significance.interval(effects, run_id), held,
        place + 1 if first.enough else None,
    )  # fmt: skip


def _short(store: Store, rivals: Rivals, best: str, highest: float) -> dict[str, Standing]:
    """Every short run beside the best on the images of both. highest: the best's mIoU on all its images."""
    short = [run_id for run_id in rivals.counts if run_id not in rivals.whole]
    if not short:
        return {}
    rows = store.rows([best, *short]).filter(pl.col("status") == "ok")
    reference = rows.filter(pl.col("run_id") == best)
    found = {}
    for run_id in short:
        own = rows.filter(pl.col("run_id") == run_id)
        both = [reference.join(own, on="image_id", how="semi"), own.join(reference, on="image_id", how="semi")]
        pair = _effects(rivals, [best, run_id], pl.concat(both))
        if pair is not None:
            alone = _effects(rivals, [run_id], own)
            ends = significance.interval(alone, run_id) if alone is not None else None
            found[run_id] = replace(_beside(pair, highest, rivals.seed, len(short)), interval=ends)
    return found


def _effects(rivals: Rivals, run_ids: Sequence[str], rows: pl.DataFrame) -> ImageEffects | None:
    """The effects of some rows; None where no image has a scored pixel."""
    sums = tally([rows], run_ids if rivals.background else []).confusions
    counts = {
        run_id: estimators.counts_of(sums.filter(pl.col("run_id") == run_id), rivals.classes, rivals.background)
        for run_id in run_ids
    }
    try:
        return image_effects([rows], counts, rivals.background, rivals.clusters)
    except StoreError:
        return None


def _beside(pair: ImageEffects, highest: float, seed: int, tests: int) -> Standing:
    """A short run, second in the pair, beside the best; p and interval hold for all short runs at once (Bonferroni).

    The best was chosen on other images: here the short one may be the better one. Both ways are judged alike.
    """
    best, own = pair.run_ids
    behind = float(pair.score[0] - pair.score[1])
    upper, lower = (best, own) if behind >= 0 else (own, best)
    group = significance.with_the_best(pair, seed, ALPHA / tests, upper)
    held = group.comparisons[0] if group.comparisons else None
    if held is not None:
        held = replace(held if behind >= 0 else held.turned(), p=min(1.0, held.p * tests))
    words = TOO_FEW if not group.enough else TIED if lower in group.run_ids else WORSE if behind >= 0 else BETTER
    there = float(pair.score[0])
    return Standing(pair.images, behind, there, highest - behind, words, comparison=held, whole=False)
