"""The sources of this project and its table of versions flow in; what is out of step, and a table in step, flow out."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterable, Mapping
from importlib.machinery import FileFinder
from pathlib import Path

import benchmarks
import methods
from harness.recipes import house
from harness.recipes.house import DECIDING, SENTENCES, Line, digest_of, read_table
from harness.recipes.surroundings import house_closure, source_file

COMMAND = "python tests/renew_versions.py"
HEAD = """\
# Modules of ours between an image and its counts: name, version, digest of what it says (if moved: its name in ids).
# Written by `python tests/renew_versions.py`; see docs/what_is_in_an_id.md.
"""


def covered() -> list[str]:
    """What every run rests on, every method and reader, and whatever of ours these import."""
    plug_ins = [
        found.name
        for package in (methods, benchmarks)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if isinstance(found.module_finder, FileFinder)
    ]
    closure = house_closure([*DECIDING, *plug_ins]) - SENTENCES
    return sorted(name for name in closure if (file := source_file(name)) is not None and file.stat().st_size)


def out_of_step(table: Mapping[str, Line], modules: Iterable[str]) -> dict[str, str]:
    """Module -> what is wrong with its line, in a clause."""
    found = {}
    for name in modules:
        if name not in table:
            found[name] = "it lies between an image and its counts and has no version"
        elif table[name].digest != digest_of(name):
            found[name] = f"it says something else than when version {table[name].version} was recorded"
    return found | {name: "there is no such module any more" for name in table.keys() - set(modules)}


def cure(wrong: Mapping[str, str]) -> str:
    """What to do, one line a module, and both ways out."""
    lines = "\n".join(f"  {name}: {clause}" for name, clause in sorted(wrong.items()))
    return (
        f"{len(wrong)} modules are out of step with {house.TABLE.name}:\n{lines}\n"
        f"If no pixel can change, run `{COMMAND}`: it renews the digests if the golden counts are still equal.\n"
        f"If a pixel can change, run `{COMMAND} --raise MODULE ...`: their versions go up, so that no run meets older "
        "rows, and new golden counts are stored. Commit the table with the change."
    )


def renewed(table: Mapping[str, Line], modules: Iterable[str], raised: Iterable[str] = ()) -> dict[str, Line]:
    """The table in step with the sources. A module that only moved keeps its version, and its name in ids."""
    names, up = list(modules), set(raised)
    gone = {line.digest: line for name, line in table.items() if name not in names}
    lines = {}
    for name in names:
        digest = digest_of(name)
        old = table.get(name) or gone.get(digest) or Line(name, 1, digest, name)
        lines[name] = Line(name, old.version + (name in up), digest, old.known_as)
    return lines


def spelled(table: Mapping[str, Line]) -> str:
    """The table's text, a line a module."""
    lines = [
        f"{line.module} {line.version} {line.digest}" + (f" {line.known_as}" if line.known_as != line.module else "")
        for _, line in sorted(table.items())
    ]
    return HEAD + "\n".join(lines) + "\n"


def not_exercised(modules: Iterable[str], entered: set[Path]) -> list[str]:
    """Modules of which the golden runs entered no function: equal counts say nothing of these."""
    return [name for name in modules if (file := source_file(name)) and file.resolve() not in entered and _acts(file)]


def table() -> dict[str, Line]:
    """The committed table, as it lies on the disk now."""
    return read_table(house.TABLE)


def _acts(file: Path) -> bool:
    """Whether a module has a function that does something; those of protocols hold nothing but `...`."""
    functions = (node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.FunctionDef))
    lines = (line for function in functions for line in function.body)
    return any(not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)) for line in lines)
