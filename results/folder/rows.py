"""Rows go in and frames come out, in one canonical form, with a rule for two rows of the same run and image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.contracts import IGNORED, WIDE_IGNORED, Row, Rows
from harness.contracts.rows import COLUMNS, STATUSES
from harness.errors import StoreError
from results.folder.bounds import BOUNDARIES, BOUNDARY_SCHEMA, badly_bounded, boundary_lists, wrongly_bounded

KEY = ("run_id", "image_id")
COUNTS = ("true", "predicted", "pixels")
SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "image_id": pl.String(),
    "status": pl.String(),
    "seconds": pl.Float64(),
    "error": pl.String(),
    "true": pl.List(pl.UInt16),
    "predicted": pl.List(pl.UInt16),
    "pixels": pl.List(pl.UInt32),
    "sample": pl.String(),
    **BOUNDARY_SCHEMA,
    "artefact": pl.String(),
    "card": pl.String(),
}
_DIGESTED = ("sample", "artefact")
LATER = (*_DIGESTED, *BOUNDARIES, "card")  # columns that parts of former versions lack: null
# The limits of what a row may hold; SCHEMA's types hold them.
# A truth of 65535, of which no class is true, is in rows under `void_counts`.
LAST_TRUE, LAST_PREDICTED = WIDE_IGNORED, WIDE_IGNORED
_DIGITS = 32
_DIGEST = rf"[0-9a-f]{{{_DIGITS}}}"
_SHOWN = 5  # images named in a sentence
_RULES = (
    "it needs status ok or failed, finite seconds, and each pair of classes "
    f"(true 0..{LAST_TRUE}, predicted 0..{LAST_PREDICTED}) at most once, with a positive number of pixels, "
    "and none when failed; the digests of its sample and its artefact, if it has them, are 32 hex digits; "
    "boundaries, if they are counted, hold each class at most once, with pixels in the union and no more in the "
    "intersection, and none when failed"
)


class Contradiction(StoreError):
    """Rows of the same run and image hold different counts: the run is not reproducible, or its id says too little.

    frame: run_id, image_id of the contradictions; of a merge also folders and files of what was learned or kept.
    """

    def __init__(self, message: str, frame: pl.DataFrame) -> None:
        super().__init__(message)
        self.frame = frame


class OtherData(Contradiction):
    """Rows of the same run and image were computed from images or truths that differ."""


def checked(rows: Iterable[Row]) -> Rows:
    """Rows as they are stored: overlaps ordered by true and predicted class. StoreError for the first malformed one."""
    try:
        columns = Rows.of(rows)
    except ValueError as error:
        raise _cannot_be_stored(str(error)) from None
    if not _is_whole(columns):
        raise StoreError("rows cannot be stored: their columns do not belong together")
    found = by_rules(columns)
    if found is None:
        run_id, image_id = columns.key(int(_wrong_rows(_ordered(columns))[0]))
        raise _cannot_be_stored(f"the row of run {run_id}, image {image_id}")
    return found


def by_rules(rows: Rows) -> Rows | None:
    """Columns that belong together, overlaps ordered by true and predicted class; None where a row breaks a rule."""
    rises = _rises(rows)
    if rises.all() and _is_right(rows):
        return rows
    rows = rows if rises.all() else _ordered(rows)
    return None if _wrong_rows(rows).size else rows


def _cannot_be_stored(what: str) -> StoreError:
    return StoreError(f"{what} cannot be stored: {_RULES}")


def _is_whole(rows: Rows) -> bool:
    """Whether columns are of the types in which they are stored, of one length, and point to what is there."""
    if any((column := getattr(rows, name)).dtype != kind or column.ndim != 1 for name, kind in COLUMNS.items()):
        return False
    by_row = {
        column.size for column in (rows.run, rows.image, rows.sample, rows.card, rows.ok, rows.seconds, rows.lengths)
    }
    overlaps = {rows.true.size, rows.predicted.size, rows.pixels.size, int(rows.lengths.sum())}
    places = (
        (rows.run, len(rows.runs), 0), (rows.image, len(rows.images), 0), (rows.sample, len(rows.samples), -1),
        (rows.card, len(rows.cards), -1),
    )  # fmt: skip
    return (
        len(by_row) == len(overlaps) == 1
        and rows.lengths.min(initial=0) >= 0
        and all(at.min(initial=0) >= least and at.max(initial=-1) < most for at, most, least in places)
    )


def _rises(rows: Rows) -> NDArray[np.bool_]:
    """Whether an overlap has a higher number than the one before, or is the first one of its row."""
    codes = _codes(rows.true, rows.predicted, np.uint32)
    rises = np.ones(codes.size + 1, np.bool_)  # one more, where empty rows begin at the end
    np.greater(codes[1:], codes[:-1], out=rises[1:-1])
    rises[np.cumsum(rows.lengths) - rows.lengths] = True
    return rises[:-1]


def _row_of_overlaps(rows: Rows) -> NDArray[np.int64]:
    """The number of the row of every overlap."""
    return np.repeat(np.arange(len(rows)), rows.lengths)


def _ordered(rows: Rows) -> Rows:
    """Overlaps ordered by true and predicted class within their rows."""
    order = np.lexsort((_codes(rows.true, rows.predicted, np.uint32), _row_of_overlaps(rows)))
    return replace(rows, true=rows.true[order], predicted=rows.predicted[order], pixels=rows.pixels[order])


def _is_right(rows: Rows) -> bool:
    """Whether no row breaks a rule besides that of order: what is true of nearly all, in few steps."""
    return bool(
        np.isfinite(rows.seconds).all()
        and rows.pixels.all()
        and (rows.ok.all() or not rows.lengths[~rows.ok].any())
        and all(len(sample) == _DIGITS for sample in rows.samples)
        and re.fullmatch(r"[0-9a-f]*", "".join(rows.samples))
        and not wrongly_bounded(rows).size
        and not _of_no_artefact(rows)
    )


def _wrong_rows(rows: Rows) -> NDArray[np.int64]:
    """The rows that break a rule."""
    digests = np.array([*(re.fullmatch(_DIGEST, sample) is not None for sample in rows.samples), True], np.bool_)
    wrong = ~np.isfinite(rows.seconds) | (~rows.ok & (rows.lengths > 0)) | ~digests[rows.sample]
    wrong[_of_no_artefact(rows)] = True
    overlaps = ~_rises(rows) | (rows.pixels == 0)  # what does not rise is there twice
    wrong[wrongly_bounded(rows)] = True
    if not overlaps.any():
        return np.flatnonzero(wrong)
    return np.union1d(np.flatnonzero(wrong), _row_of_overlaps(rows)[overlaps])


def _of_no_artefact(rows: Rows) -> list[int]:
    """The rows that name an artefact by what is no digest."""
    wrong = {one for one in set(rows.artefacts.values()) if not re.fullmatch(_DIGEST, one)}
    return [number for number, one in rows.artefacts.items() if one in wrong] if wrong else []


def wide_classes(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame as parts hold it, its classes of 16 bits: former versions wrote 8, in which 255 was no class."""
    narrow = [name for name in ("true", "predicted") if frame.schema.get(name) == pl.List(pl.UInt8)]
    no_class = pl.element().replace(IGNORED, WIDE_IGNORED)
    return frame.with_columns(pl.col(name).cast(SCHEMA[name]).list.eval(no_class) for name in narrow)


