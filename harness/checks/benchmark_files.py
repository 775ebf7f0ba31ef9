"""A benchmark's recipe and some of its ids flow in; what a sweep cannot know of its files flows out, in sentences.

A sweep reads an image again when a file behind it changes. It can watch the files that the benchmark names, or those
that Python opens while an image is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from harness.contracts import Recipe, Sample
from harness.foreign.opened import opened
from harness.recipes import loading
from harness.recipes.origins import DataSource

_CURE = "let the benchmark name its files with `files(image_id)`"


def remarks(recipe: Recipe, image_ids: Iterable[str]) -> Iterator[str]:
    """The first thing of each kind that is amiss. Images that cannot be loaded are left to the walk."""
    said: set[str] = set()
    source = DataSource(recipe)
    for image_id in image_ids:
        try:
            found = dict(_about(source, recipe, image_id))
        except Exception:
            continue
        yield from (sentence for kind, sentence in found.items() if kind not in said)
        said |= found.keys()


def _about(source: DataSource, recipe: Recipe, image_id: str) -> Iterator[tuple[str, str]]:
    _, origin = source.load(image_id, _as_it_is)
    known = {mark.path for mark in origin.files}
    for mark in origin.files:
        if mark.size < 0:
            yield "absent", f"{mark.path} is said to be behind image {image_id!r} and is not there; mend `files`"
    if not known and not source.names_files:
        yield "none", f"no file was seen to be opened for image {image_id!r}: if there are any, {_CURE}"
    for path in _opened(source, recipe, image_id):
        if path not in known:
            yield "missed", f"{path} is opened for image {image_id!r}, and a change in it would be missed: {_CURE}"


def _opened(source: DataSource, recipe: Recipe, image_id: str) -> list[str]:
    """What a new object opens for the image; of one that names its files, without what it opens once (its lists)."""
    fresh = loading.build(recipe)
    if source.names_files:
        fresh.load(image_id)
    with opened() as marks:
        fresh.load(image_id)
    return list(marks)


def _as_it_is(sample: Any) -> Sample:
    found: Sample = sample
    return found
