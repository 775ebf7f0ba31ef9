"""One method or benchmark of a grid -> its combinations: axes multiplied in written order, each built to be sure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contracts import FrozenDict, Recipe, freeze
from harness.errors import HarnessError
from harness.recipes import loading, settings
from harness.recipes.complaints import spell
from harness.recipes.named_files import placed
from harness.yaml_lines import Where, YamlText

MOST_COMBINATIONS = 10_000  # each is built to be sure: some seconds in all

Role = Literal["method", "benchmark"]
_PLAIN = (bool, int, float, str, tuple, FrozenDict)


@dataclass(frozen=True)
class Choice:
    """A value that a setting can take, where it is written, and what is written there."""

    value: Any
    where: Where
    written: Any = None


@dataclass(frozen=True)
class Combination:
    """One recipe of an item. variant: its axes in words; known: all settings, as written or by default."""

    name: str
    variant: str
    recipe: Recipe
    known: Mapping[str, Any] = field(repr=False, hash=False)
    where: Where
    content: str  # the class and its settings once built: equal content would give equal results
    own: bool = False  # whether it is given processes of its own

    @property
    def full_name(self) -> str:
        """The name, with the axes if there are any."""
        return f"{self.name} {self.variant}" if self.variant else self.name


class Item:
    """One entry of `methods:` or `benchmarks:` with its class at hand."""

    def __init__(self, source: YamlText, folder: str, where: Where, role: Role) -> None:
        self._source, self._folder, self._role, self.where = source, folder, role, where
        written = source.value(where)
        self.name: str = written["name"]
        self.use: str = written["use"]
        self.cls = self._class()
        given = written.get("with", {})
        self._choices = {key: self._axis((*where, "with", key), value) for key, value in given.items()}
        self._axes = [key for key, value in given.items() if settings.is_axis(self.cls, key, value)]
        self.count = math.prod(map(len, self._choices.values()))  # of combinations, before any is dropped
        self._excludes = written.get("exclude", [])
        self._made: tuple[Combination, ...] | None = None
        self._own = written.get("process") == "own"

    def combinations(self) -> tuple[Combination, ...]:
        """Every combination that the item's own `exclude:` leaves, the last axis changing fastest."""
        self._made = self._made or self._multiplied()
        return self._made

    def _multiplied(self) -> tuple[Combination, ...]:
        rules = [self.rule((*self.where, "exclude", number), rule) for number, rule in enumerate(self._excludes)]
        used = [False] * len(rules)
        kept = []
        for chosen in itertools.product(*self._choices.values()):
            one = self._combine(dict(zip(self._choices, chosen, strict=True)))
            matching = [number for number, rule in enumerate(rules) if matches(rule, one.known)]
            for number in matching:
                used[number] = True
            if not matching:
                kept.append(one)
        for number, was_used in enumerate(used):
            if not was_used:
                raise self._source.error((*self.where, "exclude", number), "this exclude matches no combination")
        if not kept:
            raise self._source.error((*self.where, "exclude"), f"the excludes leave no combination of {self.name!r}")
        return tuple(kept)

    def one(self, where: Where, written: Mapping[str, object]) -> Combination:
        """The combination of the item's single values with those written at `where`; its axes are not multiplied."""
        chosen = {key: choices[0] for key, choices in self._choices.items() if key not in self._axes}
        for key, value in written.items():
            choices = self._axis((*where, key), value)
            if len(choices) > 1:
                raise self._source.error((*where, key), f"an include adds one combination: give {key!r} one value")
            chosen[key] = choices[0]
        return self._combine(chosen, extra=[key for key in written if key not in self._axes])

    def changed(self, one: Combination, where: Where, written: Mapping[str, object]) -> Combination:
        """A combination with those settings replaced that are written at `where`; they stand in its variant."""
        chosen = {key: Choice(value, self.where, value) for key, value in one.recipe.as_dict().items()}
        for key, value in written.items():
            choices = self._axis((*where, key), value)
            if len(choices) > 1:
                raise self._source.error((*where, key), f"give {key!r} one value here")
            chosen[key] = choices[0]
        return self._combine(chosen, extra=[key for key in written if key not in self._axes])

    def rule(self, where: Where, written: Mapping[str, object]) -> dict[str, list[object]]:
        """Setting -> the values that an exclude drops, as the class has them."""
        if not written and where[0] != "exclude":
            raise self._source.error(where, "an empty exclude would drop everything; name what it drops")
        axes = {key: self._axis((*where, key), value, "exclude") for key, value in written.items()}
        return {key: [choice.value for choice in choices] for key, choices in axes.items()}

    def takes(self, names: Iterable[str]) -> bool:
        """Whether the class has all these settings."""
        return set(names) <= set(settings.parameters(self.cls))

    def _class(self) -> type:
        try:
            loading.check_beside(self.use, self._folder)
            cls = loading.load_class(self.use)
            loading.check_role(cls, self._role, self.use)
        except HarnessError as error:
            raise self._source.error((*self.where, "use"), str(error)) from None
        return cls

    def _axis(self, where: Where, value: Any, kind: str = "axis") -> tuple[Choice, ...]:
        """The values of one setting: those of an axis, or the single one; each is checked against the class."""
        key = where[-1]
        is_axis = settings.is_axis(self.cls, str(key), value)
        if is_axis and not value:
            raise self._source.error(where, f"the {kind} {key!r} is empty: give it a value, or leave it out")
        places = [(*where, number) for number in range(len(value))] if is_axis else [where]
        choices = tuple(Choice(self._fitting(place), place, self._source.value(place)) for place in places)
        first: dict[str, Where] = {}
        for choice in choices:
            if first.setdefault(repr(choice.value), choice.where) != choice.where:
                raise self._source.error(choice.where, f"the {kind} {key!r} holds {spell(choice.value)} twice")
        return choices

    def _fitting(self, where: Where) -> object:
        """The value at a place as its setting has it: 1 becomes 1.0 for a float, lists become tuples."""
        value = self._source.value(where)
        key = str(where[-1] if isinstance(where[-1], str) else where[-2])
        if isinstance(value, dict) and not settings.takes(self.cls, key, Mapping):
            raise self._source.error(where, f"setting {key!r} cannot be a mapping; give it a word, a number or a list")
        try:
            fitting = settings.check_setting(self.cls, key, value)
            return self._placed(key, fitting if type(fitting) in _PLAIN else freeze(value))
        except HarnessError as error:
            raise self._source.error(where, str(error)) from None

    def _placed(self, key: str, value: object) -> object:
        return placed(self.cls, key, value, self._folder, self._role == "benchmark" and key == "root")

    def _combine(self, chosen: Mapping[str, Choice], extra: Sequence[str] = ()) -> Combination:
        recipe = Recipe.of(self.use, **{key: choice.value for key, choice in chosen.items()})
        try:
            thing = loading.build(recipe)
            final = settings.settings_of(thing)
            defaults = {key: value for key, value in final.items() if key not in chosen}
            moved = {key: there for key, value in defaults.items() if (there := self._placed(key, value)) != value}
            if moved:
                recipe = Recipe.of(self.use, **{**recipe.as_dict(), **moved})
                thing = loading.build(recipe)
                final = settings.settings_of(thing)
            self._check_built(thing)
        except HarnessError as error:
            raise self._source.error(self._blamed(chosen, str(error)), str(error)) from None
        known = {**final, **recipe.as_dict()}
        shown = {**known, **{key: choice.written for key, choice in chosen.items() if _is_moved(choice)}}
        variant = " ".join(f"{key}={spell(shown[key])}" for key in (*self._axes, *extra) if key in shown)
        content = f"{settings.address(self.cls)} {sorted(final.items(), key=lambda item: item[0])!r}"
        return Combination(self.name, variant, recipe, known, self.where, content, self._own)

    def _check_built(self, thing: Any) -> None:
        """What shows only on the object: that a benchmark has classes, and that a reader's backbones can be built."""
        kind = loading.kind_of(thing)
        if self._role == "method" and (kind == "reader" or (kind == "learner" and hasattr(thing, "passes"))):
            for recipe in loading.backbones(thing):
                loading.build(recipe)

    def _blamed(self, chosen: Mapping[str, Choice], message: str) -> Where:
        """Where the value is written that a message most likely speaks of: by the setting's name, else by its text."""
        named = [(match.start(), key) for key in chosen if (match := re.search(rf"\b{re.escape(key)}\b", message))]
        if named:
            return chosen[min(named)[1]].where
        quoted = (one.where for one in chosen.values() if isinstance(one.value, str) and repr(one.value) in message)
        return next(quoted, self.where)


def _is_moved(choice: Choice) -> bool:
    """Whether a path stands in place of what was written."""
    return isinstance(choice.value, str | tuple) and choice.value != freeze(choice.written)


def matches(rule: Mapping[str, Sequence[object]], known: Mapping[str, object]) -> bool:
    """Whether a combination has, for every setting of a rule, one of the values it names."""
    return all(key in known and any(_same(known[key], value) for value in values) for key, values in rule.items())


def _same(left: object, right: object) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
