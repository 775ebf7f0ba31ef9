"""A YAML file -> plain values with the line of each: what YAML allows and a grid does not need is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import GridError, bounded, nearest

Where = tuple[str | int, ...]  # the way to a value from the top: keys and positions

LARGEST_FILE = 2**20  # bytes
MOST_VALUES = 20_000  # after aliases are followed
DEEPEST = 30
IN_A_SETTING = 4  # levels of a grid: of an item, `with` and a setting's name; its mappings may have numbers as keys
TOO_MANY = f"more than {MOST_VALUES} values, aliases included, are too many for a grid"
TOO_DEEP = f"it is nested too deep; a grid needs at most {DEEPEST} levels"
TAG = "tag:yaml.org,2002:"
SCALARS = frozenset(TAG + kind for kind in ("str", "int", "float", "bool", "null"))
FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML was built with it
UNPLAIN = re.compile(r"[-+]?(0[0-7_]*[0-7]|.*[0-9.]_.*|.*:.*)")  # numbers that are not what they look like
BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)  # PyYAML on malformed scalars


@dataclass(frozen=True)
class YamlText:
    """What a file says. lines: by way of a value, the line of its key (of its first word in a list).

    elsewhere: by way of a value that a command line gave in the file's place, how it was written there.
    missing: what `lacking` was told, where somebody wants to hear of all of it at once.
    """

    file: str
    data: Any
    lines: dict[Where, int] = field(repr=False)
    elsewhere: Mapping[Where, str] = field(default_factory=dict, repr=False)
    missing: dict[str, str] | None = field(default=None, repr=False)

    def value(self, where: Where) -> Any:
        """The value at the end of a way."""
        found = self.data
        for step in where:
            found = found[step]
        return found

    def error(self, where: Where, sentence: str) -> GridError:
        """A GridError that names the line of a value, or of what would have held it."""
        for end in range(len(where), -1, -1):
            if where[:end] in self.elsewhere:
                return GridError(f"{self.elsewhere[where[:end]]}: {bounded(sentence)}")
        while where and where not in self.lines:
            where = where[:-1]
        return GridError(f"{self.file}, line {self.lines.get(where, 1)}: {bounded(sentence)}")

    def lacking(self, where: Where, sentence: str) -> None:
        """Something that is said and is not on this machine: a GridError, or kept in `missing`, once a sentence."""
        error = self.error(where, sentence)
        if self.missing is None:
            raise error
        self.missing.setdefault(sentence, str(error))


def read_yaml(path: Path, called: str = "") -> YamlText:
    """The content of a file; GridError when it cannot be read, is no YAML, or holds more than plain values.

    called: how sentences name the file (else by its name alone).
    """
    called = called or path.name
    return read_text(_text(path, called), called)


def _quotes(text: str, line: int) -> str:
    """A cure, where a line that is no YAML has a value without the quotes that it needs."""
    bare = re.search(r"[:,\[{-]\s*(\$\{|\*)", "".join(text.splitlines()[line : line + 1]))
    return f"; a value that begins with {bare[1]!r} stands in quotes" if bare else ""


def read_text(text: str, called: str) -> YamlText:
    """The content of a text; GridError as for a file, which sentences call so."""
    try:
        root = _composed(text, called)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = chr(error.character) if isinstance(error.character, int) else error.character
        raise GridError(f"{called}, line {line}: the character {found!r} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join((error.problem or error.context or "it cannot be parsed").split())
        hint = _quotes(text, mark.line) if mark else ""
        raise GridError(f"{called}, line {mark.line + 1 if mark else 1}: this is not YAML: {problem}{hint}") from None
    except (yaml.YAMLError, *BROKEN) as error:
        raise GridError(f"{called}, line 1: this is not YAML: {' '.join(str(error).split())}") from None
    if root is None:
        raise GridError(f"{called}, line 1: the file is empty; it needs name, methods and benchmarks")
    walk = _Walk(called)
    data = walk.value(root, ())
    return YamlText(called, data, walk.lines)


def read_value(text: str, called: str) -> Any:
    """One plain value, as YAML reads it on a command line; nothing is null. GridError as for a file."""
    try:
        root = _composed(text, called)
    except (yaml.YAMLError, *BROKEN) as error:
        raise GridError(f"{called}: {' '.join(str(error).split())}") from None
    return None if root is None else _Walk(called).value(root, ())


def _composed(text: str, called: str) -> yaml.Node | None:
    """The tree of a text that is neither too deep nor too long: what is built of events takes time and stack."""
    try:
        _refuse_large(text, called)
        return yaml.compose(text, Loader=FAST)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)  # slow, and its errors say more


def _refuse_large(text: str, called: str) -> None:
    depth = values = 0
    for event in yaml.parse(text, Loader=FAST):
        ends = isinstance(event, yaml.CollectionEndEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - ends
        values += not ends
        if depth > DEEPEST + 1 or values > MOST_VALUES:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise GridError(f"{called}, line {line}: {TOO_DEEP if depth > DEEPEST else TOO_MANY}")


def _text(path: Path, called: str) -> str:
    """The file's text; a byte-order mark is dropped."""
    try:
        if path.is_dir():
            raise GridError(f"{path} is a folder; give a YAML file, such as {path / 'grid.yaml'}")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        there = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise GridError(f"there is no file {path}{nearest(path.name, there)}") from None
    except (OSError, ValueError) as error:
        raise GridError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST_FILE:
        raise GridError(f"{path} is larger than {LARGEST_FILE} bytes; that is no grid")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GridError(f"{called}, line {line}: the text is not UTF-8; save the file as UTF-8") from None


