"""The values of a Python program, in place of a grid file -> what such a file would say, every value with its way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

import yaml

from harness.errors import GridError, bounded
from harness.recipes.settings import address
from harness.yaml_lines import Where, YamlText, read_text

_DEEPEST = 60  # beyond what a grid may have, before Python's own stack ends


def as_text(given: Mapping[str, Any]) -> YamlText:
    """The values as the text of a file, which all rules for files then hold for. Sentences name a value's way in them:
    `methods[0].with.timestep`. GridError for what no file could say.

    Tuples are lists, paths are texts, a class stands for its address, numpy's numbers are numbers.
    """
    plain = {key: _plain(value, (key,)) for key, value in given.items()}
    text = read_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), "the grid")
    return YamlText(text.file, text.data, text.lines, {where: way_in_words(where) for where in text.lines})


def way_in_words(where: Where) -> str:
    """A way in words: `methods[0].with.timestep`; `the grid` for the whole."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in where]
    return "".join(steps).removeprefix(".") or "the grid"


def _plain(value: Any, where: Where) -> Any:
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, type):
        return _address(value, where)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping | list | tuple) and len(where) > _DEEPEST:
        raise GridError(f"{way_in_words(where[:5])}: it is nested too deep; does it hold itself?")
    if isinstance(value, Mapping):
        return {key: _plain(one, (*where, str(key))) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, (*where, place)) for place, one in enumerate(value)]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    said = "nan and infinite numbers are no values: no recipe can hold them"
    if not isinstance(value, Real):
        kind = bounded(type(value).__name__)
        said = f"something of type {kind} cannot stand in a grid; give text, numbers, lists, mappings, paths or classes"
    raise GridError(f"{way_in_words(where)}: {said}")


def _address(cls: type, where: Where) -> str:
    if cls.__module__ == "__main__" or "." in cls.__qualname__:
        name = bounded(cls.__name__)
        raise GridError(
            f"{way_in_words(where)}: no worker can import the class {name} from where it is defined; save it in a file "
            f"(in a notebook: `%%writefile my_method.py`), and name it 'my_method:{name}'"
        )
    return address(cls)
