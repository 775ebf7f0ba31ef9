"""A grid's methods and one learner among them flow in; the chain of its teachers on the train split flows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.errors import nearest
from harness.grid.combinations import Combination, Item
from harness.recipes import loading
from harness.yaml_lines import Where, YamlText


@dataclass(frozen=True)
class Teacher:
    """A method on a train split, and, if it is a learner, its own teacher there."""

    method: Combination
    benchmark: Combination
    teacher: Teacher | None = None


class Teachers:
    """Finds teachers by name.

    A teacher is named as the grid names it; where it has axes, by name and variant (`StableSeg timestep=1`), since a
    learner has one teacher. It may be left out of the tables by an exclude.
    """

    def __init__(self, source: YamlText, methods: Mapping[str, Item], benchmarks: Mapping[str, Item]) -> None:
        self._source, self._methods, self._benchmarks = source, methods, benchmarks

    def of(self, method: Combination, benchmark: Combination) -> Teacher | None:
        """The teacher of a method that is to be scored on a benchmark; None for a method that learns nothing."""
        if not self._learns(method):
            return None
        why = f"{method.name!r} learns from {method.known.get('teacher')!r}"
        return self._chain(method, self.train(benchmark, method.name, why), (method.full_name,))

    def _chain(self, learner: Combination, train: Combination, path: tuple[str, ...]) -> Teacher:
        """path: the learners that led here."""
        teacher = self._named(learner)
        if teacher.full_name in path:
            circle = " <- ".join((*path[path.index(teacher.full_name) :], teacher.full_name))
            raise self._source.error(_place(learner), f"the teachers go round in a circle: {circle}")
        further = self._chain(teacher, train, (*path, teacher.full_name)) if self._learns(teacher) else None
        return Teacher(teacher, train, further)

    def _learns(self, method: Combination) -> bool:
        return loading.learns(self._methods[method.name].cls)

    def _named(self, learner: Combination) -> Combination:
        name = str(learner.known.get("teacher"))
        found = self._variants.get(name, [])
        if len(found) == 1:
            return found[0]
        where = _place(learner)
        if found:
            named = _some([one.full_name for one in found])
            raise self._source.error(where, f"the teacher {name!r} has {len(found)} variants; name one of: {named}")
        known = f"{nearest(name, self._variants)} (methods: {', '.join(self._methods)})"
        raise self._source.error(where, f"no method is called {name!r}, so it cannot teach {learner.name!r}{known}")

    def train(self, benchmark: Combination, method: str, why: str) -> Combination:
        """The train split of a benchmark, which must not be what is scored. why: what a method needs it for."""
        item = self._benchmarks[benchmark.name]
        where = (*item.where, "train")
        written = self._source.value(item.where).get("train")
        if not written:
            raise self._source.error(
                item.where,
                f"{why}, so the benchmark {benchmark.name!r} needs `train:`, settings that make it a train split, such "
                "as train: {split: train}",
            )
        train = item.changed(benchmark, where, written)
        if train.content == benchmark.content:
            raise self._source.error(
                where, f"with these settings {benchmark.name!r} is scored: a teacher must not see the images that "
                f"{method!r} is scored on"
            )  # fmt: skip
        return train

    @cached_property
    def _variants(self) -> dict[str, list[Combination]]:
        """Combinations by name, and by name with variant."""
        found: dict[str, list[Combination]] = {}
        for item in self._methods.values():
            for one in item.combinations():
                for name in {one.name, one.full_name}:
                    found.setdefault(name, []).append(one)
        return found


def _place(learner: Combination) -> Where:
    return (*learner.where, "with", "teacher")


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
