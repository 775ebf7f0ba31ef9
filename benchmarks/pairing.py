"""Patterns of images and of masks, and perhaps a list, flow in; the two files of every id flow out."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import BrokenList, WrongRoot
from benchmarks.listing import contents, read_lines, unique_sorted
from benchmarks.patterns import IMAGE_ENDINGS, MASK_ENDINGS, Pattern, all_below, ending_of, unsafe

_log = logging.getLogger(__name__)
_SHOWN = 3


class Both(NamedTuple):
    """The files of one image, below the root."""

    image: str
    mask: str


def by_folder(root: Path, images: Pattern, masks: Pattern, left_out: bool) -> dict[str, Both]:
    """The files that fit the patterns, by id. BrokenList where some have no partner and may not be left out."""
    check_root(root)
    if images.written == masks.written:
        start = images.written.rstrip("/*")
        raise BrokenList(
            f"images and masks of {root} are both {images.written!r}: say what tells their names apart, such as "
            f"{start}/*_image.png and {start}/*_mask.png."
        )
    labelled = masks.files(root)
    taken = set(labelled.values())
    pictured = {key: path for key, path in images.files(root).items() if path not in taken}
    pairs = {key: Both(pictured[key], labelled[key]) for key in pictured.keys() & labelled.keys()}
    if not pairs:
        raise BrokenList(
            f"No image of {images.written!r} has a mask of {masks.written!r} in {root}: "
            f"{_found(root, images, pictured)} and {_found(root, masks, labelled)}."
        )
    alone = _alone(pictured, labelled, "images without a mask"), _alone(labelled, pictured, "masks without an image")
    if any(alone) and not left_out:
        raise BrokenList(
            f"{root} has {' and '.join(filter(None, alone))}; list those that are meant in a file (split:), or write "
            "unpaired: left_out."
        )
    if any(alone):
        _tell(f"{root}: left out {' and '.join(filter(None, alone))}.")
    return pairs


@cache
def _tell(sentence: str) -> None:
    """Once a process, which opens a folder whenever it builds the benchmark."""
    _log.warning("%s", sentence)


def by_list(root: Path, images: Pattern, masks: Pattern, path: Path) -> dict[str, Both]:
    """The files of a list: an image a line, by id, by name or by path, or `image mask`, as paths below the root."""
    check_root(root)
    there = [pattern.files(root) if pattern.is_open else {} for pattern in (images, masks)]
    keys, pairs = list[str](), dict[str, Both]()
    for place, line in enumerate(listed_lines(path), start=1):
        if unsafe(line.lstrip("/")):
            raise BrokenList(f"{path}, entry {place}: {line!r} leads out of {root}; give names below it, without '..'.")
        key, both = _entry(line.lstrip("/"), images, masks, there)
        if len(words := line.split()) > 2 and not (both and (root / both.image).is_file()):
            raise BrokenList(
                f"{path}, entry {place}: {line!r} has {len(words)} words; a line is an image, or an image and its mask."
            )
        if both is None:
            raise BrokenList(
                f"{path}, entry {place}: {line!r} is no image of {images.written!r}; give what the stars stand for, "
                "or a path below root."
            )
        keys.append(key)
        pairs[key] = both
    unique_sorted(keys, str(path))
    return pairs


def listed_in(path: Path) -> tuple[str, ...]:
    """The ids of a list whose lines are file names with or without an ending, sorted."""
    pattern = Pattern("**", IMAGE_ENDINGS)
    return unique_sorted([_bare(line, pattern) for line in listed_lines(path)], str(path))


def listed_lines(path: Path) -> list[str]:
    """The lines of a split's list; BrokenList where there is none."""
    if not path.is_file():
        raise BrokenList(f"{path} does not exist: there is no such split. Of {path.parent}: {contents(path.parent)}.")
    return read_lines(path)


def check_root(root: Path) -> None:
    """WrongRoot where there is no such folder."""
    if not root.is_dir():
        raise WrongRoot(f"{str(root)!r} is not a folder with images: {contents(root)}.")


def _entry(line: str, images: Pattern, masks: Pattern, there: list[dict[str, str]]) -> tuple[str, Both | None]:
    words = re.split(r"\s*,\s*|\s+", line)
    if len(words) == 2 and words[0].lower().endswith(IMAGE_ENDINGS) and words[1].lower().endswith(MASK_ENDINGS):
        image, mask = words[0], words[1].lstrip("/")
        known = None if unsafe(mask) else Both(image, mask)
        return images.id_of(image) or image.rpartition(".")[0], known
    key = images.id_of(line) or _bare(line, images)
    image, mask = (_file(pattern, key, known) for pattern, known in zip((images, masks), there, strict=True))
    return key, Both(image, mask) if image and mask else None


def _bare(line: str, images: Pattern) -> str:
    """The id in a line, without the end of its file's name."""
    if not images.is_open:
        return line.removesuffix(images.ending)
    stem, point, ending = line.rpartition(".")
    return stem if point and f".{ending.lower()}" in IMAGE_ENDINGS else line


def _file(pattern: Pattern, key: str, known: Mapping[str, str]) -> str | None:
    """The file of an id; of one that is not there, the name that was looked for."""
    path = pattern.path_of(key)
    return known.get(key, f"{path}{pattern.endings[0]}") if path and pattern.is_open else path


def _alone(some: Mapping[str, str], others: Mapping[str, str], what: str) -> str:
    alone = sorted(some.keys() - others.keys())
    return f"{len(alone)} {what} ({', '.join(some[key] for key in alone[:_SHOWN])})" if alone else ""


def _found(root: Path, pattern: Pattern, files: Mapping[str, str]) -> str:
    """What there is of a pattern, for a message."""
    if files:
        return f"{len(files)} files fit {pattern.written!r}, such as {min(files.values())}"
    return f"none fits {pattern.written!r} (in its folder: {ending_of(all_below(root, pattern))})"
