"""A text that names no file flows in; the files that it names together flow out: by a pattern, a beginning, or a list.

`weights/*.npy`, `weights/model` beside `model.index` and `model.data-00000`, and `a.npy,b.npy`. What is no such text,
or may well be none, is a word. And a file flows in with which others belong: the parts of a model that is divided.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from harness.recipes.remembered import digest_of_file, digest_of_folder
from harness.recipes.syntax import hashed

BETWEEN = tuple(dict.fromkeys((",", ";", os.pathsep, " ")))  # what stands between the files of a list
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\..+)?")  # of a model that is saved in parts
_WORD = re.compile(r"[^\s,;:=|@#?&'\"()\[\]{}<>]+")
_AFTER = (".", "-", "_")
Find = Callable[[str], Path | None]


@dataclass(frozen=True)
class FilesNamed:
    """Files that a text names. given: the text with absolute paths. listed: it names them one by one, in an order."""

    given: str
    paths: tuple[Path, ...]
    listed: bool = False

    def digest(self) -> str:
        """Hex digest of what they hold."""
        if not self.listed:
            return digest_of_files(self.paths)
        digests = [digest_of_folder(path) if path.is_dir() else digest_of_file(path) for path in self.paths]
        return hashed("".join(digests).encode())


def named_together(
    text: str, start: Path, path_of: Callable[[str], Path], declared: bool, clear: bool, find: Find
) -> FilesNamed | None:
    """The files that a text names; None where it names none, or where an absolute path could not be told in it.

    start: where relative paths do. declared: it is a path by its annotation. clear: it looks like one. find: the file,
    or the folder with a model, that a part of a list names.
    """
    path = path_of(text)
    if files := by_pattern(str(path), start, declared):
        return FilesNamed(str(Path(glob.escape(str(start))) / path), tuple(files))
    if clear and (files := by_beginning(start / path, loose="/" in text)):
        return FilesNamed(str(start / path), tuple(files))
    if (listed := in_list(text, find)) is None:
        return None
    between, parts = listed
    places = [str(start / path_of(part)) for part in parts]
    if any(between in one for one in places):
        return None
    return FilesNamed(between.join(places), tuple(map(Path, places)), listed=True)


def by_pattern(text: str, start: Path, declared: bool = False) -> list[Path]:
    """The files that a pattern with a folder before it matches, sorted; none for a bare `*.png`, unless it is declared
    a path: that is a word of plug-ins."""
    if not glob.has_magic(text):
        return []
    parts = PurePath(text).parts
    plain = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    if not plain and not declared:
        return []
    place = start.joinpath(*parts[:plain])
    found = glob.glob(str(PurePath(*parts[plain:])), root_dir=place, recursive=True, include_hidden=True)
    return sorted({place / one for one in found if (place / one).is_file()})


def by_beginning(path: Path, loose: bool) -> list[Path]:
    """The files whose names go on where a path ends, sorted. loose: in any way, not only after a dot or a stroke."""
    if not path.name or path.exists() or not path.parent.is_dir():
        return []
    with os.scandir(path.parent) as entries:
        names = [one.name for one in entries if one.name.startswith(path.name) and one.is_file()]
    goes_on = [name for name in names if loose or name[len(path.name) :].startswith(_AFTER)]
    return [path.parent / name for name in sorted(goes_on)]


def in_list(text: str, find: Find) -> tuple[str, list[str]] | None:
    """What stands between the parts of a text, and the parts, if each is a file or folder that is found."""
    for between in BETWEEN:
        parts = text.split() if between == " " else [part.strip() for part in text.split(between)]
        if len(parts) > 1 and all(part and find(part) is not None for part in parts):
            return between, parts
    return None


def digest_of_files(paths: Sequence[Path]) -> str:
    """Hex digest of the contents of some files and of their names, from the folder on that all lie in."""
    start = os.path.commonpath([path.parent for path in paths])
    lines = [f"{path.relative_to(start).as_posix()}\0{digest_of_file(path)}\n" for path in paths]
    return hashed("".join(sorted(lines)).encode())


def belonging(path: Path) -> list[Path]:
    """The files that are one model with a file: other parts, what its index names, data that lie beside; sorted."""
    return sorted(one for one in set(_belonging(path)) if one != path and one.is_file())


def words_in(text: str) -> Iterator[str]:
    """The words of a text that could be paths."""
    yield from (word for word in _WORD.findall(text) if word != text)


def _belonging(path: Path) -> Iterator[Path]:
    name, around = path.name, path.parent
    if part := _PART.fullmatch(name):
        begin, count, end = (glob.escape(one or "") for one in part.groups())
        yield from around.glob(f"{begin}-[0-9][0-9][0-9][0-9][0-9]-of-{count}{end}")
    elif name.endswith(".index.json"):
        with suppress(OSError, ValueError, AttributeError, TypeError):
            named = json.loads(path.read_bytes())["weight_map"].values()
            yield from (around / one for one in set(named) if PurePath(one).name == one)
    elif name.endswith(".index"):
        yield from around.glob(f"{glob.escape(name.removesuffix('.index'))}.data-*")
    elif name.endswith(".onnx"):
        yield from (found for after in _AFTER for found in around.glob(f"{glob.escape(name)}{after}*"))
