"""Names of modules flow in; what they bring along flows out: our modules, a stranger's own, what is installed beside.

Nothing is imported and nothing is run: imports are read in the sources, those inside functions included. A name that is
loaded already is looked at where it was loaded from, any other where an import would find it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import Path

from harness.recipes.places import names_beside
from harness.recipes.syntax import Imported, SourceText, hashed, parsed

PACKAGES = ("harness", "methods", "benchmarks", "results")
HOME = Path(__file__).resolve().parents[2]
REQUIRED = frozenset({  # what pyproject.toml asks for, as it is imported: in the recipe of a run, not in its id
    "PIL", "altair", "diffusers", "jinja2", "numpy", "polars", "pydantic", "ray", "rich", "safetensors", "scipy",
    "segmentation_models_pytorch", "torch", "transformers", "vl_convert", "yaml",
})  # fmt: skip
_SITES = ("site-packages", "dist-packages")
_SOURCES = (".py", ".pyw")


@dataclass
class Reached:
    """What some modules rest on.

    house: ours, by name. own: a stranger's by name, each with what its source says. installed: the top-level names of
    other distributions. unstamped: what cannot be known of it, a clause each. documented: like own, docstrings
    included; reads_docs: whether one of them reads docstrings at run time, so that they can change what it answers.
    """

    house: set[str] = field(default_factory=set)
    own: dict[str, str] = field(default_factory=dict)
    installed: set[str] = field(default_factory=set)
    unstamped: list[str] = field(default_factory=list)
    documented: dict[str, str] = field(default_factory=dict)
    reads_docs: bool = False


def reached(roots: Iterable[str], top: str) -> Reached:
    """Everything that modules bring along, directly or through others, themselves included.

    top: the package (or file) whose own modules count by their sources although they are installed.
    """
    found, seen = Reached(), set[str]()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if (wanted := _visit(name, top, found)) is not None:
            queue += [name.rpartition(".")[0]] if "." in name else []
            queue += wanted
    found.unstamped.sort()
    if found.reads_docs:
        found.own.update(found.documented)
    return found


def house_closure(roots: Iterable[str]) -> frozenset[str]:
    """The modules of our packages on which some of ours rest, themselves included."""
    return _house_closure(tuple(sorted(roots)))


def source_file(name: str) -> Path | None:
    """The file of a module, source or compiled; None for a package without one, a built-in, or what is not there."""
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None) if loaded is not None else None
    if file is None:
        spec = _spec(name)
        file = spec.origin if spec is not None and spec.has_location else None
    return Path(file) if file is not None and Path(file).is_file() else None


def distributions(top: str) -> dict[str, str]:
    """The installed distributions that a top-level module is of, with their versions."""
    return {name: metadata.version(name) for name in sorted(set(_by_module().get(top, ())))}


def is_ours(name: str) -> bool:
    """Whether a module is one of our packages'."""
    return name.partition(".")[0] in PACKAGES


def is_settled(name: str) -> bool:
    """Whether a module is Python's or of what this project requires: then versions in a run's recipe stand for it."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in REQUIRED


def source_text(path: Path) -> SourceText:
    """What the source file says; of a compiled one the digest of its bytes."""
    text = path.read_bytes()
    return parsed(text) if path.suffix in _SOURCES else SourceText(digest := f"bytes-{hashed(text)}", documented=digest)


def modules_named(source: SourceText, name: str, package: bool) -> Iterator[str]:
    """The modules that a source of this name imports or speaks of, where there is such a module."""
    home = name if package else name.rpartition(".")[0]
    top = name.partition(".")[0]
    for wanted in source.imports:
        yield from _meant(wanted, home)
    # An address in another package of ours is a recipe of its own, with facts of its own: the default tagger, say.
    near = (one for one in source.addresses if one.partition(".")[0] == top or not is_ours(one))
    yield from (one for one in near if not is_settled(one) and _exists(one))


def _visit(name: str, own: str, found: Reached) -> Iterable[str] | None:
    """Note a module where it belongs; what it imports in turn, or None where it ends here."""
    top = name.partition(".")[0]
    if is_settled(name):
        return None
    if is_ours(name):
        found.house |= house_closure([name]) if _exists(name) else set()
        return None
    path = source_file(name)
    if path is None:
        if not _exists(name):
            return None
        if not _is_namespace(name):
            found.unstamped.append(f"module {name} has no source file")
        return ()
    if top != own and set(_SITES) & set(path.parts) and distributions(top):
        found.installed.add(top)
        return None
    source = source_text(path)
    found.own[name], found.documented[name] = source.digest, source.documented
    found.reads_docs |= source.reads_docs
    _note_files(name, path, source, found)
    return modules_named(source, name, path.name.startswith("__init__."))


def _note_files(name: str, path: Path, source: SourceText, found: Reached) -> None:
    """Files that lie beside a source and are named in it count; what is looked for in other ways is told."""
    places = names_beside(path.read_bytes()) if source.places else []
    beside = {text for text in (*source.files, *chain(*places)) if (path.parent / text).is_file()}
    named = [text for text in sorted(beside) if Path(text).suffix not in _SOURCES]
    for text in named:
        found.own[f"{name}/{text}"] = hashed((path.parent / text).read_bytes())
    if path.suffix not in _SOURCES:
        found.unstamped.append(f"module {name} is compiled: its bytes stand for it, so another build is another run")
    for line in source.hidden:
        found.unstamped.append(f"module {name}, line {line}, runs code that only shows when it runs")
    if any(beside.isdisjoint(texts) for texts in places):
        found.unstamped.append(f"module {name} asks where it lies (__file__): what it reads there is not known")


@cache
def _by_module() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@lru_cache(maxsize=1024)
def _house_closure(roots: tuple[str, ...]) -> frozenset[str]:
    seen, queue = set[str](), list(roots)
    while queue:
        name = queue.pop()
        path = source_file(name) if is_ours(name) and name not in seen else None
        if path is not None:
            seen.add(name)
            queue += [name.rpartition(".")[0]] if "." in name else []
            queue += [one for one in modules_named(source_text(path), name, path.name == "__init__.py") if is_ours(one)]
    return frozenset(seen)


def _meant(wanted: Imported, home: str) -> Iterator[str]:
    """`from a import b` means the module a, and a.b where that is a module; dots are resolved from a package's name."""
    parts = home.split(".") if home else []
    if wanted.level > len(parts):
        return
    base = parts[: len(parts) - wanted.level + 1] if wanted.level else []
    name = ".".join([*base, *([wanted.module] if wanted.module else [])])
    if not name:
        return
    yield name
    if not is_settled(name):
        yield from (f"{name}.{one}" for one in wanted.names if one != "*" and _exists(f"{name}.{one}"))


def _exists(name: str) -> bool:
    return name in sys.modules or _spec(name) is not None


def _is_namespace(name: str) -> bool:
    spec = _spec(name)
    return spec is not None and spec.origin is None and spec.submodule_search_locations is not None


def _spec(name: str) -> ModuleSpec | None:
    """Where an import would find a module. importlib's own find_spec would import the packages around it."""
    spec: ModuleSpec | None = None
    places = None
    dotted = ""
    for part in name.split("."):
        if dotted and places is None:
            return None
        dotted = f"{dotted}.{part}" if dotted else part
        spec = _asked(dotted, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations
    return spec


def _asked(name: str, places: Iterable[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = find(name, places) if find is not None else None
        except Exception:  # a foreign finder may do anything
            continue
        if isinstance(spec, ModuleSpec):
            return spec
    return None
