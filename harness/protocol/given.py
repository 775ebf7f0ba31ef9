"""What a benchmark gives flows in: classes, ids, a sample; the same flows out, or a DataError that says what is off.

One rule for all: the sweep asks it before anything is computed and for every image, the gate for data sets too.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from harness.contracts import IGNORED, MOST_CLASSES, WIDE_IGNORED, DataError, Sample, widened
from harness.contracts.facts import digest
from harness.errors import HarnessError, bounded, in_words, several
from harness.foreign import interrupts

T = TypeVar("T")

CONTRACT = "broken contract"  # the kind under which the gate counts it
LONGEST = 1000  # characters of an id, or of a class's name
SHOWN = 3
_UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # kinds of characters that break a line, or that no file can hold


class BrokenContract(DataError):
    """A benchmark gives something other than the contract says."""

    kind: ClassVar[str] = CONTRACT
    anywhere: ClassVar[bool] = True  # another machine would be given the same


def classes_of(benchmark: Any, called: str) -> tuple[str, ...]:
    """The classes of a benchmark in order. called: its name, for the sentence."""
    return _sound(benchmark, "classes", about_classes, called)


def check_classes(benchmark: Any, planned: str) -> None:
    """BrokenContract where a benchmark's classes are not those whose digest was planned ("": not known).

    A truth's numbers would mean other classes: so it is where they come from a set, whose order is each process's own.
    """
    if planned and digest(list(benchmark.classes)) != planned:
        raise BrokenContract(
            "the benchmark's classes, or their order, are other ones in this process than when the sweep was planned; "
            "give them in a fixed order (a set has none)"
        )


def ids_of(benchmark: Any, called: str) -> tuple[str, ...]:
    """The ids of a benchmark's images, sorted as text."""
    return tuple(sorted(_sound(benchmark, "ids()", about_ids, called)))


def official_of(benchmark: object, called: str) -> int | None:
    """How many images a data set has by its own account (`expected_images`), where it says so."""
    number = _answer(called, "expected_images", lambda: getattr(benchmark, "expected_images", None))
    if number is None or (isinstance(number, int) and number > 0 and not isinstance(number, bool)):
        return number
    raise BrokenContract(
        f"{called}: expected_images is {bounded(repr(number))}; it must be a number of images, or None"
    )


def clusters_of(benchmark: Any, image_ids: Sequence[str], called: str) -> dict[str, list[str]] | None:
    """Cluster -> its images, where a benchmark names clusters (`cluster_of`); they share no image."""
    if not callable(getattr(benchmark, "cluster_of", None)):
        return None
    clusters: dict[str, list[str]] = {}
    for image_id in image_ids:
        cluster = _answer(called, f"cluster_of({image_id!r})", partial(benchmark.cluster_of, image_id))
        if fault := next(_about_words([cluster]), None):
            raise BrokenContract(f"{called}: cluster_of({image_id!r}) {fault}")
        clusters.setdefault(str(cluster), []).append(image_id)
    return clusters


def about_classes(classes: object) -> Iterator[str]:
    """What is wrong with classes: they are a tuple of 1 to MOST_CLASSES distinct, printable names."""
    if not isinstance(classes, tuple):
        yield f"is {_kind(classes)}; it must be a tuple of names"
        return
    if not 1 <= len(classes) <= MOST_CLASSES:
        yield f"has {len(classes)} entries; there can be 1 to {MOST_CLASSES}"
    yield from _about_words(classes)


