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
from functools import cache, lru_cache
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
        whole, nodes, texts_alone = list[str](), list[ast.AST](), list[slice]()
        _spell(tree, whole, nodes, texts_alone, _is_unread(tree))
    except (SyntaxError, ValueError, RecursionError):
        return SourceText(f"bytes-{hashed(text)}", documented=f"bytes-{hashed(text)}")
    said = list(whole)
    for part in reversed(texts_alone):
        del said[part]
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

    @cache
    def meant() -> tuple[bool, bool]:
        """Whether the bare name is typing's, and whether `typing` is; asked of few files."""
        nodes = list(ast.walk(tree))
        aliases = [
            (getattr(node, "module", ""), alias)
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        typings = [where == "typing" for where, alias in aliases if (alias.asname or alias.name) == "TYPE_CHECKING"]
        stored = any(
            isinstance(node, ast.Name) and node.id in ("TYPE_CHECKING", "typing") and isinstance(node.ctx, ast.Store)
            for node in nodes
        )
        modules = [alias.name for where, alias in aliases if not where and not alias.asname]
        return bool(typings) and all(typings) and not stored, "typing" in modules and not stored

    def unread(line: ast.AST) -> bool:
        if not isinstance(line, ast.If) or line.orelse:
            return False
        test = line.test
        if isinstance(test, ast.Attribute):
            return test.attr == "TYPE_CHECKING" and _name_of(test.value) == "typing" and meant()[1]
        return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING" and meant()[0]

    return unread


def _spell(
    value: Any, said: list[str], nodes: list[ast.AST], alone: list[slice], unread: Callable[[ast.AST], bool]
) -> None:
    """A tree as text without lines that nobody reads, and its nodes. alone: where in it texts stand that stand alone,
    whose nodes are none.

    ast.dump will not do: it spells fields that are empty, or new in a Python, differently.
    """
    if isinstance(value, ast.AST):
        nodes.append(value)
        said.append(type(value).__name__)
        for name in value._fields:
            held = getattr(value, name, None)
            if held is not None and held != [] and name not in _UNSAID:
                said.append(name)
                _spell(held, said, nodes, alone, unread)
        said.append(")")
    elif isinstance(value, list):
        said.append("[")
        for one in value:
            if not unread(one):
                begun, held = len(said), len(nodes)
                _spell(one, said, nodes, alone, unread)
                if _is_text(one):
                    alone.append(slice(begun, len(said)))
                    del nodes[held:]
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
