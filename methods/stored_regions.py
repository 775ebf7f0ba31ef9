"""An image's id flows in; the map of its regions that another program stored flows out, as a pass of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts import MethodError, Parts, Pass, Query
from methods.stored_arrays import read_array
from methods.stored_files import StoredFiles


@dataclass(frozen=True)
class StoredRegions:
    """Backbone: regions of images, a file each (PNG, TIFF, NPY, NPZ or JSON), whole numbers (height, width) of the
    image; the smallest one stands for what is in no region.

    root: the folder; its content is in the id. files: the file of an image, with `*` for its id. array: a name within
    NPZ files that hold several.
    """

    root: Path
    files: str = "*"
    array: str = ""

    @cached_property
    def stored(self) -> StoredFiles:
        """The files there are."""
        return StoredFiles(self.root, self.files, "region map")

    def models_to_fetch(self) -> Sequence[str]:
        """None ever is; ModelError for a folder that is not on this machine, told with all else."""
        self.stored.check()
        return ()

    def open_models(self) -> Sequence[str]:
        """See which files there are and how they stand."""
        _ = self.stored.listed
        return ()

    def run(
        self, queries: Sequence[Query], requests: Mapping[Pass, Parts]
    ) -> Iterator[tuple[Pass, Sequence[NDArray[np.integer] | MethodError]]]:
        """Every pass with the map (height, width) of every query."""
        for asked in requests:
            yield asked, [self._of(query) for query in queries]

    def _of(self, query: Query) -> NDArray[np.integer] | MethodError:
        """The map of an image, or what is wrong with it: whoever reads it says so, and the batch goes on."""
        if not query.image_id:
            return np.zeros(query.image.shape[:2], np.int32)  # a filler, or a changed image, which has no regions
        try:
            path = self.stored.of(query.image_id)
            found = read_array(path, self.array)
        except MethodError as error:
            return error
        if found.dtype.kind not in "ui" or found.shape != query.image.shape[:2]:
            sides = " x ".join(map(str, query.image.shape[:2]))
            return MethodError(
                f"{path} holds {found.dtype} of shape {found.shape}; regions are whole numbers ({sides}), as the image"
            )
        return found
