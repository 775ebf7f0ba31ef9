"""Rows of one benchmark go in; each run's mIoU and what every image does to it come out, nothing dense in classes.

The mIoU is mmseg's, a mean over classes of sums over images, so an image's weight in it depends on which classes it
holds. Leaving an image out says what it does (the jackknife; Tukey 1958, Miller 1974): the IoUs of its classes are
taken from the sums without it, and a class that no other image has leaves the mean. The values are scaled so that
their sum of squares is the variance of the mIoU; of two runs, subtracted, that of their paired difference. Images of
one cluster (frames of a video, crops of a picture) are left out together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import WIDE_IGNORED
from harness.errors import StoreError
from results.counts.estimators import ClassCounts, miou
from results.folder.rows import COUNTS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RARE = 5  # a class in fewer images than this says little about its IoU


@dataclass(frozen=True, eq=False)
class ImageEffects:
    """Runs on the same images. score, bias (runs,): mIoU 0..1 and the jackknife's estimate of its bias.

    values: (units, runs); each run's sum to 0, their squares to the variance of its mIoU. units: names of the images,
    or of their clusters. blocks: how many units were drawn together; several where data sets are averaged. images: how
    many there are in all units. rare: classes that fewer than RARE units hold, of `classes` that are there.
    """

    run_ids: tuple[str, ...]
    score: Floats
    bias: Floats
    values: Floats
    blocks: tuple[int, ...]
    images: int
    rare: int = 0
    classes: int = 0

    def only(self, run_ids: Sequence[str]) -> ImageEffects:
        """Some of the runs, in their order here."""
        places = [n for n, run_id in enumerate(self.run_ids) if run_id in run_ids]
        ids = tuple(self.run_ids[n] for n in places)
        score, bias, values = self.score[places], self.bias[places], self.values[:, places]
        return replace(self, run_ids=ids, score=score, bias=bias, values=values)

    @property
    def freedom(self) -> float:
        """Degrees of freedom: units - 1, of several blocks after Satterthwaite 1946."""
        ends = np.cumsum(self.blocks)[:-1]
        squares = np.array([float((block**2).sum()) for block in np.split(self.values, ends)])
        least = np.maximum(np.array(self.blocks, np.float64) - 1, 1)
        spread = float((squares**2 / least).sum())
        return float(squares.sum() ** 2 / spread) if spread > 0 else float(least.min())


@dataclass(frozen=True, eq=False)
class _Lines:
    """One line a (run, unit, class), in that order: positions, and the pixels of intersection, union and truth."""

    run: Ints
    unit: Ints
    label: Ints
    inside: Ints
    union: Ints
    labelled: Ints


def image_effects(
    chunks: Iterable[pl.DataFrame],
    counts: Mapping[str, ClassCounts],
    background: bool,
    clusters: Mapping[str, str] | None = None,
) -> ImageEffects:
    """The effects of every image that all runs have scored pixels of; other rows of `chunks` must be left out before.

    counts: the sums over these very rows, by run. clusters: image id -> cluster. StoreError when no image has a scored
    pixel, or runs do not have the same images.
    """
    reader = EffectsReader(counts, background, clusters or {})
    for chunk in chunks:
        reader.take(chunk)
    return reader.finish()


def of_arrays(inside: Ints, union: Ints, labelled: Ints) -> ImageEffects:
    """The same from dense pixel counts, for simulations: inside, union (runs, images, classes); labelled of the truth.

    Runs are called by their numbers.
    """
    there = labelled.any(axis=1)  # an image without a scored pixel is none
    inside, union, labelled = inside[:, there], union[:, there], labelled[there]
    true = labelled.sum(axis=0)
    sums = zip(inside.sum(axis=1), union.sum(axis=1), strict=True)
    counts = {str(n): ClassCounts(i, true, u + i - true) for n, (i, u) in enumerate(sums)}
    reader = EffectsReader(counts, True, {})
    run, unit, label = at = np.nonzero(union)
    lines = _Lines(run, unit, label, inside[at], union[at], labelled[unit, label])
    reader.take_lines([f"{n:09d}" for n in range(len(labelled))], lines)
    return reader.finish()


class EffectsReader:
    """Takes rows in, chunk by chunk; holds two numbers a run and image, and lines only of images in clusters."""

    def __init__(self, counts: Mapping[str, ClassCounts], background: bool, clusters: Mapping[str, str]) -> None:
        self._counts, self._background, self._clusters = counts, background, clusters
        self._runs = {run_id: place for place, run_id in enumerate(counts)}
        self._classes = len(next(iter(counts.values())).intersection)
        self._units: dict[str, int] = {}
        self._images: set[str] = set()
        self._changes: list[tuple[Ints, Ints, Floats, Ints]] = []
        self._waiting: list[_Lines] = []
        self._holding = np.zeros(self._classes, np.int64)  # units that hold each class, after the first run's rows

    def take(self, chunk: pl.DataFrame) -> None:
        """The good rows of its runs, out of any others."""
        lines = self._lines(chunk.filter((pl.col("status") == "ok") & pl.col("run_id").is_in(list(self._runs))))
        if not lines.run.size:
            return
        if self._clusters:
            self._waiting.append(lines)
            if len(self._waiting) > 16:
                self._waiting = [_joined(self._waiting, len(self._units), self._classes)]
        else:
            self._take(lines)

    def take_lines(self, units: Sequence[str], lines: _Lines) -> None:
        """All lines at once, with the names of the units whose positions they hold."""
        self._units, self._images = {name: n for n, name in enumerate(units)}, set(units)
        self._take(lines)

    def _lines(self, chunk: pl.DataFrame) -> _Lines:
        """Lines of a chunk, the images of one cluster summed."""
        first = 0 if self._background else 1
        overlaps = chunk.with_row_index("row").filter(pl.col("pixels").list.len() > 0).explode(COUNTS)
        row, true, predicted, pixels = (overlaps[name].to_numpy().astype(np.int64) for name in ("row", *COUNTS))
        counted = (true == WIDE_IGNORED) | ((true >= first) & (true < self._classes + first))
        row, true, predicted, pixels = (array[counted] for array in (row, true - first, predicted - first, pixels))
        labelled = true < self._classes
        wrong = (predicted >= 0) & (predicted < self._classes) & (predicted != true)
        names = chunk["image_id"].to_list()
        there = np.unique(row).tolist()
        self._images.update(names[n] for n in there)
        unit_of, run_of = np.zeros(chunk.height, np.int64), np.zeros(chunk.height, np.int64)
        runs = chunk["run_id"].to_list()
        for n in there:
            unit_of[n] = self._units.setdefault(self._clusters.get(names[n], names[n]), len(self._units))
            run_of[n] = self._runs[runs[n]]
        nothing = np.zeros(int(wrong.sum()), np.int64)
        every = _Lines(
            np.concatenate([run_of[row[labelled]], run_of[row[wrong]]]),
            np.concatenate([unit_of[row[labelled]], unit_of[row[wrong]]]),
            np.concatenate([true[labelled], predicted[wrong]]),
            np.concatenate([np.where(predicted == true, pixels, 0)[labelled], nothing]),
            np.concatenate([pixels[labelled], pixels[wrong]]),
            np.concatenate([pixels[labelled], nothing]),
        )
        return _joined([every], len(self._units), self._classes)

    def _take(self, lines: _Lines) -> None:
        """What leaving each unit out does to each run: (run, unit, change of the sum of IoUs, classes that vanish)."""
        inside, union = (
            np.stack([getattr(c, name) for c in self._counts.values()]) for name in ("intersection", "union")
        )
        at = lines.run, lines.label
        iou = inside[at] / np.maximum(union[at], 1)
        rest = union[at] - lines.union
        without = np.divide(inside[at] - lines.inside, rest, out=np.zeros(rest.size), where=rest > 0)
        starts = np.flatnonzero(np.diff(lines.run * len(self._units) + lines.unit, prepend=-1))
        change = np.add.reduceat(without - iou, starts)
        gone = np.add.reduceat((rest <= 0).astype(np.int64), starts)
        self._changes.append((lines.run[starts], lines.unit[starts], change, gone))
        self._holding += np.bincount(lines.label[(lines.run == 0) & (lines.labelled > 0)], minlength=self._classes)

    def finish(self) -> ImageEffects:
        """All that was taken. StoreError when no image has a scored pixel, or runs do not have the same images."""
        if self._waiting:
            self._take(_joined(self._waiting, len(self._units), self._classes))
        names, runs = sorted(self._units), len(self._runs)
        if not names:
            raise StoreError("no image has a scored pixel")
        place = np.empty(len(names), np.int64)
        place[[self._units[name] for name in names]] = np.arange(len(names))
        change, gone, seen = (np.zeros((len(names), runs)) for _ in range(3))
        for run, unit, by, classes in self._changes:
            at = place[unit], run
            change[at], gone[at], seen[at] = by, classes, 1
        if not seen.all():
            raise StoreError("the runs do not have the same images")
        return self._effects(change, gone)

    def _effects(self, change: Floats, gone: Floats) -> ImageEffects:
        units = len(change)
        score = np.array([miou(counts) for counts in self._counts.values()], np.float64)
        number = np.array([np.count_nonzero(counts.union) for counts in self._counts.values()])
        left, without = number - gone, np.broadcast_to(score, change.shape).copy()
        np.divide(score * number + change, left, out=without, where=left > 0)
        mean = without.mean(axis=0)
        values = (mean - without) * np.sqrt((units - 1) / units)
        present = self._holding[self._holding > 0]
        return ImageEffects(
            tuple(self._counts), score, (units - 1) * (mean - score), values, (units,), len(self._images),
            int((present < RARE).sum()), present.size,
        )  # fmt: skip


def _joined(lines: Sequence[_Lines], units: int, classes: int) -> _Lines:
    """Lines of one (run, unit, class) summed, in order."""
    run, unit, label, *pixels = (
        np.concatenate([getattr(one, name) for one in lines]) for name in _Lines.__dataclass_fields__
    )
    keys, inverse = np.unique((run * max(units, 1) + unit) * classes + label, return_inverse=True)
    # bincount sums in float64, exact below 2^53 pixels.
    sums = [np.bincount(inverse, one, keys.size).astype(np.int64) for one in pixels]
    return _Lines(keys // classes // max(units, 1), keys // classes % max(units, 1), keys % classes, *sums)