def refuse_malformed(frame: pl.DataFrame, where: str, cure: str) -> None:
    """StoreError where a row of a frame with some columns of SCHEMA breaks the rules of `checked`."""
    wrong = _rule_breakers(frame)
    if wrong.any():
        row = frame.filter(wrong).row(0, named=True)
        raise StoreError(
            f"{where} cannot be believed: the row of run {row.get('run_id')}, image {row.get('image_id')} is none that "
            f"the store writes ({_RULES}); {cure}"
        )


def _rule_breakers(frame: pl.DataFrame) -> pl.Series:
    """Whether a row breaks a rule that can be seen in the columns which are there."""
    there = [name for name in (*KEY, "status", "seconds", *COUNTS) if name in frame.columns]
    rules = [pl.col(name).is_null() for name in there]
    if "status" in there:
        rules.append(~pl.col("status").is_in(STATUSES))
    if "seconds" in there:
        rules.append(~pl.col("seconds").is_finite())
    for name in set(_DIGESTED) & set(frame.columns):
        rules.append(~pl.col(name).fill_null("0" * 32).str.contains(f"^{_DIGEST}$"))
    if set(BOUNDARIES) <= set(frame.columns):
        rules.append(badly_bounded(frame))
    counted = [pl.col(name).list.len() for name in COUNTS if name in there]
    rules += [counted[0] != other for other in counted[1:]]
    if "status" in there:
        rules += [(pl.col("status") == "failed") & (counts > 0) for counts in counted]
    wrong = frame.select(wrong=pl.any_horizontal(rule.fill_null(True) for rule in rules)).to_series()
    if len(counted) == len(COUNTS) and not wrong.any():
        return pl.Series("wrong", np.isin(np.arange(frame.height), _pair_breakers(frame.select(COUNTS))))
    return wrong


