"""Mask files flow in; truths flow out, value by value through a strict table: nothing unexpected becomes a class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.faults import StrayLabel, UnreadableFile, WrongMode
from benchmarks.pictures import MAGIC, Blob, decode
from harness.contracts import IGNORED, WIDE_IGNORED, Truth

RawLabels = NDArray[np.unsignedinteger[Any]]  # (height, width), uint8 or uint16, the values in the file
BIT_DEPTH_AT = 24  # offset of the bit depth in a PNG: signature, then length, name, width and height of the header


class Meaning(Protocol):
    """What the values (or colours) of a mask mean."""

    def apply(self, raw: Any, where: str) -> Truth: ...


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What every raw value means: one entry per value that 8 (16) bits can hold, and whether the data set has it.

    cure: what can be done about another one, for the end of a sentence.
    """

    truth: Truth
    listed: NDArray[np.bool_]
    data_set: str
    cure: str = ""

    @classmethod
    def of(
        cls, data_set: str, meaning: Mapping[int, int], bits: int = 8, wide: bool = False, cure: str = ""
    ) -> LabelTable:
        """The table of a mapping from raw value to truth; every value that is not named is an error.

        bits: of raw values. wide: for more than 254 classes: truths of 16 bits, in which WIDE_IGNORED means ignored.
        """
        truth: Truth = np.zeros(1 << bits, np.uint16 if wide else np.uint8)
        listed = np.zeros(1 << bits, np.bool_)
        for raw, true in meaning.items():
            truth[raw], listed[raw] = true, True
        return cls(truth, listed, data_set, cure)

    def apply(self, raw: RawLabels, where: str) -> Truth:
        """The truth (height, width) of raw labels; StrayLabel with file and values when one is not in the table."""
        if raw.size and int(raw.max()) >= self.truth.size:
            raise self._stray(raw, raw >= self.truth.size, where)
        seen = np.zeros(self.truth.size, np.bool_)
        seen[raw] = True
        if np.any(seen & ~self.listed):
            raise self._stray(raw, ~self.listed[raw], where)
        return self.truth[raw]

    def _stray(self, raw: RawLabels, bad: NDArray[np.bool_], where: str) -> StrayLabel:
        rows, columns = np.nonzero(bad)
        values = ", ".join(str(value) for value in np.unique(raw[bad])[:8])
        return StrayLabel(
            f"{where} has the label {values} in {rows.size} pixels, first at row {rows[0]}, column {columns[0]}; "
            f"labels of {self.data_set} are {ranges_in_words(np.flatnonzero(self.listed).tolist())}{self.cure}."
        )


def offset_table(data_set: str, classes: int, *, first: int, also: Mapping[int, int], bits: int = 8) -> LabelTable:
    """Raw `first` is the first class, and so on upwards; `also` names the raw values that are no class.

    IGNORED among their truths becomes WIDE_IGNORED where there are more than 254 classes.
    """
    wide = classes >= IGNORED
    others = {raw: WIDE_IGNORED if wide and true == IGNORED else true for raw, true in also.items()}
    return LabelTable.of(data_set, {**{first + index: 1 + index for index in range(classes)}, **others}, bits, wide)


def void_to_ignored(raw_void: int = 255) -> dict[int, int]:
    """The entry of a table that says: this raw value is not scored."""
    return {raw_void: IGNORED}


def ranges_in_words(values: Iterable[int]) -> str:
    """`0 to 20 and 255` for the values 0, 1, ..., 20, 255."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    parts = [str(low) if low == high else f"{low} to {high}" for low, high in runs]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def decode_mask(blob: Blob, modes: tuple[str, ...] = ("P", "L", "I;16")) -> Pillow.Image:
    """A mask as it is stored, never converted. WrongMode when its values would not be the labels."""
    if not blob.data.startswith(MAGIC["PNG"]):
        raise UnreadableFile(f"{blob.where} is not a PNG file; label masks are, other formats change the labels.")
    mask = decode(blob, ("PNG",))
    if mask.mode not in modes:
        raise WrongMode(
            f"{blob.where} has the mode {mask.mode}, and masks of this data set have {' or '.join(modes)}; "
            "it was saved anew by some program. Take the original file."
        )
    if mask.mode == "L" and blob.data[BIT_DEPTH_AT] != 8:  # decoders stretch these to 0..255
        raise WrongMode(f"{blob.where} is a grey PNG of {blob.data[BIT_DEPTH_AT]} bits; masks have 8. Save it with 8.")
    return mask


def read_labels(blob: Blob) -> RawLabels:
    """The raw labels (height, width) of a palette, grey or 16-bit grey PNG: the indices, never the colours."""
    labels: RawLabels = np.asarray(decode_mask(blob))
    return labels
