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

from harness.contracts import WIDE_IGNORED, Benchmark, DataError, Sample
from harness.protocol.given import CONTRACT, about_classes, about_ids, checked_sample

UNSTEADY = "another when loaded again"
KINDS = (
    "wrong root", "broken list", "count", "missing file", "unreadable file", "wrong mode", "stray label",
    "size mismatch", CONTRACT, UNSTEADY, "other",
)  # fmt: skip


class Problem(NamedTuple):
    """One thing that is off: its kind (one of KINDS, or a plug-in's own), the image if it has one, the sentence."""

    kind: str
    image_id: str | None
    sentence: str


@dataclass(eq=False)
class Findings:
    """What a walk counted. pixels, images: per truth value 0 to 65535, over the images that were read."""

    ids: tuple[str, ...] = ()
    walked: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (height, width)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(WIDE_IGNORED + 1, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(WIDE_IGNORED + 1, np.int64))
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Count one sound sample."""
        counts = np.bincount(sample.truth.reshape(-1), minlength=WIDE_IGNORED + 1)
        self.pixels += counts
        self.images += counts > 0
        height, width = sample.truth.shape
        self.sizes[height, width] += 1


def list_ids(benchmark: Benchmark, findings: Findings) -> None:
    """The ids, and what is wrong with them or with the classes or the number of images."""
    with _listening(findings.remarks):
        try:
            ids, classes = benchmark.ids(), benchmark.classes
            faults = [f"classes {text}" for text in about_classes(classes)]
            faults += [f"ids() {text}" for text in about_ids(ids)]
        except Exception as error:  # a stranger's benchmark may raise anything; the gate says what it was
            findings.problems.append(_problem(error, None))
            return
    findings.problems += [Problem(CONTRACT, None, text) for text in faults]
    if not faults:
        findings.ids = tuple(ids)
        _compare_count(benchmark, findings)
        if list(ids) != sorted(ids):
            findings.remarks.append("ids() is not sorted; the harness takes the images in the order of their ids")


def evenly_chosen(ids: Sequence[str], limit: int | None) -> tuple[str, ...]:
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
                findings.add(checked_sample(benchmark.load(image_id), image_id, classes))
            except Exception as error:  # one bad image is one problem; the walk goes on
                findings.problems.append(_problem(error, image_id))
        findings.walked += 1
        yield image_id


def _problem(error: Exception, image_id: str | None) -> Problem:
    if isinstance(error, DataError):
        return Problem(str(getattr(error, "kind", "other")), image_id, str(error))
    return Problem(CONTRACT, image_id, f"{type(error).__name__}: {' '.join(str(error).split())}")


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