def about_ids(ids: object) -> Iterator[str]:
    """What is wrong with ids: they are distinct, printable texts, at least one, in a list or the like."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Collection):
        yield f"gives {_kind(ids)}; it must give a list of texts"
        return
    if not len(ids):
        yield "gives no image"
    yield from _about_words(ids)


def checked_sample(sample: object, image_id: str, classes: int) -> Sample:
    """The sample, its arrays in one piece, its truth in 16 bits; BrokenContract when it is not as the contract says."""
    if not isinstance(sample, Sample):
        raise BrokenContract(f"load() gave {_kind(sample)}; it must give a Sample")
    if sample.image_id != image_id:
        raise BrokenContract(f"the sample calls itself {bounded(repr(sample.image_id))}; it was loaded as {image_id!r}")
    image, truth = sample.image, sample.truth
    for name, array in (("image", image), ("truth", truth)):
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise BrokenContract(f"the {name} is {_kind(array)}; it must be a plain numpy array")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise BrokenContract(f"the image is {image.dtype} {image.shape}; it must be uint8 (height, width, 3), RGB")
    if truth.dtype.kind != "u" or truth.dtype.itemsize > 2 or truth.shape != image.shape[:2]:
        wanted = f"uint8 or uint16 {image.shape[:2]}"
        raise BrokenContract(f"the truth is {truth.dtype} {truth.shape}; it must be {wanted}, as the image")
    wide = widened(truth)
    stray = (wide > classes) & (wide != WIDE_IGNORED)
    if stray.any():
        mark = IGNORED if truth.dtype == np.uint8 else WIDE_IGNORED
        raise BrokenContract(_about_strays(np.unique(wide[stray]).tolist(), int(stray.sum()), classes, mark))
    return Sample(image_id, np.ascontiguousarray(image), np.ascontiguousarray(wide))


def _sound(benchmark: Any, verb: str, about: Callable[[Any], Iterator[str]], called: str) -> tuple[str, ...]:
    """What a benchmark answers, as plain texts."""

    def asked() -> tuple[str | None, tuple[str, ...]]:
        given = benchmark.classes if verb == "classes" else benchmark.ids()
        fault = next(about(given), None)
        return fault, () if fault else tuple([str(word) for word in given])

    fault, words = _answer(called, verb, asked)
    if fault:
        raise BrokenContract(f"{called}: {verb} {fault}")
    return words


def _answer(called: str, verb: str, ask: Callable[[], T]) -> T:
    """What a benchmark answers. Whatever else it raises, an exit of the process too, becomes a BrokenContract."""
    try:
        return ask()
    except HarnessError:
        raise
    except BaseException as raised:
        error = interrupts.foreign(raised)
        raise BrokenContract(f"{called}: {verb} cannot be had: {in_words(error)}") from error


def _about_words(words: Collection[Any]) -> Iterator[str]:
    """What is wrong with words that have to be told apart, written down and read again."""
    others = [word for word in words if not isinstance(word, str)]
    if others:
        yield f"holds {_kind(others[0])}, {bounded(repr(others[0]), 200)}; it must hold texts"
        return
    for fault, unfit in (
        ("an empty text", lambda word: not word.strip()),
        (f"a text of more than {LONGEST} characters", lambda word: len(word) > LONGEST),
        ("a text with control characters, or bytes that are no UTF-8", _is_unwritable),
    ):
        found = [word for word in words if unfit(word)]
        if found:
            yield f"holds {fault}: {_shown(found)}"
    doubled = [word for word, count in Counter(words).items() if count > 1]
    if doubled:
        yield f"holds {several(len(doubled), 'text')} more than once: {_shown(doubled)}"


def _is_unwritable(word: str) -> bool:
    return not word.isprintable() and any(unicodedata.category(letter) in _UNWRITABLE for letter in word)


def _about_strays(labels: list[int], pixels: int, classes: int, mark: int) -> str:
    held = ", ".join(map(str, labels[:SHOWN])) + (" ..." if len(labels) > SHOWN else "")
    narrow = f" ({IGNORED} means ignored in 8 bits alone)" if mark == WIDE_IGNORED and IGNORED in labels else ""
    return f"the truth holds {held} in {pixels} pixels; it may hold 0 to {classes} and {mark}{narrow}"


def _shown(words: Sequence[str]) -> str:
    return ", ".join(bounded(repr(word), 200) for word in words[:SHOWN]) + (" ..." if len(words) > SHOWN else "")


def _kind(thing: object) -> str:
    name = type(thing).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
