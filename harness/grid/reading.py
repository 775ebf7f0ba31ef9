"""The user's YAML file -> Grid: frozen cells, every name, address and setting in it checked, or one sentence why not.

Form: `name`, `methods`, `benchmarks`, and optionally `exclude`, `include`, `protocol`, `cluster`, `batch`, `keep`,
`tables`.
An item of `methods` or `benchmarks` has `name`, `use` (module:Class), `with` (its settings) and `exclude`; of `methods`
also `process: own`, for one that changes what others in its process rest on.

- Every list under `with:` is an axis: of the values of a setting. A setting that is annotated as a tuple or a mapping
  takes a list or a mapping as one value (`layers: [0, 1, 2]`), and its axis is a list of those (`[[0, 1, 2], [3]]`).
- `exclude` drops the combinations that have all it names: in an item `{setting: value}`, for the whole grid any of
  `{method: name, benchmark: name, with: {setting: value}}`; a list of values there means any of them, and `with` speaks
  of the method's settings, defaults included.
- `include` adds, after all excludes, one combination an entry: `{method: name, benchmark: name, with: {...}}`. Its
  `with` goes before the item's single values; an axis that it leaves out keeps the default of the class.
- A method or a benchmark may say something of the protocol itself: `protocol:`, a preset or fields that change the
  grid's; a method also `protocols: {benchmark: ...}` (see harness.grid.protocol_layers). A threshold may be a list: an
  axis of the protocol. Lessons follow the teacher's protocol.
- A benchmark with axes bears them in its name, and can be named with or without them.
- A method that learns names a `teacher`, another method here, and `train: {split: train}` of a benchmark says which of
  its settings make it the split that is learned from (see harness.grid.teachers). No scored image may be in it, by its
  pixels, or `train_overlap: 0.01` says which share of them.

Paths (of names, of templates, and in settings: see harness.recipes.named_files) are relative to the folder of the file,
and plug-ins are given absolute ones; `~` and `$VAR` are filled in.

Cells come benchmark by benchmark, method by method, the last axis changing fastest; included cells last. The folder of
the file is put at the end of the import path, so that `use: my_method:Mine` finds my_method.py beside the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness import yaml_lines
from harness.contracts import ProtocolSettings, Recipe
from harness.errors import AddressError, GridError, nearest
from harness.grid import form as grid_form
from harness.grid.combinations import MOST_COMBINATIONS, Combination, Item, Role, matches
from harness.grid.overrides import overridden
from harness.grid.protocol_layers import ProtocolChoice, Protocols, RunProtocol
from harness.grid.table_form import check_value
from harness.grid.teachers import Teacher, Teachers
from harness.recipes import loading
from harness.yaml_lines import Where, YamlText


@dataclass(frozen=True)
class ClusterSettings:
    """Where and with how much the grid is computed; none of it can change a pixel.

    workers: how many, or "auto" (one a GPU, or as the CPUs allow). address: a running Ray cluster. threads: per worker
    on CPUs. gpus_per_worker: share of a GPU for each. shard_batches: network batches a shard. stall_seconds: how long a
    worker may say nothing before its shard is given to another one.
    """

    workers: int | Literal["auto"] = "auto"
    address: str | None = None
    threads: int | None = None
    gpus_per_worker: float = 1.0
    shard_batches: int | None = None
    stall_seconds: float | None = None


@dataclass(frozen=True)
class Cell:
    """One method recipe on one benchmark. variant: the values of the method's axes, `timestep=1 refine=sar`.

    teacher: of a method that learns, the cell of its teacher on the train split. own: whether the method is given
    processes of its own. train_overlap: the share of the scored images that may be in the train split. choice: where
    something of the protocol is chosen on the train split, how.
    """

    method_name: str
    variant: str
    method: Recipe
    benchmark_name: str
    benchmark: Recipe
    protocol: ProtocolSettings
    teacher: Cell | None = None
    own: bool = False
    train_overlap: float = 0.0
    choice: CellChoice | None = None


@dataclass(frozen=True)
class CellChoice:
    """Of which cells on the train split the best says the protocol. fields: what of it; rule: what is the best."""

    rule: str
    fields: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """What the user asked for.

    folder: where the file lies. batch: images that go through a network together. keep: images of each benchmark whose
    label maps are kept, by id, or how many. tables: the comparison tables, as written.
    """

    name: str
    folder: str
    cells: tuple[Cell, ...]
    batch: int
    cluster: ClusterSettings
    keep: int | tuple[str, ...] = 0
    tables: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class _Rule:
    """One exclude of the whole grid: by method name, the values of its settings that are meant; benchmark or all."""

    by_method: dict[str, dict[str, list[Any]]]
    benchmark: str | None
    where: Where

    def drops(self, method: Combination, benchmark: Combination) -> bool:
        rule = self.by_method.get(method.name)
        return rule is not None and matches(rule, method.known) and _is_called(benchmark, self.benchmark)


def read_grid(path: str | Path, changes: Sequence[str] = ()) -> Grid:
    """The grid in a file; GridError, with file and line, for whatever is wrong with it.

    changes: `key=value`, in place of what the file says (see harness.grid.overrides).
    """
    source = overridden(yaml_lines.read_yaml(Path(path)), changes)
    form = grid_form.check_form(source)
    folder = str(Path(path).absolute().parent)
    loading.add_folder(folder)
    maker = _Maker(source, form, folder)
    cells = tuple(maker.cells())
    wanted = form.keep.label_maps
    keep = wanted if isinstance(wanted, int) else tuple(wanted)
    tables = maker.tables()
    return Grid(form.name, folder, cells, form.batch, ClusterSettings(**dict(form.cluster)), keep, tables)


class _Maker:
    """Multiplies the items of one file."""

    def __init__(self, source: YamlText, form: grid_form.GridForm, folder: str) -> None:
        self._source, self._form, self._folder = source, form, folder
        self._methods = self._items("methods", "method", folder)
        self._benchmarks = self._items("benchmarks", "benchmark", folder)
        self._refuse_too_many()
        self._places = [one for item in self._benchmarks.values() for one in item.combinations()]
        self._refuse_same_names()
        self._protocols = Protocols(source, form, folder, self._places)
        self._teachers = Teachers(source, self._methods, self._benchmarks)

    def cells(self) -> Iterator[Cell]:
        """Every method with every benchmark and protocol, without the excluded, with the included, none twice."""
        overlaps = {item.name: item.train_overlap for item in self._form.benchmarks}
        seen: dict[tuple[str, str, RunProtocol], tuple[Combination, Combination]] = {}
        for where, method, benchmark in [*self._kept(), *self._included()]:
            for protocol in self._protocols.of(method, benchmark):
                key = (method.content, benchmark.content, protocol)
                if key in seen:
                    raise self._source.error(where, _same_twice((method, benchmark), seen[key]))
                seen[key] = (method, benchmark)
                if len(seen) > MOST_COMBINATIONS:
                    raise self._source.error(
                        where, f"the protocols make more than {MOST_COMBINATIONS} runs: split the grid"
                    )
                taught = self._teachers.of(method, benchmark)
                cell = self._cell(method, benchmark, benchmark, taught, protocol.settings)
                choice = self._choice(method, benchmark, protocol.choice)
                yield replace(cell, train_overlap=overlaps[benchmark.name], choice=choice)

    def _choice(self, method: Combination, benchmark: Combination, choice: ProtocolChoice | None) -> CellChoice | None:
        """The runs on the train split of which the best says a protocol."""
        if choice is None:
            return None
        what = " and ".join(choice.fields)
        if self._teachers.of(method, benchmark) is not None:
            sentence = (
                f"{method.name!r} learns from the train split, so its {what} cannot be chosen there as well; give it"
            )
            raise self._source.error(method.where, sentence)
        train = self._teachers.train(benchmark, method.name, f"the {what} of {method.name!r} is chosen there")
        cells = tuple([self._cell(method, train, benchmark, None, one) for one in choice.candidates])
        return CellChoice(choice.rule, choice.fields, cells)

    def _cell(
        self, method: Combination, place: Combination, scored: Combination, taught: Teacher | None,
        protocol: ProtocolSettings,
    ) -> Cell:  # fmt: skip
        """One run. scored: the benchmark for which it is wanted in the end."""
        teacher = None
        if taught is not None:
            rules = self._taught_under(taught.method, scored, protocol)
            teacher = self._cell(taught.method, taught.benchmark, scored, taught.teacher, rules)
        names = method.name, method.variant, method.recipe, place.full_name, place.recipe
        return Cell(*names, protocol, teacher, method.own)

    def _taught_under(self, teacher: Combination, scored: Combination, learner: ProtocolSettings) -> ProtocolSettings:
        """The teacher's own protocol; of several the learner's."""
        found = [one.settings for one in self._protocols.of(teacher, scored) if one.choice is None]
        if not found or (len(found) > 1 and learner not in found):
            sentence = (
                f"{teacher.full_name!r} teaches, and has {len(found) or 'several'} protocols on {scored.full_name!r}, "
                "one for each value of a list; give a teacher one"
            )
            raise self._source.error(teacher.where, sentence)
        return learner if learner in found else found[0]

    def tables(self) -> tuple[dict[str, object], ...]:
        """The declared tables as plain values; what they speak of is a name or a setting that something here has."""
        methods = [one for item in self._methods.values() for one in item.combinations() if self._form.tables]
        settings = {name for one in (*methods, *self._places) for name in one.known}
        known = {"method", "variant", "benchmark", *ProtocolSettings.__dataclass_fields__, *settings}
        for number, form in enumerate(self._form.tables):
            try:
                check_value(form.value, self._folder)
            except AddressError as error:
                raise self._source.error(("tables", number, "value"), str(error)) from None
            if form.as_published and form.value != "miou":
                sentence = f"a table that is as published shows miou, which is what was printed, not {form.value}"
                raise self._source.error(("tables", number, "as_published"), sentence)
            for key in ("rows", "columns", "where"):
                value = getattr(form, key)
                for name in [value] if isinstance(value, str) else value:
                    if name not in known:
                        where = ("tables", number, key, name)
                        sentence = f"no method, benchmark or protocol has a setting {name!r}{nearest(name, known)}"
                        raise self._source.error(where, sentence)
        return tuple(form.model_dump(exclude_defaults=True) for form in self._form.tables)

    def _kept(self) -> list[tuple[Where, Combination, Combination]]:
        methods = [one for item in self._methods.values() for one in item.combinations()]
        rules = [self._rule(number) for number in range(len(self._form.exclude))]
        unused = {rule.where for rule in rules}
        kept = []
        for benchmark in self._places:
            for method in methods:
                dropping = {rule.where for rule in rules if rule.drops(method, benchmark)}
                unused -= dropping
                if not dropping:
                    kept.append((method.where, method, benchmark))
        if unused:
            raise self._source.error(min(unused), "this exclude matches no combination")
        if not kept and not self._form.include:
            raise self._source.error(("exclude",), "the excludes leave no combination")
        return kept

    def _included(self) -> Iterator[tuple[Where, Combination, Combination]]:
        for number, form in enumerate(self._form.include):
            where: Where = ("include", number)
            item = self._method((*where, "method"), form.method)
            places = [place for place in self._places if _is_called(place, form.benchmark)]
            if len(places) != 1:
                raise self._unknown_benchmark((*where, "benchmark"), form.benchmark, places)
            yield where, item.one((*where, "with"), form.settings), places[0]

    def _rule(self, number: int) -> _Rule:
        where, form = ("exclude", number), self._form.exclude[number]
        if form.method is form.benchmark is None and not form.settings:
            raise self._source.error(where, "an empty exclude would drop everything; name what it drops")
        if form.benchmark is not None and not any(_is_called(place, form.benchmark) for place in self._places):
            raise self._unknown_benchmark((*where, "benchmark"), form.benchmark, [])
        items = list(self._methods.values())
        if form.method is not None:
            items = [self._method((*where, "method"), form.method)]
        items = [item for item in items if item.takes(form.settings)] or items[:1]
        rules: dict[str, dict[str, list[object]]] = {}
        errors: list[GridError] = []
        for item in items:
            try:
                rules[item.name] = item.rule((*where, "with"), form.settings)
            except GridError as error:  # one method's setting may take what another's of the same name refuses
                errors.append(error)
        if not rules:
            raise errors[0]
        return _Rule(rules, form.benchmark, where)

    def _method(self, where: Where, name: str) -> Item:
        if name not in self._methods:
            known = f"{nearest(name, self._methods)} (methods: {', '.join(self._methods)})"
            raise self._source.error(where, f"no method is called {name!r}{known}")
        return self._methods[name]

    def _unknown_benchmark(self, where: Where, name: str, found: Sequence[Combination]) -> GridError:
        names = [place.full_name for place in found or self._places]
        if found:
            return self._source.error(where, f"{name!r} is more than one benchmark; name one of {', '.join(names)}")
        return self._source.error(
            where, f"no benchmark is called {name!r}{nearest(name, names)} (benchmarks: {', '.join(names)})"
        )

    def _items(self, section: str, role: Role, folder: str) -> dict[str, Item]:
        numbers = range(len(self._source.value((section,))))
        items = (Item(self._source, folder, (section, number), role) for number in numbers)
        return {item.name: item for item in items}

    def _refuse_too_many(self) -> None:
        """Before anything is built."""
        total = math.prod(sum(item.count for item in items.values()) for items in (self._methods, self._benchmarks))
        if total > MOST_COMBINATIONS:
            most = f"{MOST_COMBINATIONS} is the most: split the grid"
            sentence = f"the axes make {total} combinations before any exclude; {most}"
            raise self._source.error(("methods",), sentence)

    def _refuse_same_names(self) -> None:
        """`Shapes` with an axis may come to bear the name that another benchmark was given."""
        seen: set[str] = set()
        for place in self._places:
            if place.full_name in seen:
                raise self._source.error(place.where, f"another benchmark is called {place.full_name!r} already")
            seen.add(place.full_name)


def _same_twice(*pairs: tuple[Combination, Combination]) -> str:
    again, first = (f"{method.full_name!r} on {benchmark.full_name!r}" for method, benchmark in pairs)
    return f"the grid holds {again} twice" if again == first else f"the grid holds {again} already, as {first}"


def _is_called(benchmark: Combination, name: str | None) -> bool:
    return name is None or name in (benchmark.name, benchmark.full_name)
