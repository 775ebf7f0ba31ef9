"""Small files that a person wrote flow in: a list of classes, a table of labels; their content flows out."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults import BrokenList
from benchmarks.listing import contents, numbered_lines, read_lines
from harness.contracts import json_without_doubles, yaml_without_doubles

CLASS_FILES = (".txt", ".yaml", ".yml", ".json")
TABLE_FILES = (".csv", ".yaml", ".yml", ".json")


def read_classes(path: Path) -> tuple[str, ...]:
    """The classes in order: lines of a text file (a comma belongs to the name), or a list in YAML or JSON."""
    if path.suffix.lower() == ".txt":
        names: Any = _class_lines(_present(path, "the classes, one a line"))
    else:
        names = _content(path, "a list of classes")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BrokenList(f"{path} should hold a list of class names, in quotes where YAML reads another thing.")
    return tuple(names)


def _class_lines(path: Path) -> list[str]:
    """One name a line; an empty line between two would move all names behind it to another number, or none."""
    lines = numbered_lines(path)
    for (place, line), (number, _) in pairwise(lines):
        if number != place + 1:
            raise BrokenList(f"{path}, line {place + 1} is empty, after {line!r}: name a class there, or take it out.")
    return [line for _, line in lines]


def read_label_table(path: Path) -> dict[str, str]:
    """Value or colour -> class: a mapping in YAML or JSON, or CSV rows `class, value` or `class, red, green, blue`."""
    if path.suffix.lower() == ".csv":
        return _rows(path)
    table = _content(path, "a mapping from values or colours to classes")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise BrokenList(f"{path} should map values (0 to 65535) or colours ('#ff0000') to class names.")
    return {str(key): name for key, name in table.items()}


def _rows(path: Path) -> dict[str, str]:
    table: dict[str, str] = {}
    for place, row in enumerate(csv.reader(read_lines(_present(path, "a table of labels"))), start=1):
        name, *numbers = [cell.strip() for cell in row]
        if place == 1 and not any(number.isdecimal() for number in numbers):
            continue  # a heading
        key = " ".join(numbers)
        if len(numbers) not in (1, 3) or not all(number.isdecimal() for number in numbers):
            raise BrokenList(
                f"{path}, row {place}: {', '.join(row)!r} is not `class, value` or `class, red, green, blue`."
            )
        if key in table:
            raise BrokenList(f"{path}, row {place}: {key} stands for {table[key]!r} already.")
        table[key] = name
    return table


def _content(path: Path, what: str) -> Any:
    text = _present(path, what).read_bytes()
    try:
        return json_without_doubles(text) if path.suffix.lower() == ".json" else yaml_without_doubles(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise BrokenList(f"{path} is not YAML or JSON: {' '.join(str(error).split())}.") from None


def _present(path: Path, what: str) -> Path:
    if not path.is_file():
        raise BrokenList(f"{path} does not exist; it should be {what}. Of {path.parent}: {contents(path.parent)}.")
    return path
