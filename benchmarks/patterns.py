"""A pattern of file names, such as `img/**/*_rgb.png`, flows in; the files of a folder by image id flow out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.faults import BrokenList, UnreadableFile

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".npy")
_STARS = re.compile(r"(\*\*/\*|\*+)")
_DEEP = ("**", "**/*")
_SHOWN = 5


@dataclass(frozen=True)
class Pattern:
    """Names of files below a root. What the stars stand for, joined by `/`, is the id of an image.

    `*` stands for a part of one name, `**` (once, also written `**/*`) for names with folders at any depth. A folder
    without a star means all files in it, at any depth. Where nothing with a point follows the last star, a file may
    have any of `endings`, in any case of letters.
    """

    written: str
    endings: tuple[str, ...]

    def __post_init__(self) -> None:
        if unsafe(self.written):
            raise ValueError(f"{self.written!r} leads out of the folder; give names below root, without '..'")
        stars = self._pieces[1::2]
        if any(star not in ("*", *_DEEP) for star in stars) or sum(star in _DEEP for star in stars) > 1:
            raise ValueError(
                f"{self.written!r} has stars that are not told apart: write * for a name and one ** at most"
            )

    def files(self, root: Path) -> dict[str, str]:
        """Image id -> file, both below the root. BrokenList where two files would have one id."""
        found: dict[str, str] = {}
        for path in _below(root, self._start, None if self._deep else self.written.count("/")):
            image_id = self.id_of(path)
            if image_id is None:
                continue
            if image_id in found:
                raise BrokenList(
                    f"{root / found[image_id]} and {root / path} are both the file of {image_id!r}; give "
                    f"{self.written!r} an ending, so that one of them is meant."
                )
            found[image_id] = path
        return found

    def id_of(self, path: str) -> str | None:
        """The id of the image that a file, below the root, belongs to; None for a file that does not fit."""
        if self.is_open:
            stem, ending = os.path.splitext(path)
            if ending.lower() not in self.endings:
                return None
            path = stem
        found = self._of_path.fullmatch(path)
        return "/".join(found.groups()) if found else None

    def path_of(self, image_id: str) -> str | None:
        """The file of an id, below the root, without its ending where that is open; None for ids of another shape."""
        found = self._of_id.fullmatch(image_id)
        if found is None:
            return None
        parts, names = self._pieces, iter(found.groups())
        return "".join(next(names) if place % 2 else part for place, part in enumerate(parts))

    @property
    def stars(self) -> int:
        """How many there are."""
        return len(self._pieces) // 2

    @cached_property
    def is_open(self) -> bool:
        """Whether the ending is left open."""
        return "." not in self._pieces[-1]

    @cached_property
    def ending(self) -> str:
        """What follows the last star."""
        return self._pieces[-1]

    @cached_property
    def _pieces(self) -> list[str]:
        """Texts and, at odd places, stars."""
        written = self.written.removeprefix("./").rstrip("/")
        if "*" not in written:
            written = "**/*" if written in ("", ".") else f"{written}/**/*"
        return _STARS.split(written)

    @cached_property
    def _deep(self) -> bool:
        return any(star in _DEEP for star in self._pieces[1::2])

    @cached_property
    def _start(self) -> str:
        """The folder below which all of its files lie."""
        return self._pieces[0].rpartition("/")[0]

    @cached_property
    def _of_path(self) -> re.Pattern[str]:
        return re.compile("".join(_spelled(part, place) for place, part in enumerate(self._pieces)))

    @cached_property
    def _of_id(self) -> re.Pattern[str]:
        return re.compile("/".join(_spelled(star, 1) for star in self._pieces[1::2]))


def unsafe(path: str) -> bool:
    """Whether a path from a list or a setting could lead out of the folder that it starts at."""
    return "\0" in path or "\\" in path or path.startswith("/") or ".." in path.split("/")


def ending_of(paths: Sequence[str]) -> str:
    """For a message, the endings of files: `3 x .tiff, 1 x .txt`."""
    counts = Counter(os.path.splitext(path)[1] or "no ending" for path in paths)
    return ", ".join(f"{count} x {ending}" for ending, count in counts.most_common(_SHOWN)) or "no file"


def all_below(root: Path, pattern: Pattern) -> list[str]:
    """Every file, whatever its name, in the folder that a pattern starts at."""
    return list(_below(root, pattern._start, None))


def _spelled(part: str, place: int) -> str:
    if place % 2 == 0:
        return re.escape(part)
    return r"([^/].*)" if part in _DEEP else r"([^/]+)"


def _below(root: Path, start: str, depth: int | None) -> Iterator[str]:
    """Files below `root/start`, named from the root, without hidden ones. Links are followed, but not in a circle.

    depth: the strokes that the wanted names have, so that nothing deeper is looked at.
    """
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(start, ())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = os.stat(root / folder)
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir():
                        yield path
                    elif depth is None or path.count("/") < depth:
                        waiting.append((path, (*above, here)))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnreadableFile(f"The folder {root / folder} cannot be read ({error.strerror or error}).") from None