def _pair_breakers(lists: pl.DataFrame) -> NDArray[np.int64]:
    """The rows with a null, no pixels, a class that cannot be, or pairs of classes that do not rise."""
    true, predicted, pixels = (one.list.explode(empty_as_null=False) for one in lists)
    if true.null_count() or predicted.null_count() or pixels.null_count():
        holes = lists.select(pl.any_horizontal(pl.all().list.eval(pl.element().is_null()).list.any()))
        return np.flatnonzero(holes.to_series().to_numpy())
    ends = np.cumsum(lists["pixels"].list.len().to_numpy(), dtype=np.int64)
    codes = _codes(true.to_numpy(), predicted.to_numpy(), np.uint32)
    falls = codes[1:] <= codes[:-1]
    falls[ends[(ends > 0) & (ends < codes.size)] - 1] = False  # from a row's last pair to the next row's first
    impossible = (pixels.to_numpy() == 0) | (true.to_numpy() > LAST_TRUE)
    places = np.concatenate([np.flatnonzero(falls) + 1, np.flatnonzero(impossible)])
    found: NDArray[np.int64] = np.searchsorted(ends, places, side="right")
    return found


def _codes(true: NDArray[Any], predicted: NDArray[Any], kind: type[np.integer[Any]] = np.int64) -> NDArray[Any]:
    """One number a pair of classes, in the order in which a row holds them."""
    codes: NDArray[Any] = true.astype(kind) * kind(LAST_PREDICTED + 1) + predicted
    return codes


def frame_by_key(rows: Rows) -> pl.DataFrame:
    """`frame_of` rows ordered by run and image, as a frame sorts them; those of one run and image stay as they came.

    The frame is ordered and not the columns: their overlaps would go to fresh memory once more.
    """
    order = np.lexsort([_ranks(texts)[places] for texts, places in ((rows.images, rows.image), (rows.runs, rows.run))])
    return frame_of(rows)[pl.Series(order, dtype=pl.UInt32)]


def _ranks(texts: Sequence[str]) -> NDArray[np.uint32]:
    """The place of every text among all of them, in order; equal ones have one."""
    return pl.Series(texts, dtype=pl.String).rank("dense").to_numpy()


def frame_of(checked_rows: Iterable[Row]) -> pl.DataFrame:
    """Checked rows as a frame of SCHEMA."""
    rows = Rows.of(checked_rows)
    texts = {name: pl.Series([*own, None], dtype=pl.String) for name, own in _texts(rows).items()}
    places = {"run_id": rows.run, "image_id": rows.image, "status": rows.ok, "sample": rows.sample, "card": rows.card}
    places |= {"error": _of_rows(rows.errors, len(rows)), "artefact": _of_rows(rows.artefacts, len(rows))}
    columns = {name: texts[name].gather(at % len(texts[name])) for name, at in places.items()}
    frame = pl.DataFrame({**columns, "seconds": rows.seconds}).hstack(boundary_lists(rows))
    overlaps = {name: getattr(rows, name) for name in COUNTS}
    lists = pl.DataFrame({"row": pl.Series(_row_of_overlaps(rows)).set_sorted(), **overlaps})
    lists = lists.group_by("row", maintain_order=True).agg(*COUNTS)
    some = rows.lengths > 0
    if some.all():
        return frame.hstack(lists.select(COUNTS)).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    none = [pl.lit([], SCHEMA[name]).alias(name) for name in COUNTS]
    halves = [frame.filter(some).hstack(lists.select(COUNTS)), frame.filter(~some).with_columns(none)]
    whole = pl.concat([half.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()) for half in halves])
    return whole[np.argsort(np.argsort(~some, kind="stable"))]


