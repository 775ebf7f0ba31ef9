"""The form of a grid file flows in, its methods, benchmarks and protocols are multiplied, and its cells flow out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.contracts import ProtocolSettings
from harness.errors import AddressError, GridError, nearest
from harness.grid.cells import Cell, CellChoice
from harness.grid.combinations import MOST_COMBINATIONS, Combination, Item, Role, matches
from harness.grid.form import GridForm
from harness.grid.protocol_form import AXES
from harness.grid.protocol_layers import ProtocolChoice, Protocols, RunProtocol
from harness.grid.table_form import check_value
from harness.grid.teachers import Teacher, Teachers
from harness.yaml_lines import Where, YamlText


@dataclass(frozen=True)
class _Rule:
    """One exclude of the whole grid: by method name, the values of its settings that are meant; benchmark or all; of
    the protocols those with these values of their axes, or all."""

    by_method: dict[str, dict[str, list[Any]]]
    benchmark: str | None
    protocol: dict[str, list[Any]]
    where: Where

    def drops(self, method: Combination, benchmark: Combination) -> bool:
        rule = self.by_method.get(method.name)
        return rule is not None and matches(rule, method.known) and _is_called(benchmark, self.benchmark)

    def drops_under(self, protocol: RunProtocol) -> bool:
        """Whether a protocol is meant; one whose values are still to be chosen is none of an axis."""
        chosen = protocol.choice.fields if protocol.choice is not None else ()
        known = {name: getattr(protocol.settings, name) for name in AXES if name not in chosen}
        return matches(self.protocol, known)


class Maker:
    """Multiplies the items of one file."""

    def __init__(self, source: YamlText, form: GridForm, folder: str) -> None:
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
        rules = [self._rule(number) for number in range(len(self._form.exclude))]
        narrow, unused = [rule for rule in rules if rule.protocol], {rule.where for rule in rules}
        kept = self._kept([rule for rule in rules if not rule.protocol], unused)
        for where, method, benchmark in [*kept, *self._included()]:
            for protocol in self._protocols.of(method, benchmark):
                meant = (rule for rule in narrow if rule.drops(method, benchmark) and rule.drops_under(protocol))
                if where[0] != "include" and (dropping := {rule.where for rule in meant}):
                    unused -= dropping
                    continue
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
        if unused:
            raise self._source.error(min(unused), "this exclude matches no combination")
        if not seen:
            raise self._source.error(("exclude",), "the excludes leave no combination")

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

    def _kept(self, rules: Sequence[_Rule], unused: set[Where]) -> list[tuple[Where, Combination, Combination]]:
        """What some rules leave; those that drop something are taken out of `unused`."""
        methods = [one for item in self._methods.values() for one in item.combinations()]
        kept = []
        for benchmark in self._places:
            for method in methods:
                dropping = {rule.where for rule in rules if rule.drops(method, benchmark)}
                unused -= dropping
                if not dropping:
                    kept.append((method.where, method, benchmark))
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
        if form.method is form.benchmark is None and not form.settings and not form.protocol:
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
        return _Rule(rules, form.benchmark, self._protocol_rule((*where, "protocol"), form.protocol), where)

    def _protocol_rule(self, where: Where, written: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Field -> the values that an exclude drops; a field that can be an axis, and a number or a list of them."""
        for name in written:
            if name not in AXES:
                sentence = f"an exclude names fields of the protocol that can be axes, not {name!r}"
                raise self._source.error((*where, name), f"{sentence}{nearest(name, AXES)} (axes: {', '.join(AXES)})")
        return {name: list(value) if isinstance(value, list) else [value] for name, value in written.items()}

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
