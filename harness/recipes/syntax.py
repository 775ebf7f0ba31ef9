"""The text of a Python file flows in; a digest of what it says, and the modules and files it names, flow out.

Nothing is run. Comments, layout and what only a type checker reads do not count, docstrings where somebody reads them
at run time, and the digest is the same under every Python from 3.11 on.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

ADDRESS = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
_FILE = re.compile(r"[\w-][\w ./-]*\.\w+")
_UNSAID = ("ctx", "kind", "type_comment", "type_ignores")  # repeated elsewhere in the tree, or for type checkers
_IMPORTERS = ("import_module", "__import__", "importlib.import_module", "importlib.__import__")
_RUNNERS = ("eval", "exec", "spec_from_file_location", "run_path", "run_module", "SourceFileLoader")
_DOCS = ("__doc__", "getdoc", "getsource", "getsourcelines", "cleandoc")  # who asks for docstrings
DIGITS = 16


@dataclass(frozen=True)
class Imported:
    """One import: `level` dots, the module's name, and the names taken from it, which may be modules too."""

    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceText:
    """What a file says. addresses: modules of `module:Class` texts. files: texts that may name a file beside it.

    hidden: lines with code that is found only at run time. places: whether it asks where it lies (`__file__`).
    documented: the digest with its docstrings; reads_docs: whether it asks for docstrings, its own or others'.
    """

    digest: str
    imports: tuple[Imported, ...] = ()
    addresses: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()
    places: bool = False
    documented: str = ""
    reads_docs: bool = False


def hashed(content: bytes) -> str:
    """Hex blake2b of bytes."""
    return hashlib.blake2b(content, digest_size=DIGITS // 2).hexdigest()


@lru_cache(maxsize=4096)
def parsed(text: bytes) -> SourceText:
    """What a file's bytes say; of one that is no Python, the digest of its bytes."""
    try:
        tree = ast.parse(text)
        unread = _is_unread(tree)
        said, whole = list[str](), list[str]()
        nodes: list[ast.AST] = []
        _spell(tree, said, nodes, lambda line: _is_text(line) or unread(line))
        _spell(tree, whole, [], unread)
    except (SyntaxError, ValueError, RecursionError):
        return SourceText(f"bytes-{hashed(text)}", documented=f"bytes-{hashed(text)}")
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return SourceText(
        hashed(" ".join(said).encode()),
        tuple(dict.fromkeys(one for node in nodes for one in _imports(node))),
        tuple(sorted(found[1] for text in texts if (found := ADDRESS.fullmatch(text)))),
        tuple(sorted(text for text in texts if len(text) < 200 and _FILE.fullmatch(text))),
        tuple(sorted({node.lineno for node in nodes if isinstance(node, ast.Call) and _is_hidden(node)})),
        any(isinstance(node, ast.Name) and node.id == "__file__" for node in nodes),
        hashed(" ".join(whole).encode()),
        any(_name_of(node) in _DOCS for node in nodes) or any(text in _DOCS for text in texts),
    )


def _is_text(line: ast.AST) -> bool:
    """Whether a line is a text that stands alone: a docstring, or as good as a comment."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _is_unread(tree: ast.Module) -> Callable[[ast.AST], bool]:
    """Whether a line of this file is never run: `if TYPE_CHECKING:`, where that is typing's name and nothing else."""
    aliases = [
        (getattr(node, "module", ""), alias)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    typings = [where == "typing" for where, alias in aliases if (alias.asname or alias.name) == "TYPE_CHECKING"]
    stored = any(
        isinstance(node, ast.Name) and node.id in ("TYPE_CHECKING", "typing") and isinstance(node.ctx, ast.Store)
        for node in ast.walk(tree)
    )
    named = bool(typings) and all(typings) and not stored
    modules = [alias.name for where, alias in aliases if not where and not alias.asname]
    of_module = "typing" in modules and not stored

    def unread(line: ast.AST) -> bool:
        if not isinstance(line, ast.If) or line.orelse:
            return False
        test = line.test
        if isinstance(test, ast.Attribute):
            return of_module and test.attr == "TYPE_CHECKING" and _name_of(test.value) == "typing"
        return named and isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"

    return unread


def _spell(value: Any, said: list[str], nodes: list[ast.AST], left_out: Callable[[ast.AST], bool]) -> None:
    """A tree as text, and its nodes, without those lines of a block that are left out.

    ast.dump will not do: it spells fields that are empty, or new in a Python, differently.
    """
    if isinstance(value, ast.AST):
        nodes.append(value)
        said.append(type(value).__name__)
        for name in value._fields:
            held = getattr(value, name, None)
            if held is not None and held != [] and name not in _UNSAID:
                said.append(name)
                _spell(held, said, nodes, left_out)
        said.append(")")
    elif isinstance(value, list):
        said.append("[")
        for one in value:
            if not left_out(one):
                _spell(one, said, nodes, left_out)
        said.append("]")
    else:
        said.append(ascii(value))


def _imports(node: ast.AST) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        yield from (Imported(0, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Imported(node.level, node.module or "", tuple(alias.name for alias in node.names))
    elif isinstance(node, ast.Call) and (name := _literal_import(node)):
        bare = name.lstrip(".")
        yield Imported(len(name) - len(bare), bare)


def _literal_import(call: ast.Call) -> str:
    """The name in `import_module("name")`; empty for all other calls."""
    first = call.args[0] if call.args else None
    literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return str(first.value) if literal and isinstance(first, ast.Constant) and _called(call) in _IMPORTERS else ""


def _is_hidden(call: ast.Call) -> bool:
    name = _called(call)
    return (name in _IMPORTERS and not _literal_import(call)) or name.rpartition(".")[2] in _RUNNERS


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        return f"{call.func.value.id}.{call.func.attr}"
    return _name_of(call.func)


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
