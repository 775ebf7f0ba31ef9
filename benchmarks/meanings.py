"""What a person wrote of labels flows in: what values, colours and names stand for; strict tables flow out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults import StrayLabel
from benchmarks.mask_files import Colours
from benchmarks.masks import LabelTable
from harness.contracts import BACKGROUND, IGNORED, WIDE_IGNORED, Truth

Others = Literal["refused", "ignored", "background"]
_HEX = re.compile(r"#([0-9A-Fa-f]{6})")
_RGB = re.compile(r"(\d{1,3})[ ,]+(\d{1,3})[ ,]+(\d{1,3})")
_LARGEST = 65535
_CURE = "; say what others are: `labels`, `ignore`, `background`, or `first` where the first class is not 0"
_BELOW = re.compile(r"-\d+")
_FOUR = re.compile(r"#[0-9A-Fa-f]{8}|\d{1,3}(?:[ ,]+\d{1,3}){3}")
_SHOWN = 6


@dataclass(frozen=True)
class Meanings:
    """Key -> truth; keys are values, colours as numbers, or names, as `kind` says. others: of what is not named."""

    kind: Literal["value", "colour", "name"]
    truths: Mapping[int | str, int]
    others: int | None
    wide: bool

    @property
    def ignored(self) -> int:
        """The truth of what is not scored."""
        return WIDE_IGNORED if self.wide else IGNORED

    def values(self, called: str) -> LabelTable:
        """The table of raw values of up to 16 bits."""
        known = {key: true for key, true in self.truths.items() if isinstance(key, int)}
        if self.others is None:
            return LabelTable.of(called, known, 16, self.wide, _CURE)
        return LabelTable.of(called, {**dict.fromkeys(range(_LARGEST + 1), self.others), **known}, 16, self.wide)

    def colours(self, called: str) -> ColourTable:
        """The table of colours."""
        known = sorted((key, true) for key, true in self.truths.items() if isinstance(key, int))
        keys, truths = (np.array(column, np.uint32) for column in zip(*known, strict=True))
        return ColourTable(keys, truths.astype(np.uint16 if self.wide else np.uint8), self.others, called)


@dataclass(frozen=True, eq=False)
class ColourTable:
    """What every colour means. keys: sorted."""

    keys: Colours
    truths: Truth
    others: int | None
    called: str

    def apply(self, colours: Colours, where: str) -> Truth:
        """The truth (height, width); StrayLabel where a colour is not in the table."""
        places = np.minimum(np.searchsorted(self.keys, colours), len(self.keys) - 1)
        known: NDArray[np.bool_] = self.keys[places] == colours
        truth: Truth = self.truths[places]
        if known.all():
            return truth
        if self.others is not None:
            truth[~known] = self.others
            return truth
        rows, columns = np.nonzero(~known)
        found = ", ".join(hex_colour(int(one)) for one in np.unique(colours[~known])[:_SHOWN])
        raise StrayLabel(
            f"{where} has the colour {found} in {rows.size} pixels, first at row {rows[0]}, column {columns[0]}; "
            f"colours of {self.called} are {', '.join(hex_colour(int(key)) for key in self.keys[:_SHOWN])}"
            f"{' ...' if len(self.keys) > _SHOWN else ''}."
        )


def hex_colour(colour: int) -> str:
    """#rrggbb"""
    return f"#{colour:06x}"


def key_of(written: int | str) -> tuple[str, int | str]:
    """The kind of a key and the key: 12 is a value, `#ff0000` and `255 0 0` a colour, all else a name."""
    text = str(written).strip()
    if text.isdecimal() and text.isascii():
        if int(text) > _LARGEST:
            raise ValueError(f"the value {text} is above {_LARGEST}, the largest that a mask can hold")
        return "value", int(text)
    if found := _HEX.fullmatch(text):
        return "colour", int(found[1], 16)
    if found := _RGB.fullmatch(text):
        red, green, blue = map(int, found.groups())
        if max(red, green, blue) > 255:
            raise ValueError(f"the colour {text!r} has a part above 255")
        return "colour", red << 16 | green << 8 | blue
    if _BELOW.fullmatch(text):
        raise ValueError(f"the value {text} is below 0, and a mask holds 0 to {_LARGEST}: 8 bits store -1 as 255")
    if _FOUR.fullmatch(text):
        raise ValueError(f"the colour {text!r} has four parts; give red, green and blue, without opacity")
    return "name", text


def meanings(
    classes: Sequence[str],
    labels: Mapping[str, str] | None,
    first: int,
    ignore: Iterable[int | str],
    background: Iterable[int | str],
    others: Others,
) -> Meanings:
    """The table of a folder's settings. ValueError for what contradicts itself or names no class.

    labels: key -> class; without it the values from `first` on are the classes in order.
    """
    wide = len(classes) >= IGNORED
    mark = WIDE_IGNORED if wide else IGNORED
    number = {name: place for place, name in enumerate(classes, start=1)}
    written: list[tuple[int | str, int, str]] = [
        *((first + place - 1, place, f"class {name!r}") for name, place in number.items() if labels is None),
        *((key, _number(name, number), f"class {name!r}") for key, name in (labels or {}).items()),
        *((key, mark, "`ignore`") for key in ignore),
        *((key, BACKGROUND, "`background`") for key in background),
    ]
    truths: dict[int | str, int] = {}
    said: dict[int | str, str] = {}
    kinds: dict[str, int | str] = {}
    for raw, true, what in written:
        kind, key = key_of(raw)
        kinds.setdefault(kind, raw)
        if key in truths:
            raise ValueError(f"the {kind} {raw} stands for {said[key]} and for {what}; it can mean one thing")
        truths[key], said[key] = true, what
    if len(kinds) > 1:
        raise ValueError(f"labels are values, colours or names, not several at once: {_list(kinds.values())}")
    rest = {"refused": None, "ignored": mark, "background": BACKGROUND}[others]
    kind = next(iter(kinds), "value")
    return Meanings(kind, truths, rest, wide)  # type: ignore[arg-type]


def _number(name: str, number: Mapping[str, int]) -> int:
    if name not in number:
        close = get_close_matches(str(name), number, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f" ({_list(number)})"
        raise ValueError(f"labels name {name!r}, which is none of the classes{hint}")
    return number[name]


def _list(words: Iterable[object]) -> str:
    shown = [str(word) for word in words]
    return ", ".join(shown[:_SHOWN]) + (" ..." if len(shown) > _SHOWN else "")
