"""A benchmark flows in; its samples flow out, each with its origin: digest of the pixels, and the files behind it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.contracts import Mark, Origin, Recipe, Sample
from harness.recipes import loading
from harness.recipes.opened import Marks, mark_of, opened

_BYTES = 16
_MOST = 100  # files of one image; of more, say an archive's many parts, none is remembered


def digest(sample: Sample) -> str:
    """32 hex digits for an image and its truth as they were decoded: types, shapes and bytes of both, in order."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for array in (np.asarray(sample.image), np.asarray(sample.truth)):
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


class Source:
    """A benchmark and what is known of its files.

    Where it names them (`files`), they are those. Else they are what loading an image opened, and what all images rest
    on: files that were opened while the benchmark was made, and those that the first image does not open again when it
    is loaded twice (a list or an archive that is kept). An image that opens nothing new rests on all that was opened.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.use = recipe.use
        loading.load_class(recipe.use)  # what imports open is no data
        self._own: dict[str, Marks] = {}
        self._ever: Marks = {}
        self._shared: Marks = {}
        with self.asked():
            self.benchmark: Any = loading.build(recipe)
        self.names_files = callable(getattr(self.benchmark, "files", None))

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While the benchmark is asked for its classes or ids: what it opens then is behind every image."""
        with opened() as marks:
            yield
        self._shared |= marks

    def named(self, image_id: str) -> tuple[str, ...] | None:
        """The files that the benchmark names for an image, as absolute paths; None where it names none for any."""
        if not self.names_files:
            return None
        return tuple(os.path.abspath(os.fspath(path)) for path in self.benchmark.files(image_id))

    def load(self, image_id: str, check: Callable[[Any], Sample]) -> tuple[Sample, Origin]:
        """The sample, checked, and its origin; files are looked at before they are read: no change is overlooked."""
        named = self.named(image_id)
        if named is not None:
            marks = tuple(mark_of(path) for path in named)
            given = self.benchmark.load(image_id)
        else:
            given, marks = self._watched(image_id)
        sample = check(given)
        return sample, Origin(image_id, digest(sample), marks)

    def _watched(self, image_id: str) -> tuple[Any, tuple[Mark, ...]]:
        with opened() as marks:
            given = self.benchmark.load(image_id)
        if marks and not self._ever:
            with opened() as again:
                self.benchmark.load(image_id)
            self._shared |= {path: mark for path, mark in marks.items() if path not in again}
        self._ever |= marks
        own = self._own[image_id] = {**self._own.get(image_id, {}), **marks}
        found = {**self._shared, **(own or self._ever)}
        return given, tuple(found[path] for path in sorted(found)) if len(found) <= _MOST else ()
