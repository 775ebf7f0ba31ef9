"""A recipe -> the object it describes: its class found by address, its role known."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import io
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from difflib import get_close_matches
from os.path import isfile, normpath  # unlike Path.is_file it raises nothing, whatever the name
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal, TypeVar, cast

from harness.contracts import ModelError, Parts, Pass, Reader, Recipe
from harness.contracts.artefact import damage, digests_on_card
from harness.errors import AddressError, HarnessError, SettingsError, bounded, in_words, nearest
from harness.foreign import interrupts
from harness.foreign.calls import looked_after
from harness.foreign.company import is_strange
from harness.recipes.code_stamp import classes_named, strange
from harness.recipes.settings import address, construct, settings_of
from harness.recipes.surroundings import HOME, PACKAGES
from harness.recipes.syntax import ADDRESS

__all__ = [
    "add_folder", "ask", "backbones", "build", "check_beside", "check_role", "kind_of", "learns", "load_class",
    "load_function", "open_method", "passes_of", "refuse_foreign_packages", "settings_of",
]  # fmt: skip

T = TypeVar("T")
_WRITTEN = {"class": "Class", "function": "function"}
Kind = Literal["learner", "reader", "method", "benchmark"]
VERBS: dict[Kind, tuple[str, ...]] = {
    "learner": ("fit", "fitted"),
    "reader": ("passes", "read"),
    "method": ("segment",),
    "benchmark": ("ids", "load"),
}


def load_class(use: str) -> type:
    """The class at an address `module:Class`; AddressError when there is none."""
    module, found = _look_up(use, "class")
    if not isinstance(found, type):
        there = _there(module, use, type)
        raise AddressError(f"{use!r} is not a class but of type {type(found).__name__}{there}")
    return found


def load_function(use: str) -> Callable[..., object]:
    """The function, or what is called like one, at an address `module:function`; AddressError when there is none."""
    module, found = _look_up(use, "function")
    if isinstance(found, type) or not callable(found):
        there = _there(module, use, FunctionType)
        raise AddressError(f"{use!r} is not a function but of type {type(found).__name__}{there}")
    function: Callable[..., object] = found
    return function


def _look_up(use: str, what: Literal["class", "function"]) -> tuple[ModuleType, object]:
    """The module and the thing of an address. AddressError when there is none."""
    parts = ADDRESS.fullmatch(use)
    if parts is None:
        dotted, _, last = use.rpartition(".")
        meant = f"{dotted}:{last}"
        suggestion = f"; did you mean {meant!r}?" if ADDRESS.fullmatch(meant) else ""
        raise AddressError(f"{use!r} is not an address; write module:{_WRITTEN[what]}{suggestion}")
    module = _import(parts[1], use)
    try:
        found = getattr(module, parts[2], None)
    except BaseException as raised:  # a module's own __getattr__ may do anything
        error = interrupts.foreign(raised)
        raise AddressError(f"{use!r}: looking up {parts[2]!r} failed: {in_words(error)}") from error
    if found is None:
        there = _there(module, use, type if what == "class" else FunctionType)
        raise AddressError(f"{use!r}: module {parts[1]!r} has no {what} {parts[2]!r}{there}")
    return module, found


def build(recipe: Recipe) -> Any:
    """The object that a recipe describes; AddressError or SettingsError says why there is none."""
    cls = load_class(recipe.use)
    for named in filter(is_strange, classes_named(recipe.settings)):
        with suppress(AddressError):  # a text that only looks like an address
            load_class(named)  # imported here, where that is looked after, and not by one of ours later
    try:
        with _held_back() as said:
            return looked_after(recipe.use, lambda: construct(cls, recipe.as_dict()), within=strange(recipe))
    except HarnessError:
        raise
    except BaseException as raised:
        error = interrupts.foreign(raised)
        raise SettingsError(f"{recipe.use}: it cannot be built: {in_words(error)}{_last(said)}") from error


def open_method(recipe: Recipe, artefact: str | None = None) -> Any:
    """The method or reader that a recipe describes; of a learner, what it has learned, from its artefact's folder.

    ModelError when a file there is not what was learned.
    """
    built = build(recipe)
    if artefact is None:
        return built
    place = Path(artefact)
    if what := damage(place, digests_on_card(place)):
        raise ModelError(f"{what}; move {place} away and run the sweep again to learn it anew.")
    return built.fitted(place)


def learns(cls: type) -> bool:
    """Whether a class is a learner, by its verbs."""
    return all(callable(getattr(cls, verb, None)) for verb in VERBS["learner"])


def check_role(cls: type, role: Literal["method", "benchmark"], use: str) -> None:
    """AddressError when the class lacks the verbs of its role; nothing of it is run."""
    kinds: tuple[Kind, ...] = ("learner", "reader", "method") if role == "method" else ("benchmark",)
    if any(all(callable(getattr(cls, verb, None)) for verb in VERBS[kind]) for kind in kinds):
        return
    needs = "neither `segment` nor both `passes` and `read`, nor `fit` and `fitted`"
    if role == "benchmark":
        needs = f"no {' and no '.join(f'`{verb}`' for verb in VERBS['benchmark'] if not hasattr(cls, verb))}"
    raise AddressError(f"{use!r} cannot be used as a {role}: it has {needs}")


def kind_of(thing: object) -> Kind:
    """What an object is by its verbs: a learner, a reader (also when it can segment alone), a method or a benchmark.

    Attributes are looked up without being evaluated, because `classes` of a benchmark may read files.
    """
    for kind, verbs in VERBS.items():
        wanted = (*verbs, "classes") if kind == "benchmark" else verbs
        if all(inspect.getattr_static(thing, verb, None) is not None for verb in wanted):
            return kind
    lacks = "; besides `ids` and `load` a benchmark needs `classes`" if hasattr(thing, "ids") else ""
    raise AddressError(f"{address(type(thing))} is neither a reader, a method nor a benchmark{lacks}")


def ask(thing: object, what: str, question: Callable[[], T]) -> T:
    """What a plug-in answers while a plan is made. HarnessError passes; SettingsError says what else it raised.

    what: what is asked for, for the sentence.
    """
    use = address(type(thing))
    try:
        with _held_back() as said:
            return looked_after(use, question, within=_names_strangers(thing))
    except HarnessError:
        raise
    except BaseException as raised:
        error = interrupts.foreign(raised)
        raise SettingsError(f"{use}: its {what} cannot be told: {in_words(error)}{_last(said)}") from error


def _names_strangers(thing: object) -> bool:
    """Whether the settings of an object name a stranger's class; of one without known settings nothing is known."""
    with suppress(SettingsError):
        return any(map(is_strange, classes_named(settings_of(thing))))
    return False


