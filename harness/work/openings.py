"""Recipes flow in; opened methods, networks, taggers and benchmarks flow out, each tried once in a process.

What cannot be had is remembered with its reason, and what is to be said of it, or of what was opened, is kept until it
is taken along to the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from harness.contracts import Asked, Backbone, DataError, Method, ModelError, Recipe, Run, Tagger, Traits
from harness.errors import HarnessError, in_words
from harness.foreign.calls import Guard, take_opened
from harness.foreign.shared import Shared
from harness.protocol.given import check_classes, checked_sample
from harness.recipes import identity, loading, unnamed
from harness.recipes.code_stamp import classes_named, strange
from harness.recipes.origins import DataSource
from harness.work.reading import Reading


class Openings:
    """Keeps what was opened from shard to shard; networks are let go when other ones are needed."""

    def __init__(self, folder: str = ".") -> None:
        self._folder = folder
        self._planned: dict[Recipe, Traits] = {}
        self._held: dict[Any, Any] = {}
        self._lost: dict[Any, str] = {}
        self._networks: set[Recipe] = set()
        self._said: list[str] = []
        self._overheard: set[str] = set()  # plug-ins of which it was said
        self._stands: dict[str, list[str]] = {}  # by plug-in, the files that are in ids
        self.shared = Shared()

    def expect(self, runs: Iterable[Run]) -> None:
        """What is opened from now on must be what these runs were planned with."""
        for run in runs:
            self._planned |= dict(run.planned)

    def look_after(self) -> None:
        """From now on watch all that is open, since a plug-in that is none of ours takes part."""
        opened = {key: thing for key, thing in self._held.items() if not isinstance(thing, Reading)}
        self.shared.note({key: (_address(key), thing) for key, thing in opened.items()})

    def drop(self, keys: Iterable[Any]) -> None:
        """Open these anew when they are asked for: somebody changed them."""
        for key in keys:
            self._held.pop(key, None)
        self.shared.forget(keys)

    def method(self, guard: Guard, run: Run) -> Method | Asked:
        """The method of a run, with what it has learned, if it is a learner."""
        key = run.method, run.purpose.learned
        method: Method | Asked = self._once(guard, key, run.method, partial(self._built, *key))
        return method

    def reading(self, run: Run, seen: Traits = ()) -> Reading:
        """The benchmark of a run, to be read from, with the classes that it was planned with.

        seen: images with the digests that they must have.
        """
        guard, key = Guard(), (Reading, run.benchmark, run.classes, seen)
        if key not in self._held:
            guard.settle()
        reading: Reading = self._once(guard, key, run.benchmark, partial(self._read, run, seen))
        guard.leave()
        return reading

    def tagger(self, guard: Guard, recipe: Recipe) -> Tagger:
        """The tagger that a recipe describes, its network opened."""
        tagger: Tagger = self._once(guard, recipe, recipe, partial(self._built, recipe))
        return tagger

    def network(self, guard: Guard, recipe: Recipe) -> Backbone:
        """The backbone that a recipe describes, opened."""
        network: Backbone = self._once(guard, recipe, recipe, partial(self._built, recipe))
        self._networks.add(recipe)
        return network

    def keep_networks(self, needed: Collection[Recipe]) -> None:
        """Networks that are not needed are let go before another one is opened: memory holds one set."""
        if set(needed) - self._networks - self._lost.keys():
            idle = self._networks - set(needed)
            self.drop(idle)
            self._networks -= idle

    def take_notices(self) -> tuple[str, ...]:
        """What is to be said since the last call, a sentence each; of what a plug-in opens that is in no id once."""
        asked = {recipe.use for recipe in map(_recipe, self._held) if recipe}  # a benchmark's files have digests
        for use, paths in take_opened().items():
            if use in self._overheard or use not in asked:
                continue
            with suppress(HarnessError, OSError):  # of what cannot be known now, the plan has told
                if use not in self._stands:
                    self._stands[use] = [*self._known_files(use)]
                if found := unnamed.in_no_id(use, paths, self._stands[use], self._folder):
                    self._overheard.add(use)
                    self._said.append(unnamed.told_of_unnamed(use, found))
        said, self._said = tuple(self._said), []
        return said

    def _known_files(self, use: str) -> Iterator[str]:
        """Files and folders that stand in the ids of this plug-in's runs: those that settings name, what it learned."""
        for key, made in self._held.items():
            if (recipe := _recipe(key)) is not None and recipe.use == use:
                yield from identity.facts(recipe, made, self._folder)["files"]
            yield from [one for one in (key if isinstance(key, tuple) else ()) if isinstance(one, str)]

    def _read(self, run: Run, seen: Traits) -> Reading:
        source = DataSource(run.benchmark)
        with source.asked():
            check_classes(source.benchmark, run.classes)
        identity.check_planned(run.benchmark, source.benchmark, self._planned, self._folder, benchmark=True)
        _check_seen(source, seen)
        return Reading(source)

    def _built(self, recipe: Recipe, artefact: str | None = None) -> Any:
        """What a recipe describes, with what it has learned; ModelError when it is not as planned."""
        built = loading.build(recipe)
        identity.check_planned(recipe, built, self._planned, self._folder)
        return built if artefact is None else loading.open_method(recipe, artefact)

    def _once(self, guard: Guard, key: Any, recipe: Recipe, make: Callable[[], Any]) -> Any:
        """What was made of this key; ModelError with the reason, the same every time, when that failed."""
        if key not in self._held and key not in self._lost:
            try:
                ask = partial(guard.call, recipe.use, (repr(recipe),), opening=True, within=strange(recipe))
                made, said = ask(partial(_opened, make))
                for use in (recipe.use, *classes_named(recipe.settings)):
                    guard.charge(use.partition(":")[0])
                self._held[key] = made
                self._stands.pop(recipe.use, None)
                self._said += said
            except Exception as error:
                self._lost[key] = in_words(error)
                self._said.append(f"{self._lost[key]} What needs it is not tried.")
        if key in self._lost:
            raise ModelError(self._lost[key])
        return self._held[key]


def _check_seen(source: DataSource, seen: Traits) -> None:
    """DataError where images are other ones here. What cannot be read is left to its row, which is tried elsewhere."""
    differ, with_what = list[str](), ""
    for image_id, digest in seen:
        with suppress(Exception):
            check = partial(checked_sample, image_id=image_id, classes=len(source.benchmark.classes))
            _, origin = source.load(image_id, check)
            if origin.sample != digest:
                differ, with_what = [*differ, image_id], origin.readers
    if differ:
        raise DataError(
            f"{source.use} has other data here than where the sweep was planned: of {len(seen)} images looked at, "
            f"{len(differ)} differ, {differ[0]!r} for one (read with {with_what}). Give every worker the same files "
            "and versions, and sweep again."
        )


def _address(key: Any) -> str:
    """Of the plug-in that was opened."""
    recipe = _recipe(key)
    assert recipe is not None
    return recipe.use


def _recipe(key: Any) -> Recipe | None:
    """A recipe is a key by itself, a method's one together with what it learned; a reading's is no method's."""
    first = key if isinstance(key, Recipe) else key[0]
    return first if isinstance(first, Recipe) else None


def _opened(make: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What is made, its models opened, and what it says of them."""
    made = make()
    opening = getattr(made, "open_models", None)
    return made, [str(one) for one in opening() or ()] if callable(opening) else []