def _texts(rows: Rows) -> dict[str, Sequence[str]]:
    """By column, the texts in it."""
    held = {"error": rows.errors, "artefact": rows.artefacts}
    return {
        "run_id": rows.runs, "image_id": rows.images, "status": STATUSES[::-1], "sample": rows.samples,
        "card": rows.cards,
        **{name: tuple(dict.fromkeys(texts.values())) for name, texts in held.items()},
    }  # fmt: skip


def _of_rows(texts: Mapping[int, str], rows: int) -> NDArray[np.int64]:
    """By row, the place of its text among the different ones; -1 where it has none."""
    places = {text: number for number, text in enumerate(dict.fromkeys(texts.values()))}
    found = np.full(rows, -1)
    found[list(texts)] = [places[text] for text in texts.values()]
    return found


def defeated(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Of a frame with several rows a (run, image): those that another one makes superfluous.

    An ok row beats a failed one; of failed ones the last stands, where `part` says in which order they were written,
    since its reason is the one to look for; of equals one that says of which data it is, then one whose boundaries are
    counted, then one that says what computed it, then the cheapest. `Contradiction` when ok rows differ in a count,
    where both hold it, or say that the image or its truth was not the same.
    """
    lacking = [pl.col(name).is_null() for name in ("sample", BOUNDARIES[0], "card")]
    failed = pl.col("status") != "ok"
    latest = [pl.when(failed).then(-pl.col("part").cast(pl.Int64))] if "part" in frame.columns else []
    ordered = frame.sort(*KEY, failed, *latest, *lacking, "seconds", "error", nulls_last=True, maintain_order=True)
    place = ordered.select(place=pl.int_range(pl.len()).over(KEY)).to_series()
    best, rest = ordered.filter(place == 0), ordered.filter(place > 0)
    known = best.select(*KEY, *COUNTS, *BOUNDARIES, "sample")
    pairs = rest.filter(pl.col("status") == "ok").join(known, on=KEY, suffix="_best")
    changed = pairs.filter(pl.col("sample") != pl.col("sample_best")).select(KEY).unique().sort(KEY)
    if changed.height:
        raise OtherData(_of_other_data(changed, where), changed)
    differs = pl.any_horizontal(
        *(pl.col(name).ne_missing(pl.col(f"{name}_best")) for name in COUNTS),
        *((pl.col(name) != pl.col(f"{name}_best")).fill_null(False) for name in BOUNDARIES),
    )
    wrong = pairs.filter(differs).select(KEY).unique().sort(KEY)
    if wrong.height:
        raise Contradiction(_contradiction(wrong, where), wrong)
    return rest


def some_of(images: Sequence[str]) -> str:
    """Some images in a sentence, and how many more there are."""
    more = f" and {len(images) - _SHOWN} more" if len(images) > _SHOWN else ""
    return ", ".join(images[:_SHOWN]) + more


def _contradiction(wrong: pl.DataFrame, where: str) -> str:
    run, images = first_of(wrong)
    return (
        f"{where} holds different counts for the same image of {run}: {images}; the run is not "
        "reproducible, or something that changes pixels is missing in its id: find out which rows are right and "
        "move the parts with the others out of rows/"
    )


def _of_other_data(wrong: pl.DataFrame, where: str) -> str:
    run, images = first_of(wrong)
    return (
        f"{where} holds results of {run} for the same images from different data, as files were changed or decoded "
        f"differently: {images}; run the sweep again where the data are, and it sets aside what no longer matches"
    )


def first_of(wrong: pl.DataFrame) -> tuple[str, str]:
    """The first run of several, with how many others there are, and its images."""
    run_id, runs = wrong["run_id"][0], wrong["run_id"].n_unique()
    images = wrong.filter(pl.col("run_id") == run_id)["image_id"].to_list()
    return f"run {run_id}" + (f" (and {runs - 1} other runs)" if runs > 1 else ""), some_of(images)
