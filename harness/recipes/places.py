"""The text of a Python file flows in; for every time that it asks where it lies, what may be a file there flows out."""

from __future__ import annotations

import ast
import re

_FILE = re.compile(r"[\w-][\w ./-]*\.\w+")
_LONGEST = 200  # characters of a file's name
_ROW = 10  # texts of one expression
_LEADING = ("Path", "absolute", "abspath", "dirname", "fspath", "join", "joinpath", "realpath", "resolve", "str")


def names_beside(text: bytes) -> list[tuple[str, ...]]:
    """One entry for every use of `__file__`, or of a name that stands for it (`HERE = Path(__file__).parent`).

    It has the texts of the largest expression around it that has no other use: each alone, and in a row as a path
    (`HERE / "conf" / "b.txt"`).
    """
    nodes = list(ast.walk(ast.parse(text)))
    names, ways = {"__file__"}, list[ast.AST]()
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _leads(node.value, names):
            names.add(node.targets[0].id)
            ways.append(node.value)
    inside = {id(use) for way in ways for use in _uses(way, names)}
    uses = [use for use in _uses(nodes[0], names) if id(use) not in inside]
    around = {id(child): node for node in nodes for child in ast.iter_child_nodes(node)}
    unused = bool(ways) and {use.id for use in uses} <= {"__file__"}  # who imports the name reads there
    return [_named(_place(use, around, names)) for use in uses] + [()] * unused


def _leads(value: ast.AST, names: set[str]) -> bool:
    """Whether an expression gives a place beside the module, names no file and reads nothing."""
    calls = [one.func for one in ast.walk(value) if isinstance(one, ast.Call)]
    called = {getattr(one, "attr", None) or getattr(one, "id", "") for one in calls}
    return bool(_uses(value, names)) and called <= set(_LEADING) and not _named(value)


def _place(use: ast.AST, around: dict[int, ast.AST], names: set[str]) -> ast.AST:
    while isinstance(near := around[id(use)], ast.expr | ast.keyword) and len(_uses(near, names)) == 1:
        use = near
    return use


def _uses(node: ast.AST, names: set[str]) -> list[ast.Name]:
    found = [one for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in names]
    return [one for one in found if isinstance(one.ctx, ast.Load)]


def _named(place: ast.AST) -> tuple[str, ...]:
    found = [one for one in ast.walk(place) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    texts = [str(one.value) for one in sorted(found, key=lambda one: (one.lineno, one.col_offset))][:_ROW]
    rows = ["/".join(texts[start:end]) for end in range(len(texts) + 1) for start in range(end)]
    return tuple([text for text in rows if len(text) < _LONGEST and _FILE.fullmatch(text)])
