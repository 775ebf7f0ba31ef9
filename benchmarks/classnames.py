"""Names of data sets and name sets flow in; classes and words per class flow out, from versioned files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.contracts import DataError, yaml_without_doubles

Words = tuple[tuple[str, ...], ...]  # per class, in order, one or more words; the first is the usual name
OWN = "own"  # the name set that every data set has: its own spelling
_FOLDER = Path(__file__).parent / "names"
_USER_FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Catalogue:
    """The content of one file of `names/`: classes in order, name sets, words for the background, numbers of labels."""

    data_set: str
    version: int
    classes: tuple[str, ...]
    sets: Mapping[str, Words]
    background: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, tuple[Any, ...]]

    def names(self, name_set: str = OWN) -> Words:
        """The words of every class in a name set, or in a user's own file (a path that ends in .yaml or .json)."""
        if name_set == OWN:
            return tuple((name,) for name in self.classes)
        if name_set in self.sets:
            return self.sets[name_set]
        if name_set.endswith(_USER_FILES):
            return read_user_names(Path(name_set), self.data_set, self.classes)
        raise DataError(
            f"{self.data_set} has no name set {name_set!r}; it has {', '.join((OWN, *sorted(self.sets)))}, "
            "or give the path of a .yaml file with a word or a list of words for every class."
        )

    def background_words(self, name_set: str) -> tuple[str, ...]:
        """Words that stand for everything outside the classes, as the origin of a name set published them."""
        if name_set not in self.background:
            known = ", ".join(sorted(self.background)) or "none"
            raise DataError(f"{self.data_set} has no background words {name_set!r}; there are: {known}.")
        return self.background[name_set]


@cache
def catalogue(name: str) -> Catalogue:
    """The catalogue of a data set by its file's name, for example `pascal_voc`."""
    content = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Catalogue(
        data_set=content["data_set"],
        version=content["version"],
        classes=tuple(content["classes"]),
        sets={key: tuple(tuple(words) for words in value["names"]) for key, value in content["sets"].items()},
        background={key: tuple(value["words"]) for key, value in content["background_words"].items()},
        facts={key: tuple(value) for key, value in content["facts"].items()},
    )


def read_user_names(path: Path, data_set: str, classes: tuple[str, ...]) -> Words:
    """A user's name file: a mapping from every class to a word or a list of words. DataError says what does not fit."""
    try:
        content = yaml_without_doubles(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"The name file {path} cannot be read ({error.strerror or error}).") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"The name file {path} is not YAML or JSON: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, dict):
        raise DataError(f"The name file {path} must map every class of {data_set} to its words.")
    for name in content:
        if name not in classes:
            close = get_close_matches(str(name), classes, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise DataError(f"The name file {path} names {name!r}, which is no class of {data_set}{hint}")
    missing = [name for name in classes if name not in content]
    if missing:
        raise DataError(f"The name file {path} lacks {len(missing)} classes of {data_set}: {', '.join(missing[:5])}.")
    return tuple(_words(content[name], name, path) for name in classes)


def _words(value: Any, name: str, path: Path) -> tuple[str, ...]:
    words = value if isinstance(value, list) else [value]
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise DataError(f"The name file {path} must give {name!r} a word or a list of words, in quotes if need be.")
    return tuple(word.strip() for word in words)
