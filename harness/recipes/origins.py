"""A benchmark flows in; its samples flow out, each with its origin: digest of the pixels, and the files behind it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from harness.contracts import Benchmark, DataError, Mark, NamesFiles, Origin, Recipe, Sample, narrowed
from harness.foreign.opened import Marks, mark_of, opened
from harness.recipes import loading
from harness.recipes.named_files import texts_of

_BYTES = 16
_READERS = {
    "PIL": "pillow", "cv2": "opencv", "h5py": "h5py", "imageio": "imageio", "numpy": "numpy", "pyarrow": "pyarrow",
    "scipy": "scipy", "skimage": "scikit-image", "tifffile": "tifffile", "torchvision": "torchvision",
}  # fmt: skip
_MOST = 100  # files that are behind all images; of more, say the parts of a large archive, the last ones
_kept: dict[str, Marks] = {}  # by benchmark: what is opened once a process, by whichever object comes first
_DOUBTS = 3  # images that may be loaded again in vain: some simply have fewer files than others


def sample_digest(sample: Sample) -> str:
    """32 hex digits for an image and its truth as they were decoded: types, shapes and bytes of both, in order.

    The truth in 8 bits where they hold it: what it says has one digest, however wide it was given.
    """
    return _digests(sample)[1]


def _digests(sample: Sample) -> tuple[str, str]:
    """Of the image alone, and of image and truth."""
    state = hashlib.blake2b(digest_size=_BYTES)
    found = []
    for array in (np.asarray(sample.image), narrowed(np.asarray(sample.truth))):
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
        found.append(state.hexdigest())
    return found[0], found[1]


def readers() -> str:
    """The libraries in this process that decode images, with their versions: `numpy 2.1.0, pillow 11.0.0`."""
    loaded = ((said, getattr(sys.modules.get(module), "__version__", None)) for module, said in _READERS.items())
    return ", ".join(f"{said} {version}" for said, version in loaded if version)


class DataSource:
    """A benchmark and what is known of its files.

    Where it names them (`files`), they are those. Else they are what loading an image opened, and what all images may
    rest on: files that its settings name, those that were opened while the benchmark was made and asked for classes and
    ids, and those that an earlier image opened and does not open again when it is loaded again (a list or an archive
    that is kept).
    """

    def __init__(self, recipe: Recipe) -> None:
        self.use = recipe.use
        loading.load_class(recipe.use)  # what imports open is no data
        self._own: dict[str, Marks] = {}
        self._last: tuple[str, Marks] | None = None
        self._fruitless = 0
        texts = texts_of(tuple(recipe.as_dict().values()))
        self._places = [text for text in texts if os.path.isabs(text) and os.path.exists(text)]
        self._once = _kept.setdefault(repr(recipe), {})
        named = {path: mark_of(path) for path in map(os.path.abspath, self._places) if os.path.isfile(path)}
        self._shared: Marks = {**self._once, **named}
        with self.asked():
            self.benchmark: Benchmark = loading.build(recipe)
        self.names_files = callable(getattr(self.benchmark, "files", None))

    def unseen(self, origin: Origin) -> str:
        """What to say where an image rests on no file that is known, though the benchmark was told a place."""
        told = self.names_files or origin.files or callable(getattr(self.benchmark, "fingerprint", None))
        if told or not self._places:
            return ""
        return (
            f"No file was seen behind the images of {self.use}, which is given {self._places[0]}: if they change, "
            "nobody will notice. Let it say its files (`files(image_id)`), or what stands for them (`fingerprint()`)."
        )

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While the benchmark is asked for its classes or ids: what it opens then is behind every image."""
        with opened() as marks:
            yield
        self._once |= marks
        self._shared |= marks

    def named(self, image_id: str) -> tuple[str, ...] | None:
        """The files that the benchmark names for an image, as absolute paths; None where it names none for any."""
        if not self.names_files:
            return None
        given = cast(NamesFiles, self.benchmark).files(image_id)
        if isinstance(given, str | bytes | os.PathLike):  # letter by letter no path would be one
            raise DataError(f"files({image_id!r}) gives one path, {given!r}; it must give a list of paths")
        paths = [os.fspath(path) for path in given]
        return tuple([path if os.path.isabs(path) else os.path.abspath(path) for path in paths])

    def load(self, image_id: str, check: Callable[[Any], Sample]) -> tuple[Sample, Origin]:
        """The sample, checked, and its origin; files are looked at before they are read: no change is overlooked."""
        named = self.named(image_id)
        if named is not None:
            marks = tuple([mark_of(path) for path in named])
            given = self.benchmark.load(image_id)
        else:
            given, marks = self._watched(image_id)
        sample = check(given)
        image, whole = _digests(sample)
        return sample, Origin(image_id, whole, marks, readers(), image)

    def _watched(self, image_id: str) -> tuple[Any, tuple[Mark, ...]]:
        given, marks = self._heard(image_id)
        if image_id not in self._own:
            self._doubt(marks)
            self._last = image_id, marks
        own = self._own[image_id] = {**self._own.get(image_id, {}), **marks}
        found = {**dict(list(self._shared.items())[-_MOST:]), **own}
        return given, tuple([found[path] for path in sorted(found)])

    def _heard(self, image_id: str) -> tuple[Any, Marks]:
        with opened() as marks:
            given = self.benchmark.load(image_id)
        return given, marks

    def _doubt(self, marks: Marks) -> None:
        """Where an image opens fewer files than the one before, that one is loaded again: what it does not open a
        second time is kept open, or kept in memory, and may be behind every image since."""
        if self._last is None or len(marks) >= len(self._last[1]) or self._fruitless >= _DOUBTS:
            return
        image_id, before = self._last
        _, again = self._heard(image_id)
        kept = {path: mark for path, mark in before.items() if path not in again}
        self._shared |= kept
        self._fruitless = 0 if kept else self._fruitless + 1
