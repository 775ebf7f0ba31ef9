"""The ways in which a data set's files can be wrong: each a DataError with the kind under which the gate counts it."""

from __future__ import annotations

from typing import ClassVar

from harness.contracts import DataError

__all__ = [
    "BrokenList",
    "DataError",
    "MissingFile",
    "SizeMismatch",
    "StrayLabel",
    "UnreadableFile",
    "WrongMode",
    "WrongRoot",
]


class WrongRoot(DataError):
    """The folder is not this data set."""

    kind: ClassVar[str] = "wrong root"


class BrokenList(DataError):
    """A split list, or what stands for it, is missing, empty or not a list of image names."""

    kind: ClassVar[str] = "broken list"


class MissingFile(DataError):
    """A file that the split promises is not there."""

    kind: ClassVar[str] = "missing file"


class UnreadableFile(DataError):
    """A file is there and cannot be decoded."""

    kind: ClassVar[str] = "unreadable file"


class WrongMode(DataError):
    """A mask or image is stored in a form from which its values cannot be taken as they are."""

    kind: ClassVar[str] = "wrong mode"


class StrayLabel(DataError):
    """A mask holds a value that the data set does not have."""

    kind: ClassVar[str] = "stray label"


class SizeMismatch(DataError):
    """Image and mask differ in size, and no EXIF orientation explains it."""

    kind: ClassVar[str] = "size mismatch"
