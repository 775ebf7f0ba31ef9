"""What one image of one run gave flows in; columns that are ready to be stored flow out: the form that travels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

STATUSES = ("ok", "failed")
COLUMNS: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in (
        ("seconds", np.float64), ("lengths", np.int64), ("run", np.int32), ("image", np.int32), ("sample", np.int32),
        ("card", np.int32),
        ("pixels", np.uint32), ("true", np.uint16), ("predicted", np.uint16), ("ok", np.bool_),
    )
}  # fmt: skip
_MOST = {"true": 2**16 - 1, "predicted": 2**16 - 1, "pixels": 2**32 - 1}


@dataclass(frozen=True, eq=False)
class Row:
    """One image of one run. Overlaps are parallel integer arrays: true class, predicted class, pixels (all > 0).

    Classes are numbered as in a truth: 0 background, k = classes[k - 1]; predicted 65535 = no class was given. Pixels
    that are not scored under the run's protocol are not counted. label_map: the predicted map as a PNG, where it was
    asked for: of 8 bits, 255 being no class, where no class in it is above 254; else of 16. gathered: what a learner's
    `gather` gave, as an .npz; such a row counts nothing and is not stored. boundaries: where they were asked for, of
    every class that has any, in order: its number and how many pixels lie at its boundary in the truth and in the
    prediction (intersection), and in either (union), int64 (classes, 3).
    sample: the digest of the image and truth that it was computed from, as they were decoded (harness.recipes.origins);
    None where there was nothing to decode, and in rows of former versions.
    artefact: the digest of what its method had learned (harness.contracts.artefact.digest_of_all); None where that is
    nothing, and in rows of former versions.
    card: the kind of card, or of CPU, that computed it, in no id; None where nobody said so, and in rows of former
    versions.
    elsewhere: it failed for a reason of the machine, so that another one may do it; such a word is not stored.
    """

    run_id: str
    image_id: str
    status: str  # "ok" or "failed"
    seconds: float  # own reading, plus an equal share of the passes it read
    error: str | None = None
    true: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    predicted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    label_map: bytes | None = None
    gathered: bytes | None = None
    boundaries: NDArray[np.int64] | None = None
    sample: str | None = None
    artefact: str | None = None
    card: str | None = None
    elsewhere: bool = False


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """Rows as columns, made where they are computed; read one by one they are Row again.

    runs, images, samples, cards: every text once; run, image, sample, card: by row, its place there (of the last two -1
    for None). ok: by row, whether its status is ok. lengths: by row, how many overlaps it has; true, predicted, pixels:
    those of all rows end to end. errors, label_maps, gathered, boundaries, artefacts, elsewhere: by the number of a
    row, where it has one.
    """

    runs: tuple[str, ...]
    images: tuple[str, ...]
    samples: tuple[str, ...]
    cards: tuple[str, ...]
    run: NDArray[np.int32]
    image: NDArray[np.int32]
    sample: NDArray[np.int32]
    card: NDArray[np.int32]
    ok: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    lengths: NDArray[np.int64]
    true: NDArray[np.uint16]
    predicted: NDArray[np.uint16]
    pixels: NDArray[np.uint32]
    errors: Mapping[int, str] = field(default_factory=dict)
    label_maps: Mapping[int, bytes] = field(default_factory=dict)
    gathered: Mapping[int, bytes] = field(default_factory=dict)
    boundaries: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    artefacts: Mapping[int, str] = field(default_factory=dict)
    elsewhere: Mapping[int, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """The columns of some rows. ValueError for one that columns cannot hold without changing it."""
        if isinstance(rows, Rows):
            return rows
        rows = tuple(rows)
        lists = _lists(rows)
        texts = {
            "run": _Texts(row.run_id for row in rows), "image": _Texts(row.image_id for row in rows),
            "sample": _Texts(row.sample for row in rows if row.sample is not None),
            "card": _Texts(row.card for row in rows if row.card is not None),
        }  # fmt: skip
        return cls(
            runs=texts["run"].texts,
            images=texts["image"].texts,
            samples=texts["sample"].texts,
            cards=texts["card"].texts,
            run=texts["run"].places(row.run_id for row in rows),
            image=texts["image"].places(row.image_id for row in rows),
            sample=texts["sample"].places(row.sample for row in rows),
            card=texts["card"].places(row.card for row in rows),
            ok=np.array([row.status == "ok" for row in rows], np.bool_),
            seconds=np.array([row.seconds for row in rows], np.float64),
            lengths=np.array([len(row.pixels) for row in rows], np.int64),
            true=lists["true"],
            predicted=lists["predicted"],
            pixels=lists["pixels"],
            errors={number: row.error for number, row in enumerate(rows) if row.error is not None},
            label_maps={number: row.label_map for number, row in enumerate(rows) if row.label_map is not None},
            gathered={number: row.gathered for number, row in enumerate(rows) if row.gathered is not None},
            boundaries={number: row.boundaries for number, row in enumerate(rows) if row.boundaries is not None},
            artefacts={number: row.artefact for number, row in enumerate(rows) if row.artefact is not None},
            elsewhere={number: True for number, row in enumerate(rows) if row.elsewhere},
        )

    @classmethod
    def joined(cls, parts: Iterable[Rows]) -> Rows:
        """The rows of several, in order."""
        parts = tuple(parts)
        if len(parts) < 2:
            return parts[0] if parts else cls.of(())
        columns: dict[str, Any] = {}
        for name, place in TEXT_COLUMNS.items():
            own = [getattr(part, name) for part in parts]
            every = list(chain.from_iterable(own))
            texts = _Texts(every)
            places = texts.places([*every, None])
            starts = np.repeat([0, *accumulate(map(len, own))][:-1], list(map(len, parts)))
            found = _concatenated([getattr(part, place) for part in parts], place)
            columns[name], columns[place] = texts.texts, places[np.where(found < 0, -1, found + starts)]
        for name in ("ok", "seconds", "lengths", *_MOST):
            columns[name] = _concatenated([getattr(part, name) for part in parts], name)
        firsts = tuple(accumulate(map(len, parts), initial=0))
        for name in SPARSE_COLUMNS:
            held = zip(firsts, (getattr(part, name) for part in parts), strict=False)
            columns[name] = {start + number: one for start, own in held for number, one in own.items()}
        return cls(**columns)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes the arrays are one string of bytes: that is read several times faster."""
        texts = tuple(getattr(self, name) for name in TEXT_COLUMNS)
        sizes = tuple((name, getattr(self, name).size) for name in COLUMNS)
        content = b"".join(getattr(self, name).tobytes() for name in COLUMNS)
        return _from_bytes, (texts, sizes, content, *(getattr(self, name) for name in SPARSE_COLUMNS))

    def __len__(self) -> int:
        return int(self.run.size)

    @overload
    def __getitem__(self, number: int) -> Row: ...

    @overload
    def __getitem__(self, number: slice) -> Rows: ...

    def __getitem__(self, number: int | slice) -> Row | Rows:
        if isinstance(number, slice):
            return self.only(np.arange(len(self))[number])
        number = range(len(self))[number]
        return self._row(number, int(self.lengths[:number].sum(dtype=np.int64)))

    def __iter__(self) -> Iterator[Row]:
        starts = accumulate(self.lengths.tolist(), initial=0)
        return (self._row(number, start) for number, start in zip(range(len(self)), starts, strict=False))

    def bare(self) -> Rows:
        """The same rows without files."""
        return replace(self, label_maps={}, gathered={}) if self.label_maps or self.gathered else self

    def computed_on(self, card: str) -> Rows:
        """The same rows, which say that this kind of card computed them; an empty text says nothing."""
        if not card:
            return self
        rows = object.__new__(Rows)  # of every batch: see _from_bytes
        rows.__dict__.update(self.__dict__, cards=(card,), card=np.zeros(len(self), np.int32))
        return rows

    def key(self, number: int) -> tuple[str, str]:
        """Run and image of a row."""
        return self.runs[self.run[number]], self.images[self.image[number]]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Run and image of every row."""
        runs, images = self.runs, self.images
        return [(runs[run], images[image]) for run, image in zip(self.run.tolist(), self.image.tolist(), strict=True)]

    def only(self, chosen: NDArray[Any]) -> Rows:
        """Some rows, by their numbers or by a mask."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        places = _ranges((np.cumsum(self.lengths) - self.lengths)[numbers], self.lengths[numbers])
        columns: dict[str, Any] = {name: getattr(self, name)[numbers] for name in _BY_ROW}
        columns |= {name: getattr(self, name).take(places) for name in _MOST}
        for name in SPARSE_COLUMNS:
            held = getattr(self, name)
            columns[name] = {new: held[old] for new, old in enumerate(numbers.tolist()) if old in held} if held else {}
        return replace(self, **columns)

    def _row(self, number: int, start: int) -> Row:
        part, place = slice(start, start + int(self.lengths[number])), int(self.sample[number])
        card = int(self.card[number])
        return Row(
            self.runs[self.run[number]], self.images[self.image[number]], STATUSES[0 if self.ok[number] else 1],
            float(self.seconds[number]), self.errors.get(number), self.true[part].astype(np.int64),
            self.predicted[part].astype(np.int64), self.pixels[part].astype(np.int64),
            label_map=self.label_maps.get(number), gathered=self.gathered.get(number),
            boundaries=self.boundaries.get(number),
            sample=self.samples[place] if place >= 0 else None, artefact=self.artefacts.get(number),
            card=self.cards[card] if card >= 0 else None,
            elsewhere=number in self.elsewhere,
        )  # fmt: skip


