"""A results folder goes in; what is known of its runs comes out as polars frames: leaderboard, rows, classes, pairs.

Scores are percent, as in every table. A frame's lines name their run by `run_id`; `leaderboard` has its settings.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from harness.contracts import expanded
from results.counts import estimators
from results.folder.store import Store
from results.tables import board_csv
from results.tables.evidence import Evidence, gather
from results.tables.ranking import Leaderboard

_NAMES = ("run_id", "method", "variant", "benchmark")
_TEXTS = (*_NAMES, "protocol", "against_best", "supervision", "better", "worse")  # whatever they look like


@dataclass(frozen=True, eq=False)
class Results:
    """A results folder as it was when it was loaded. A notebook shows its leaderboard."""

    evidence: Evidence

    @cached_property
    def leaderboard(self) -> pl.DataFrame:
        """leaderboard.csv: a line a run, ranked within benchmark and protocol, with every setting as a column."""
        return _read(board_csv.leaderboard_csv(self.evidence.board))

    @cached_property
    def rows(self) -> pl.DataFrame:
        """A line an image of a run: status, seconds, error, its own mIoU, and its overlaps as lists.

        true, predicted, pixels: numbers of classes (0 background, 65535 none) and how many pixels have both.
        """
        own = self.evidence.images.select("run_id", "image_id", image_miou=100 * pl.col("image_miou"))
        rows = self.evidence.store.rows(list(self.evidence.recipes)).join(own, on=["run_id", "image_id"], how="left")
        first = (*_NAMES, "image_id", "status", "image_miou")
        return self._named(rows).select(*first, pl.exclude(first))

    @cached_property
    def classes(self) -> pl.DataFrame:
        """A line a class of a run: IoU, accuracy, Dice, and the pixels that they are made of, summed over images."""
        frames = [self._of_classes(run_id) for run_id in self.evidence.recipes]
        return self._named(pl.concat(frames))

    @cached_property
    def differences(self) -> pl.DataFrame:
        """pairs.csv: every two runs of a benchmark and protocol that have the same images, the better one first.

        difference in points, with an interval and p that hold for all pairs at once (docs/statistics.md).
        """
        pairs = _read(board_csv.pairs_csv(self.evidence.board))
        names = {entry.run_id: entry.name for entry in self.evidence.board.entries}
        called = [pl.col(which).replace_strict(names, return_dtype=pl.String) for which in ("better", "worse")]
        return pairs.with_columns(one.name.suffix("_name") for one in called)

    def _of_classes(self, run_id: str) -> pl.DataFrame:
        counts, names = self.evidence.counts(run_id), self.evidence.classes(run_id)
        shares = {
            "iou": estimators.class_iou(counts),
            "accuracy": estimators.class_accuracy(counts),
            "dice": estimators.class_dice(counts),
        }
        pixels = {name: getattr(counts, name) for name in ("intersection", "union", "labelled", "predicted")}
        percents = {name: pl.Series(100 * share).fill_nan(None) for name, share in shares.items()}
        return pl.DataFrame({"run_id": [run_id] * len(names), "class": names, **percents, **pixels})

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame with method, variant and benchmark beside every run's id."""
        entries = self.evidence.board.entries
        names = pl.DataFrame({name: [getattr(one, name) for one in entries] for name in _NAMES})
        return frame.join(names, on="run_id", how="left").select(*_NAMES, pl.exclude(_NAMES))

    def __repr__(self) -> str:
        board: Leaderboard = self.evidence.board
        places = len({entry.benchmark for entry in board.entries})
        sets = "1 data set" if places == 1 else f"{places} data sets"
        return f"<results of {self.evidence.store.folder}: {len(board.entries)} runs on {sets}>"

    def _repr_html_(self) -> str:
        shown: Callable[[], str] = self.leaderboard._repr_html_
        return shown()


def read(folder: str | Path, partial: bool = False, everything: bool = False) -> Results:
    """See `results.load`."""
    return Results(gather(Store.open(expanded(str(folder)), create=False), partial, everything))


def _read(text: str) -> pl.DataFrame:
    """A table of ours as a frame; of a column without a letter all numbers are numbers."""
    head = text.partition("\n")[0].split(",")
    texts = {name: pl.String() for name in _TEXTS if name in head}
    frame = pl.read_csv(io.StringIO(text), infer_schema_length=None, schema_overrides=texts)
    return frame.with_columns(pl.col(name).fill_null("") for name in _NAMES if name in frame.columns)  # no variant: ""
