"""What there is to write into a grid flows out, a line each: methods, data sets, presets and estimators.

Ours are read from their source, so nothing is imported; packages of others say what they bring by entry points
(`stableseg.methods`, `stableseg.benchmarks`), and none of their code runs.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.protocol import presets
from results.counts.estimators import SCORES
from results.tables.scores import FROM_ROWS

ROLES: Mapping[str, tuple[frozenset[str], ...]] = {  # package -> sets of verbs, one of which a class has
    "methods": (frozenset({"segment"}), frozenset({"passes", "read"}), frozenset({"fit", "fitted"})),
    "benchmarks": (frozenset({"ids", "load"}),),
}


@dataclass(frozen=True)
class Listed:
    """One line: what a grid says, and what it is."""

    name: str
    words: str


def methods() -> list[Listed]:
    """Addresses of methods, each with the first sentence of its class."""
    return _plug_ins("methods")


def benchmarks() -> list[Listed]:
    """Addresses of data sets, likewise."""
    return _plug_ins("benchmarks")


def protocols() -> list[Listed]:
    """Presets for `protocol:`, each with its source."""
    return [Listed(name, _first_sentence(presets.preset(name).source)) for name in presets.names()]


def estimators() -> list[Listed]:
    """Columns of the tables; one of your own is named by its address."""
    return [Listed(name, _first_sentence(one.__doc__ or "")) for name, one in {**SCORES, **FROM_ROWS}.items()]


KINDS: Mapping[str, Callable[[], list[Listed]]] = {
    "methods": methods, "benchmarks": benchmarks, "presets": protocols, "estimators": estimators,
}  # fmt: skip


def _plug_ins(package: str) -> list[Listed]:
    ours = [
        Listed(f"{address}:{one.name}", _first_sentence(ast.get_docstring(one) or ""))
        for file, one in _classes(package)
        if (address := _address(package, file)) and not one.name.startswith("_") and _has_role(package, one)
    ]
    installed = [
        Listed(point.value, f"installed with {point.dist.name} {point.dist.version}" if point.dist else "installed")
        for point in importlib.metadata.entry_points(group=f"stableseg.{package}")
    ]
    return [*sorted(ours, key=lambda entry: entry.name), *sorted(installed, key=lambda entry: entry.name)]


def _address(package: str, file: Path) -> str | None:
    """By which a grid names a file of the package, or a package in it; None for what lies deeper."""
    parts = file.relative_to(_folder(package)).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return f"{package}.{parts[0]}" if len(parts) == 1 else None


def _has_role(package: str, one: ast.ClassDef) -> bool:
    """Whether a class has the verbs of a role, and nothing is left for a subclass to define."""
    defined = _defined(package, one)
    whole = not any(defined.values())
    return whole and any(verbs <= defined.keys() for verbs in ROLES[package])


def _defined(package: str, one: ast.ClassDef) -> dict[str, bool]:
    """What a class and those that it is made from define, as far as they are in its package: name -> only declared."""
    parents = {base.id for base in one.bases if isinstance(base, ast.Name)} - {one.name}
    found: dict[str, bool] = {}
    for _, parent in _classes(package):
        if parent.name in parents:
            found |= _defined(package, parent)
    for node in one.body:
        if isinstance(node, ast.FunctionDef):
            marks = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
            found[node.name] = "abstractmethod" in marks
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: False for target in targets if isinstance(target, ast.Name)}
    return found


@cache
def _classes(package: str) -> list[tuple[Path, ast.ClassDef]]:
    files = sorted(_folder(package).rglob("*.py"))
    trees = ((file, ast.parse(file.read_text("utf-8"))) for file in files)
    return [(file, node) for file, tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]


@cache
def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None  # it is installed with this one
    return Path(spec.origin).parent


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
