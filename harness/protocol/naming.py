"""A protocol's name set and a benchmark flow in; the words of every class flow out, from a file or a published set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import yaml_lines
from harness.contracts import NameFile, Words, expanded
from harness.errors import GridError, nearest

FILES = (".json", ".yaml", ".yml")
OWN = "own"
MOST_BYTES = 2**20


def is_file(names: str) -> bool:
    """Whether `names:` in a grid means a file, not a set."""
    return names.lower().endswith(FILES)


def read_file(written: str, folder: Path) -> NameFile:
    """A user's name file, its path relative to the folder; GridError, with the path, for what is wrong in it.

    It holds a list, a word or a list of words a class in the benchmark's order, or a mapping from class to words.
    """
    path = folder / expanded(written)
    content = _content(path)
    entries = list(content.values()) if isinstance(content, Mapping) else content
    if not isinstance(entries, list) or not entries:
        raise GridError(f"{path}: a name file holds a list with a word or a list of words for every class")
    keys = tuple(content) if isinstance(content, Mapping) else ()
    called = [repr(key) for key in keys] or [str(number) for number in range(1, len(entries) + 1)]
    words = tuple([_words(entry, f"{path}: class {name}") for entry, name in zip(entries, called, strict=True)])
    return NameFile(written, words, keys)


def words(
    names: str | NameFile, benchmark: object, classes: tuple[str, ...], called: str, folder: str | Path = "."
) -> Words:
    """The words of every class of a benchmark; GridError, or the benchmark's own error, when there are none.

    Class names as the benchmark spells them, a name set that its `names(name_set)` knows, or those of a file, whose
    path is relative to the folder.
    """
    if names == OWN:
        return tuple([(name,) for name in classes])
    if isinstance(names, NameFile):
        return _of_file(names, folder / expanded(names.file), classes, called)
    published: Callable[[str], Words] | None = getattr(benchmark, "names", None)
    if not callable(published):
        raise GridError(
            f"{called} has no name set {names!r}: it has only its own class names; write names: own, or the path of "
            f"a file ({', '.join(FILES)}) with a word or a list of words for every class"
        )
    found = tuple([tuple(entry) for entry in published(names)])
    if len(found) != len(classes):
        raise GridError(f"{called}: its name set {names!r} has {len(found)} entries for {len(classes)} classes")
    return found


def _of_file(file: NameFile, path: Path, classes: tuple[str, ...], called: str) -> Words:
    if not file.classes:
        if len(file.words) != len(classes):
            raise GridError(
                f"{path} has {len(file.words)} entries, but {called} has {len(classes)} classes; "
                "give a word or a list of words for every class, in order"
            )
        return file.words
    given = dict(zip(file.classes, file.words, strict=True))
    for name in given:
        if name not in classes:
            raise GridError(f"{path} names {name!r}, which is no class of {called}{nearest(name, classes)}")
    missing = [name for name in classes if name not in given]
    if missing:
        raise GridError(f"{path} lacks {len(missing)} classes of {called}, such as {missing[0]!r}")
    return tuple([given[name] for name in classes])


def _content(path: Path) -> object:
    """The plain values of a file. YAML is read as a grid is; JSON may hold tabs, which YAML refuses."""
    if path.is_file() and not small_text(path).strip():
        raise GridError(f"{path} is empty; give a word or a list of words for every class")
    if path.suffix.lower() != ".json":
        return yaml_lines.read_yaml(path, str(path)).data
    try:
        return json.loads(small_text(path))
    except (ValueError, RecursionError) as error:
        raise GridError(f"{path} is not JSON: {' '.join(str(error).split())}") from None


def small_text(path: Path) -> str:
    """The text of a small file beside a grid; GridError with the path when it cannot be read."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise GridError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST_BYTES:
        raise GridError(f"{path} is larger than {MOST_BYTES} bytes; that is no list of names or templates")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GridError(f"{path} is not UTF-8 text; save it as UTF-8") from None


def _words(value: Any, place: str) -> tuple[str, ...]:
    entry = value if isinstance(value, list) else [value]
    if not entry or not all(isinstance(word, str) and word.strip() for word in entry):
        raise GridError(f"{place} needs a word or a list of words, in quotes if need be")
    return tuple([word.strip() for word in entry])