TEXT_COLUMNS = {"runs": "run", "images": "image", "samples": "sample", "cards": "card"}  # and the places of a row's own
SPARSE_COLUMNS = ("errors", "label_maps", "gathered", "boundaries", "artefacts", "elsewhere")
_BY_ROW = ("run", "image", "sample", "card", "ok", "seconds", "lengths")


class _Texts:
    """Some texts, each once, in the order in which they come first, and the places of all."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        self._place: dict[str | None, int] = dict(zip(self.texts, range(len(self.texts)), strict=True))
        self._place[None] = -1

    def places(self, texts: Iterable[str | None]) -> NDArray[np.int32]:
        return np.array([*map(self._place.__getitem__, texts)], np.int32)


def _from_bytes(texts: Any, sizes: Sequence[tuple[str, int]], content: bytes, *sparse: Any) -> Rows:
    """Rows as they were, their arrays read-only."""
    rows = object.__new__(Rows)  # a frozen dataclass sets its fields one by one, which takes as long as all the rest
    columns: dict[str, Any] = rows.__dict__
    columns.update(zip(TEXT_COLUMNS, texts, strict=True))
    columns.update(zip(SPARSE_COLUMNS, sparse, strict=True))
    start = 0
    for name, size in sizes:
        columns[name] = np.frombuffer(content, COLUMNS[name], size, start)
        start += columns[name].nbytes
    return rows


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """From every start on so many numbers, end to end. One array: most of the time of more would go to fresh memory."""
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    steps = np.ones(int(lengths.sum()), np.int64)
    steps[:1] = starts[:1]
    steps[np.cumsum(lengths[:-1])] = starts[1:] - (starts + lengths)[:-1] + 1
    return np.cumsum(steps, out=steps)


def _concatenated(arrays: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, COLUMNS[name])


def _lists(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """The overlaps of all rows end to end, in the types in which they are stored."""
    found: dict[str, NDArray[Any]] = {}
    for row in rows:
        true, predicted, pixels = row.true.shape, row.predicted.shape, row.pixels.shape
        if not (true == predicted == pixels and len(true) == 1 and row.status in STATUSES):
            raise _unfit(row)
    ends = np.cumsum([len(row.pixels) for row in rows])
    for name, most in _MOST.items():
        joined = np.concatenate([np.zeros(0, np.int64), *(np.asarray(getattr(row, name), np.int64) for row in rows)])
        beyond = np.flatnonzero((joined < 0) | (joined > most))
        if beyond.size:
            raise _unfit(rows[int(np.searchsorted(ends, beyond[0], side="right"))])
        found[name] = joined.astype(COLUMNS[name])
    return found


def _unfit(row: Row) -> ValueError:
    return ValueError(f"the row of run {row.run_id}, image {row.image_id}")
