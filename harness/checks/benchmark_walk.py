"""A benchmark, ours or a stranger's, flows in; what a walk over its images found flows out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import IGNORED, Benchmark, DataError, Sample

CONTRACT = "broken contract"
KINDS = (
    "wrong root", "broken list", "count", "missing file", "unreadable file", "wrong mode", "stray label",
    "size mismatch", CONTRACT, "other",
)  # fmt: skip


class Problem(NamedTuple):
    """One thing that is off: its kind (one of KINDS, or a plug-in's own), the image if it has one, the sentence."""

    kind: str
    image_id: str | None
    sentence: str


@dataclass(eq=False)
class Findings:
    """What a walk counted. pixels, images: per truth value 0 to 255, over the images that were read."""

    ids: tuple[str, ...] = ()
    walked: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (height, width)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORED + 1, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORED + 1, np.int64))
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Count one sound sample."""
        counts = np.bincount(sample.truth.reshape(-1), minlength=IGNORED + 1)
        self.pixels += counts
        self.images += counts > 0
        height, width = sample.truth.shape
        self.sizes[height, width] += 1


def list_ids(benchmark: Benchmark, findings: Findings) -> None:
    """The ids, and what is wrong with them or with the classes or the number of images."""
    with _listening(findings.remarks):
        try:
            findings.ids = tuple(benchmark.ids())
            classes = tuple(benchmark.classes)
        except Exception as error:  # a stranger's benchmark may raise anything; the gate says what it was
            findings.problems.append(_problem(error, None))
            return
    findings.problems += [Problem(CONTRACT, None, text) for text in _about_ids(findings.ids)]
    findings.problems += [Problem(CONTRACT, None, text) for text in _about_classes(classes)]
    _compare_count(benchmark, findings)


def spread(ids: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """All ids, or `limit` of them at even distances, the first and the last among them."""
    if limit is None or limit >= len(ids):
        return tuple(ids)
    places = np.linspace(0, len(ids) - 1, limit).round().astype(int)
    return tuple(ids[place] for place in places)


def walk(benchmark: Benchmark, ids: Iterable[str], findings: Findings) -> Iterator[str]:
    """Load every image and check it against the contract; yields an id when its image is done."""
    classes = len(benchmark.classes)
    for image_id in ids:
        with _listening(findings.remarks):
            try:
                sample = benchmark.load(image_id)
                _check(sample, image_id, classes)
                findings.add(sample)
            except Exception as error:  # one bad image is one problem; the walk goes on
                findings.problems.append(_problem(error, image_id))
        findings.walked += 1
        yield image_id


def _check(sample: Sample, image_id: str, classes: int) -> None:
    """ValueError when a sample is not what the contract promises."""
    image, truth = sample.image, sample.truth
    if sample.image_id != image_id:
        raise ValueError(f"the sample calls itself {sample.image_id!r}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image is {image.dtype} {image.shape}; it must be uint8 (height, width, 3)")
    if truth.dtype != np.uint8 or truth.shape != image.shape[:2]:
        raise ValueError(f"the truth is {truth.dtype} {truth.shape}; it must be uint8 {image.shape[:2]}, as the image")
    strays = np.unique(truth[(truth > classes) & (truth != IGNORED)])
    if strays.size:
        raise ValueError(f"the truth holds {strays.tolist()}; it may hold 0 to {classes} and {IGNORED}")


def _problem(error: Exception, image_id: str | None) -> Problem:
    if isinstance(error, DataError):
        return Problem(str(getattr(error, "kind", "other")), image_id, str(error))
    return Problem(CONTRACT, image_id, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _about_ids(ids: tuple[str, ...]) -> Iterator[str]:
    if not ids:
        yield "ids() gives no image"
    if not all(isinstance(image_id, str) for image_id in ids):
        yield "ids() gives something other than text"
    elif list(ids) != sorted(ids):
        yield "ids() is not sorted"
    doubled = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if doubled:
        yield f"ids() names images more than once: {', '.join(map(str, doubled[:5]))}"


def _about_classes(classes: tuple[str, ...]) -> Iterator[str]:
    if not 1 <= len(classes) < IGNORED:
        yield f"there are {len(classes)} classes; there can be 1 to {IGNORED - 1}"
    doubled = [name for name, count in Counter(classes).items() if count > 1]
    if doubled:
        yield f"classes have the same name: {', '.join(doubled[:5])}"


def _compare_count(benchmark: Benchmark, findings: Findings) -> None:
    """The number of images against the official one, where the benchmark knows it."""
    expected, found = getattr(benchmark, "expected_images", None), len(findings.ids)
    if expected is None or found == expected:
        return
    text = f"{found} images; the official split has {expected}"
    if found in getattr(benchmark, "accepted_images", ()):
        findings.remarks.append(f"{text}, and published work also uses {found}")
    else:
        findings.problems.append(Problem("count", None, text))


class _Ear(logging.Handler):
    """Keeps what is logged while it listens."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.INFO)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


@contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Readers say by the log what they decided about a file (a turned picture, say); the gate shows it."""
    root, ear = logging.getLogger(), _Ear(heard)
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(ear)