def passes_of(reader: object) -> dict[Pass, Parts]:
    """The passes that a reader declares, with their parts. SettingsError when they are none, or cannot be told."""

    def declared() -> dict[Pass, Parts]:
        passes = dict(cast(Reader, reader).passes())
        for request in passes:
            if not isinstance(getattr(request, "backbone", None), Recipe):
                raise TypeError("the `backbone` of a pass must be a Recipe")
            hash(request.encoding)  # passes are put into one encoding by it
        for kind in dict.fromkeys(map(type, passes)):
            _check_equality(kind)
        return passes

    return ask(reader, "passes", declared)


def _check_equality(kind: Any) -> None:
    """TypeError for a class of passes that would be taken for one although they differ."""
    blind = [one.name for one in dataclasses.fields(kind) if not one.compare] if dataclasses.is_dataclass(kind) else []
    if blind:
        raise TypeError(
            f"passes of {address(kind)} that differ in {blind[0]!r} alone would be taken for one, since that field is "
            "left out of comparisons; take compare=False away, or the field"
        )


def backbones(reader: Reader) -> tuple[Recipe, ...]:
    """The networks that a reader's passes ask for, each once."""
    return tuple(dict.fromkeys(request.backbone for request in passes_of(reader)))


def add_folder(folder: str | Path) -> None:
    """Make plug-ins in plain files of a folder importable, after everything that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()


def check_beside(use: str, folder: str | Path) -> None:
    """AddressError when an address names a file of this folder, but another module of that name comes first."""
    top = use.partition(":")[0].partition(".")[0]
    beside = [path for path in (Path(folder, f"{top}.py"), Path(folder, top, "__init__.py")) if isfile(path)]
    first = _place(top) if beside else None
    if top in PACKAGES or not beside or first in [path.resolve() for path in (*beside, Path(folder, top))]:
        return
    raise AddressError(
        f"{use!r} leads to {first or 'a built-in module'}, not to {normpath(beside[0])}; rename the latter"
    )


def refuse_foreign_packages(names: Sequence[str] = PACKAGES) -> None:
    """AddressError when a package of one of our names, but not ours, comes first on the path."""
    for name in names:
        place = _place(name)
        if place is not None and place != HOME / name:
            raise AddressError(
                f"a foreign package {name!r} at {place} hides ours at {HOME / name}; remove it from the path, "
                f"or start with `python -m` in {HOME}"
            )


def _place(name: str) -> Path | None:
    """The folder (or file) that an import of a top-level name would lead to."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    found = folders[0] if folders else spec.origin
    return Path(found).resolve() if found and (folders or spec.has_location) else None


@contextmanager
def _held_back() -> Iterator[io.StringIO]:
    """What is printed meanwhile comes afterwards on stderr; where something fails (argparse) our sentence is alone."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        yield said
    if said.getvalue():
        print(said.getvalue(), end="", file=sys.stderr)


def _last(said: io.StringIO) -> str:
    """The last line that was printed, in brackets."""
    lines = said.getvalue().strip().splitlines()
    return f" (it said: {bounded(lines[-1])})" if lines else ""


def _import(name: str, use: str) -> ModuleType:
    try:
        with _held_back() as said:
            if name in sys.modules:
                return importlib.import_module(name)
            return looked_after(use, lambda: importlib.import_module(name), imports=name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            meant = name.removesuffix(".py")
            nearest_one = f"; did you mean {use.replace('.py:', ':')!r}?" if meant != name else _nearest_module(name)
            raise AddressError(f"{use!r}: there is no module {name!r}{nearest_one}") from None
        raise AddressError(f"{use!r}: importing {name!r} failed: {in_words(error)}") from error
    except BaseException as raised:
        foreign = interrupts.foreign(raised)
        raise AddressError(f"{use!r}: importing {name!r} failed: {in_words(foreign)}{_last(said)}") from foreign


def _nearest_module(name: str) -> str:
    """The clause `; did you mean ...?` for the closest module on the path, found without importing anything."""
    folders, words = sys.path, list[str]()
    for part in name.split("."):
        known = {module.name for module in pkgutil.iter_modules(folders)}
        close = get_close_matches(part, sorted(known), n=1)
        if not close:
            return ""
        words.append(close[0])
        folders = [str(Path(folder, close[0])) for folder in folders]
    return f"; did you mean {'.'.join(words)!r}?"


def _there(module: ModuleType, use: str, kind: type) -> str:
    """The clause that says which class or function of a module may be meant."""
    name = use.rpartition(":")[2]
    found = [
        key for key, value in vars(module).items()
        if isinstance(value, kind) and not key.startswith("_") and value.__module__.startswith(module.__name__)
    ]  # fmt: skip
    return nearest(name, found) or (f"; it has {', '.join(found[:8])}" if found else "")
