"""The settings of a person's own labels flow in; class names, what values mean and how masks are read flow out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from benchmarks.faults import BrokenList
from benchmarks.mask_files import Channel, read_colours, read_values
from benchmarks.masks import Meaning
from benchmarks.meanings import Meanings, Others, meanings
from benchmarks.pictures import Blob
from benchmarks.written import CLASS_FILES, TABLE_FILES, read_classes, read_label_table


def _named(endings: tuple[str, ...]) -> Callable[[str], str]:
    """What refuses a text that names no file of these endings, so that one word is not taken for a file."""

    def check(text: str) -> str:
        if not text.lower().endswith(endings):
            raise ValueError(f"Text should name a file that ends in {' or '.join(endings)}")
        return text

    return check


ClassFile = Annotated[str, AfterValidator(_named(CLASS_FILES))]
TableFile = Annotated[str, AfterValidator(_named(TABLE_FILES))]
Keys = tuple[int | str, ...]  # values, colours or categories
Unpaired = Literal["refused", "left_out"]


@dataclass(frozen=True, eq=False)
class LabelSettings:
    """See benchmarks.folder. root: where files lie that are not beside the grid. called: the data set, for messages.

    categories: of annotations, what gives their names in order. ValueError for settings that make no sense together.
    """

    root: Path
    called: str
    written_classes: str | tuple[str, ...] | None
    written_labels: str | Mapping[str, str] | None
    first: int
    ignore: Keys
    background: Keys
    others: Others
    reduce_zero_label: bool
    channel: Channel
    categories: Callable[[], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.reduce_zero_label and (self.written_labels is not None or self.first != 0 or self.ignore):
            raise ValueError(
                "reduce_zero_label means ignore: [0] and first: 1; give either it or labels, first, ignore"
            )
        if self.written_labels is not None and self.first != 0:
            raise ValueError("labels say which value is which class; leave out first")
        if self.first < 0:
            raise ValueError(f"first is {self.first}; the value of the first class is 0 or above")
        if self.written_classes is None and self.categories is None:
            raise ValueError("classes are needed: a list in order, or a file with one a line")
        if self._inline:
            _ = self.meanings  # so that settings that contradict themselves are told at once

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names in order."""
        if isinstance(self.written_classes, str):
            return read_classes(self.root / self.written_classes)
        return tuple(self.categories()) if self.written_classes is None and self.categories else self._given

    @cached_property
    def meanings(self) -> Meanings:
        """What every value, colour or category stands for."""
        labels = self.written_labels
        if isinstance(labels, str):
            labels = read_label_table(self.root / labels)
        elif labels is None and self.categories is not None:
            labels = {name: name for name in self.categories() if name in self.classes}
        first, ignore = (1, (0,)) if self.reduce_zero_label else (self.first, self.ignore)
        try:
            return meanings(self.classes, labels, first, ignore, self.background, self.others)
        except ValueError as error:
            if self._inline:
                raise
            raise BrokenList(f"Of {self.called}, {error}.") from None

    def reading(self) -> tuple[Callable[[Blob], Any], Meaning]:
        """What takes the labels from a mask's bytes, and what they mean."""
        if self.meanings.kind == "name":
            raise BrokenList(f"labels of {self.called} are names, which only annotations have; give values or colours.")
        if self.meanings.kind == "colour":
            return read_colours, self.meanings.colours(self.called)
        return read_values(self.channel), self.meanings.values(self.called)

    def facts(self) -> str:
        """What stands for the classes and the meanings in a fingerprint."""
        table = sorted((str(key), true) for key, true in self.meanings.truths.items())
        return repr((self.classes, table, self.meanings.others))

    @property
    def _given(self) -> tuple[str, ...]:
        return self.written_classes if isinstance(self.written_classes, tuple) else ()

    @property
    def _inline(self) -> bool:
        """Whether all of it stands in the settings, so that no file is needed to check it."""
        return self.categories is None and not isinstance(self.written_labels, str) and bool(self._given)
