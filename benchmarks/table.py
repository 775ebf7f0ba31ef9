"""Parquet files, of a folder or of the hub's cache, flow in; images with classes flow out. See docs/data/table.md."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.dataset import OnDisk
from benchmarks.faults import BrokenList, MissingFile, WrongRoot
from benchmarks.label_settings import ClassFile, Keys, LabelSettings, TableFile
from benchmarks.listing import contents
from benchmarks.mask_files import Channel
from benchmarks.meanings import Others
from benchmarks.parquet_rows import Columns, ParquetRows, cells_of, plain_key
from benchmarks.patterns import unsafe
from benchmarks.pictures import ANY_FORMAT

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Table(OnDisk):
    """A row an image, with the bytes of the image and of its mask. Needs pyarrow.

    root: a folder, or hub: `owner/name` with revision: a commit of 40 digits, read from the hub's cache on this machine
    and never fetched. files: parquet files below it, with stars. id, image, mask: columns, with what is inside them
    (`segmentations.0`); without id the rows are counted. What labels mean is said as in benchmarks.folder.
    """

    inside: ClassVar[tuple[str, ...]] = ("files", "id", "image", "mask", "hub")

    def __init__(
        self,
        *,
        root: str = "",
        hub: str = "",
        revision: str = "",
        files: str = "**/*.parquet",
        id: str = "",
        image: str = "image",
        mask: str = "mask",
        classes: ClassFile | tuple[str, ...] | None = None,
        labels: TableFile | Mapping[str, str] | None = None,
        first: int = 0,
        ignore: Keys = (),
        background: Keys = (),
        others: Others = "refused",
        reduce_zero_label: bool = False,
        channel: Channel = "none",
        expected: int | None = None,
    ) -> None:
        if bool(root) == bool(hub):
            raise ValueError("give root, a folder, or hub, the id of a data set, and not both")
        if hub and not _HUB_ID.fullmatch(hub):
            raise ValueError(f"hub is owner/name, not {hub!r}")
        if hub and not _COMMIT.fullmatch(revision):
            raise ValueError(
                f"revision of {hub} is a commit of 40 digits, so that the data stay the same, not {revision!r}"
            )
        if unsafe(files):
            raise ValueError(f"files {files!r} leads out of the folder; give names below root, without '..'")
        self._root, self._hub, self._revision, self._files = root, hub, revision, files
        self._columns, self.expected_images = Columns(image, mask, id), expected
        self._labels = LabelSettings(
            root=Path(root), called=self.called, written_classes=classes, written_labels=labels, first=first,
            ignore=ignore, background=background, others=others, reduce_zero_label=reduce_zero_label, channel=channel,
        )  # fmt: skip

    @property
    def called(self) -> str:
        return f"the table {self._hub or self._root}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in order."""
        return self._labels.classes

    def open_source(self) -> ParquetRows:
        folder = self._cached() if self._hub else Path(self._root)
        if not folder.is_dir():
            raise WrongRoot(f"{str(folder)!r} is not a folder with parquet files: {contents(folder)}.")
        files = sorted(folder.glob(self._files))
        if not files:
            raise BrokenList(f"{folder} has no file that fits {self._files!r}; {contents(folder)}.")
        read, table = self._labels.reading()
        cells = cells_of(files, self._columns, plain_key)
        return ParquetRows(cells, self._columns, table, read, ANY_FORMAT)

    def fingerprint(self) -> str:
        """16 hex digits that stand for the manifest, the classes, and what every label means."""
        return hashlib.sha256((super().fingerprint() + self._labels.facts()).encode()).hexdigest()[:16]

    def _cached(self) -> Path:
        """The data set's folder in the hub's cache. MissingFile where it is not there: nothing is fetched."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE, f"datasets--{self._hub.replace('/', '--')}", "snapshots", self._revision)
        if folder.is_dir():
            return folder
        raise MissingFile(
            f"The data set {self._hub!r} at {self._revision} is not in {constants.HF_HUB_CACHE}; fetch it with "
            f"`hf download {self._hub} --repo-type dataset --revision {self._revision} --include '{self._files}'`."
        )
