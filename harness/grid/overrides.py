"""What a command line says with `--set key=value` -> a grid file's values with those in place of its own.

A key is a way from the top, with points: `batch`, `protocol.threshold`, `cluster.workers`; items of lists go by name:
`methods.SCLIP.with.model`, `benchmarks.City.with.root`. A value is read as YAML: `[0.1, 0.2]` is a list. What is set
need not be in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from harness.errors import GridError, nearest
from harness.yaml_lines import Where, YamlText, read_value


def overridden(source: YamlText, changes: Sequence[str]) -> YamlText:
    """The file with every `key=value` in it. GridError for other texts, and for keys that lead nowhere."""
    data, lines, elsewhere = deepcopy(source.data), dict(source.lines), dict(source.elsewhere)
    for change in changes:
        said = f"--set {change}"
        key, equals, text = change.partition("=")
        if not (equals and key.strip()):
            raise GridError(f"{said}: this is no key=value; write such as --set batch=4")
        value = read_value(text, said)
        where = _set(data, key.strip(), value, said)
        line = next(lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in lines)
        lines = {way: number for way, number in lines.items() if way[: len(where)] != where}
        lines |= dict.fromkeys(_ways(where, value), line) | {
            where[:end]: line for end in range(len(where)) if where[:end] not in lines
        }
        elsewhere[where] = said
    return replace(source, data=data, lines=lines, elsewhere=elsewhere)


def _set(data: Any, key: str, value: Any, said: str) -> Where:
    """Put a value where a key leads; its way."""
    where: list[str | int] = []
    here: Any = data
    rest = key
    while True:
        step, rest = _step(here, rest, where, said)
        where.append(step)
        if not rest:
            here[step] = value
            return tuple(where)
        if not isinstance(here, Mapping) or isinstance(here.get(step), dict | list):
            here = here[step]
            continue
        here[step] = here = _opened(here.get(step), step, said)


def _opened(value: Any, step: str | int, said: str) -> dict[str, Any]:
    """A mapping for what has none yet: of a protocol that is named by its preset, with the preset."""
    if value is None:
        return {}
    if step == "protocol" and isinstance(value, str):
        return {"preset": value}
    raise GridError(f"{said}: {step} is {value!r} in the grid, which holds no keys")


def _step(here: Any, rest: str, where: Sequence[str | int], said: str) -> tuple[str | int, str]:
    """The next step, and what is left of the key; names may hold points."""
    names = {str(key): key for key in here} if isinstance(here, dict) else _named(here)
    fitting = sorted((name for name in names if rest == name or rest.startswith(f"{name}.")), key=len)
    if fitting:
        return names[fitting[-1]], rest[len(fitting[-1]) + 1 :]
    first, _, further = rest.partition(".")
    if isinstance(here, list):
        listed = f"{nearest(first, names)} ({where[-1]}: {', '.join(names)})"
        raise GridError(f"{said}: nothing in {where[-1]} is called {first!r}{listed}")
    if not first:
        raise GridError(f"{said}: the key has an empty part")
    return first, further


def _named(items: Sequence[Any]) -> dict[str, int]:
    return {one["name"]: n for n, one in enumerate(items) if isinstance(one, dict) and isinstance(one.get("name"), str)}


def _ways(where: Where, value: Any) -> Iterator[Where]:
    """The way to a value and to all that is in it."""
    yield where
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from _ways((*where, key), one)
