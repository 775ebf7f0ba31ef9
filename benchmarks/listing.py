"""Folders and split lists flow in; the data set's own folder and checked image names flow out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.faults import BrokenList, UnreadableFile, WrongRoot

_SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # no separators and no leading dot, so it stays in its folder


def find_base(root: str, data_set: str, inside: Sequence[str], marker: str) -> Path:
    """The folder that holds `marker`: root itself or one of the named folders inside it. WrongRoot otherwise."""
    top = Path(root)
    for folder in (top, *(top / name for name in inside)):
        if (folder / marker).exists():
            return folder
    places = "".join(f", {name}/" for name in inside)
    raise WrongRoot(f"{root!r} is not a folder of {data_set}: looked for {marker} in it{places}; {contents(top)}.")


def contents(folder: Path, limit: int = 8) -> str:
    """What lies in a folder, for a message: `found: a, b, c and 4 more`."""
    if not folder.exists():
        return "the folder does not exist"
    if not folder.is_dir():
        return "it is a file, not a folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in entries(folder))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"found: {', '.join(names[:limit])}{more}" if names else "the folder is empty"


def check_allowed(setting: str, value: object, allowed: Iterable[object], data_set: str) -> None:
    """ValueError when a setting is none of the allowed words."""
    words = tuple(allowed)
    if value not in words:
        raise ValueError(f"{data_set} has no {setting} {value!r}; it has {', '.join(map(str, words))}.")


def check_key(key: str, where: str) -> str:
    """The key, when it can be a file name and nothing else; BrokenList otherwise."""
    if not _SAFE_KEY.fullmatch(key):
        raise BrokenList(f"{where}: {key!r} is not an image name (letters, digits, '_', '-', '.', no folders).")
    return key


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without line ends and surrounding blanks; empty lines are left out."""
    return [line for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, each with its number from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BrokenList(f"{path} is not a text file (UTF-8); fetch it again.") from None
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror or error}).") from None
    return [(place, line.strip()) for place, line in enumerate(text.splitlines(), start=1) if line.strip()]


def read_keys(path: Path) -> tuple[str, ...]:
    """The image names of a split list, sorted. BrokenList when it is missing, empty, doubled or unsafe."""
    if not path.is_file():
        raise BrokenList(f"{path} does not exist: there is no such split. Of {path.parent}: {contents(path.parent)}.")
    keys = [check_key(line, f"{path}, entry {place}") for place, line in enumerate(read_lines(path), start=1)]
    return unique_sorted(keys, str(path))


def unique_sorted(keys: Iterable[str], where: str) -> tuple[str, ...]:
    """The keys in order; BrokenList when there are none or one comes twice."""
    counts = Counter(keys)
    doubled = sorted(key for key, count in counts.items() if count > 1)
    if doubled:
        raise BrokenList(f"{where} names {len(doubled)} images more than once: {', '.join(doubled[:5])}.")
    if not counts:
        raise BrokenList(f"{where} names no image.")
    return tuple(sorted(counts))


def keys_of_files(folder: Path, ending: str) -> frozenset[str]:
    """The names of a folder's files with this ending, without it; files of a hidden name are left out."""
    if not folder.is_dir():
        return frozenset()
    try:
        names = [name for name in os.listdir(folder) if name.endswith(ending)]
    except OSError as error:
        raise UnreadableFile(f"The folder {folder} cannot be read ({error.strerror or error}).") from None
    return frozenset(check_key(name.removesuffix(ending), str(folder)) for name in names if not name.startswith("."))


def folders_in(folder: Path) -> tuple[Path, ...]:
    """The folders in a folder, sorted; none when it does not exist."""
    return tuple(sorted(entry for entry in entries(folder) if entry.is_dir())) if folder.is_dir() else ()


def entries(folder: Path) -> list[Path]:
    """What lies in a folder; UnreadableFile when it may not be looked into."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UnreadableFile(f"The folder {folder} cannot be read ({error.strerror or error}).") from None
