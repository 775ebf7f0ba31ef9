"""Recipes and cells of a grid flow in; what is known of each method, network and benchmark flows out, asked once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from harness.contracts import (
    MethodError,
    ModelError,
    Origin,
    Parts,
    Pass,
    Planned,
    ProtocolSettings,
    Reader,
    Recipe,
    Words,
)
from harness.errors import GridError
from harness.planning.data_now import DataNow, key_of_data
from harness.protocol import given, naming
from harness.protocol.rules import effective
from harness.recipes import identity, loading
from harness.recipes.origins import DataSource


class Plannable(Protocol):
    """What the plan reads of one cell of a grid. A learner's has `teacher` too: the teacher's on the train split."""

    @property
    def method_name(self) -> str: ...

    @property
    def variant(self) -> str: ...

    @property
    def method(self) -> Recipe: ...

    @property
    def benchmark_name(self) -> str: ...

    @property
    def benchmark(self) -> Recipe: ...

    @property
    def protocol(self) -> ProtocolSettings: ...


@dataclass(frozen=True)
class KnownBenchmark:
    """What is known of a benchmark: its facts, its images in order, its classes, and its data as they are now.

    planned: what of its facts a worker must find too. official: how many images it has by its own account. clusters:
    cluster -> images that are not independent.
    """

    built: Any
    facts: dict[str, Any]
    image_ids: tuple[str, ...]
    classes: tuple[str, ...]
    data: DataNow
    planned: Planned
    official: int | None = None
    clusters: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True)
class KnownMethod:
    """A method, its facts, the passes it reads, the facts of their backbones, and what it needs that is not here.

    recipe: with the settings that the protocol decided. planned: what of its facts and of its backbones' a worker must
    find too. remarks: what is to be said where this machine computes it.
    """

    recipe: Recipe
    built: Any
    facts: dict[str, Any]
    passes: Mapping[Pass, Parts]
    backbones: list[dict[str, Any]]
    to_fetch: tuple[str, ...]
    planned: Planned
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownNetwork:
    """A backbone or a tagger, its facts, what a worker must find of them too, what it needs that is not here, and what
    is to be said of it where this machine computes it."""

    built: Any
    facts: dict[str, Any]
    to_fetch: tuple[str, ...]
    planned: Planned
    remarks: tuple[str, ...]


class Known:
    """Builds what recipes describe, once each, and remembers what it says of itself.

    folder: the grid's. origins: key of a benchmark -> where its images came from. tell: is told what takes a while.
    """

    def __init__(self, folder: str, origins: Callable[[str], dict[str, Origin]], tell: Callable[[str], None]) -> None:
        self._folder, self._origins, self._tell = folder, origins, tell
        self._benchmarks: dict[Recipe, KnownBenchmark] = {}
        self._networks: dict[Recipe, KnownNetwork] = {}
        self._names: dict[Hashable, Words] = {}
        self.unstamped: dict[str, tuple[str, ...]] = {}  # address -> what of its code stands in no id, a clause each
        self.uncounted: dict[str, tuple[str, ...]] = {}  # address -> what its settings name that does not either

    def method(self, cell: Plannable) -> KnownMethod:
        """The method of a cell, as it is resolved, with its networks. A model's error names who wants it."""
        try:
            recipe, built = self._resolved(cell)
            passes = loading.passes_of(built) if callable(getattr(built, "passes", None)) and _reads(built) else {}
            backbones = dict.fromkeys(request.backbone for request in passes)
            networks = self._each(backbones)
            for backbone in backbones:
                self._check(backbone, passes)
            to_fetch = tuple(model for network in networks for model in network.to_fetch)
            to_fetch += _told_by(built, "models_to_fetch")
            facts = self._facts(recipe, built)
            planned = _planned(recipe, facts) + tuple(one for network in networks for one in network.planned)
            remarks = tuple(said for network in networks for said in network.remarks) + _told_by(built, "remarks_here")
            of_networks = [network.facts for network in networks]
            return KnownMethod(recipe, built, facts, passes, of_networks, to_fetch, planned, remarks)
        except ModelError as error:
            told = (f"{cell.method_name}: {sentence}" for sentence in str(error).splitlines())
            raise ModelError("\n".join(told)) from error

    def _resolved(self, cell: Plannable) -> tuple[Recipe, Any]:
        """The method of a cell, the settings that it leaves to the protocol as they are under it, and built like this.
        GridError for those that are written where the protocol decides."""
        built = loading.build(cell.method)
        ask = getattr(built, "resolved", None)
        if not callable(ask):
            return cell.method, built
        try:
            found = loading.ask(built, "resolved()", lambda: dict(ask(effective(cell.protocol))))
        except MethodError as error:
            raise GridError(f"{cell.method_name} on {cell.benchmark_name}: {error}") from error
        recipe = Recipe.of(cell.method.use, **{**cell.method.as_dict(), **found})
        return recipe, loading.build(recipe)

    def words(self, cell: Plannable, place: KnownBenchmark) -> Words:
        """The names under which a cell offers the classes of its benchmark."""
        key, called = (cell.benchmark, cell.protocol.names), cell.benchmark_name
        if key not in self._names:
            self._names[key] = naming.words(cell.protocol.names, place.built, place.classes, called, self._folder)
        return self._names[key]

    def tagger(self, recipe: Recipe | None) -> KnownNetwork | None:
        """The tagger of a protocol, where it has one."""
        try:
            return None if recipe is None else self._network(recipe)
        except ModelError as error:
            raise ModelError(f"the tagger: {error}") from error

    def unanswered(self, method: KnownMethod, tagger: Recipe | None, images: Sequence[str]) -> dict[str, Sequence[str]]:
        """The images that the `method`, or the `tagger`, has nothing for, where one can tell."""
        network, found = self.tagger(tagger), dict[str, Sequence[str]]()
        for name, built in (("method", method.built), ("tagger", getattr(network, "built", None))):
            ask = getattr(built, "unanswered", None)
            if callable(ask) and (lacking := loading.ask(built, "unanswered()", partial(_told, ask, images))):
                found[name] = lacking
        return found

    def benchmark(self, recipe: Recipe, called: str) -> KnownBenchmark:
        """A benchmark and its data as they are now; DataError when it does not keep its contract."""
        if recipe not in self._benchmarks:
            source = DataSource(recipe)
            with source.asked():
                classes, image_ids = given.classes_of(source.benchmark, called), given.ids_of(source.benchmark, called)
                official = given.official_of(source.benchmark, called)
                clusters = given.clusters_of(source.benchmark, image_ids, called)
            facts = identity.benchmark_facts(recipe, source.benchmark, image_ids, self._folder)
            self.unstamped |= identity.unstamped(recipe.use, facts["settings"])
            key = key_of_data(recipe, facts, source.names_files)
            data = DataNow(source, len(classes), key, self._origins(key), self._tell)
            self._benchmarks[recipe] = KnownBenchmark(
                source.benchmark, facts, image_ids, classes, data, _planned(recipe, facts), official, clusters
            )
        return self._benchmarks[recipe]

    @property
    def data(self) -> dict[Recipe, DataNow]:
        """The data of every benchmark that was planned, train splits too."""
        return {recipe: place.data for recipe, place in self._benchmarks.items()}

    def _check(self, recipe: Recipe, passes: Mapping[Pass, Parts]) -> None:
        """ModelError for what a method asks of a backbone that its model can never do, where the backbone can tell."""
        check = getattr(self._network(recipe).built, "check_passes", None)
        if callable(check):
            own = {request: parts for request, parts in passes.items() if request.backbone == recipe}
            loading.ask(self._network(recipe).built, "check_passes()", lambda: check(own))

    def _each(self, recipes: Iterable[Recipe]) -> list[KnownNetwork]:
        """The networks of a method. ModelError with a sentence for every one whose model is not to be had."""
        found, lacking = list[KnownNetwork](), dict[str, ModelError]()
        for recipe in recipes:
            try:
                found.append(self._network(recipe))
            except ModelError as error:
                lacking[str(error)] = error
        if lacking:
            raise next(iter(lacking.values())) if len(lacking) == 1 else ModelError("\n".join(lacking))
        return found

    def _network(self, recipe: Recipe) -> KnownNetwork:
        if recipe not in self._networks:
            built = loading.build(recipe)
            facts = self._facts(recipe, built)
            to_fetch, remarks = _told_by(built, "models_to_fetch"), _told_by(built, "remarks_here")
            self._networks[recipe] = KnownNetwork(built, facts, to_fetch, _planned(recipe, facts), remarks)
        return self._networks[recipe]

    def _facts(self, recipe: Recipe, built: Any) -> dict[str, Any]:
        facts = identity.facts(recipe, built, self._folder)
        self.unstamped |= identity.unstamped(recipe.use, facts["settings"])
        if clauses := identity.uncounted(recipe.use, built, facts, self._folder):
            held = self.uncounted.get(recipe.use, ())
            self.uncounted[recipe.use] = tuple(dict.fromkeys((*held, *clauses)))
        return facts


def _planned(recipe: Recipe, facts: Mapping[str, Any]) -> Planned:
    return ((recipe, identity.traits(facts)),)


def _told_by(built: Any, what: str) -> tuple[str, ...]:
    """What a plug-in answers in words to `models_to_fetch`, or `remarks_here`, where it can tell."""
    ask = getattr(built, what, None)
    return loading.ask(built, f"{what}()", lambda: tuple(map(str, ask()))) if callable(ask) else ()


def _told(ask: Callable[..., Any], images: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, ask(images)))


def _reads(built: Any) -> bool:
    return isinstance(built, Reader) or loading.kind_of(built) == "learner"