class _Walk:
    """Turns YAML nodes into plain values and notes their lines; aliases cannot make it endless."""

    def __init__(self, file: str) -> None:
        self.lines: dict[Where, int] = {}
        self._file = file
        self._left = MOST_VALUES
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, where: Where) -> Any:
        """The value of a node: dict, list, str, int, float, bool or None."""
        self.lines.setdefault(where, node.start_mark.line + 1)
        self._left -= 1
        if self._left < 0:
            raise self._refuse(node, TOO_MANY)
        if len(where) > DEEPEST:
            raise self._refuse(node, TOO_DEEP)
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            return dict(self._items(node, where))
        if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            return [self.value(item, (*where, position)) for position, item in enumerate(node.value)]
        return self._scalar(node)

    def _items(self, node: yaml.MappingNode, where: Where) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = self._key(key_node, len(where)), key_node.start_mark.line + 1
            if key in first:
                raise self._refuse(key_node, f"the key {key!r} was given in line {first[key]} already")
            first[key] = self.lines[(*where, key)] = line
            yield key, self.value(value_node, (*where, key))

    def _key(self, node: yaml.Node, depth: int) -> str:
        if node.tag == TAG + "merge":
            raise self._refuse(node, "merge keys (<<) are not read in a grid; write the keys out")
        if not isinstance(node, yaml.ScalarNode):
            raise self._refuse(node, "a key must be a word, not a list or a mapping")
        key = self._scalar(node)
        if type(key) is int and depth >= IN_A_SETTING:
            return str(key)
        if not isinstance(key, str):
            raise self._refuse(node, f"YAML does not read the key {node.value!r} as a word; put it in quotes")
        return key

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in SCALARS:
            if node.tag in (TAG + "timestamp", TAG + "value", TAG + "merge"):
                raise self._refuse(node, f"YAML does not read {node.value!r} as a word; put it in quotes")
            tag = node.tag.replace(TAG, "!!")
            raise self._refuse(node, f"the tag {tag!r} is not allowed; write plain words, numbers, lists and mappings")
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, *BROKEN):
            raise self._refuse(node, f"{node.value[:40]!r} cannot be read as {node.tag.removeprefix(TAG)}") from None
        if node.tag in (TAG + "int", TAG + "float") and UNPLAIN.fullmatch(node.value):
            raise self._refuse(node, _spelt_plainly(node.value, value))
        if isinstance(value, float) and math.isnan(value):
            raise self._refuse(node, "nan is not a value: it does not even equal itself")
        if isinstance(value, float) and math.isinf(value):
            raise self._refuse(node, "an infinite number is not a value: no recipe can hold it; leave the setting out")
        return value

    def _refuse(self, node: yaml.Node, sentence: str) -> GridError:
        return GridError(f"{self._file}, line {node.start_mark.line + 1}: {bounded(sentence)}")


def _spelt_plainly(written: str, value: float) -> str:
    """What to write in place of a number that YAML reads otherwise than people do: 010 is 8, 1:30 is 90."""
    looks = written.replace("_", "")
    other = f", or {int(looks)} if that was meant" if looks.lstrip("+-").isdigit() and int(looks) != value else ""
    return f"YAML reads {written} as {value}; write {value}{other}, or {written!r} in quotes for a text"
