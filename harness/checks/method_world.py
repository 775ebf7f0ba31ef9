"""A method's recipe flows in; the method, its networks and their answers to images, built anew, flow out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.checks.method_answers import Off, array_of
from harness.contracts import Features, Image, Parts, Pass, Query, Reader, Recipe, Vocabulary
from harness.foreign.calls import Guard
from harness.foreign.lending import Lent, LentFeatures, LentValue
from harness.foreign.shared import CLAUSE as SHARED
from harness.foreign.shared import Shared
from harness.protocol.offering import segmented, segments_together
from harness.recipes import loading
from harness.work.batch_reading import in_batches, read_together, segmented_together
from harness.work.passes import by_backbone, features_of, served


class WatchedFeatures(Mapping[Pass, Features]):
    """Features that remember which passes were read, and refuse those that were not declared."""

    def __init__(self, held: Mapping[Pass, Features], read: set[Hashable] | None = None) -> None:
        self.held, self.read = held, set[Hashable]() if read is None else read

    def __getitem__(self, request: Pass) -> Features:
        if request not in self.held:
            raise Off(f"it reads a pass that it did not declare: {short(request)}; give it out in `passes`")
        self.read.add(request)
        return self.held[request]

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


class World:
    """A method built anew, the networks it reads, and its answers as arrays.

    What is cheap to look at is looked at after every call; functions and networks when a plug-in's turn is over.
    """

    def __init__(self, recipe: Recipe, artefact: str | None = None) -> None:
        self._recipe, self._guard, self._shared = recipe, Guard(), Shared()
        self._turn: Recipe | None = None  # whose calls are made
        self._ran = set[Recipe]()  # networks that may have opened what they open at their first run
        self.left = dict[str, None]()  # what its calls left in this process, or in what it was lent, in clauses
        self.written = set[str]()  # ids of the images that were written to
        self.method = self._open(recipe, partial(loading.open_method, recipe, artefact))
        reads = isinstance(self.method, Reader)
        self.needs: dict[Pass, Parts] = self._open(recipe, lambda: dict(self.method.passes())) if reads else {}
        wanted = dict.fromkeys(request.backbone for request in self.needs)
        self.networks = {one: self._open(one, partial(loading.build, one)) for one in wanted}
        self._look()
        self._shared.note({one: (one.use, network) for one, network in self.networks.items()})

    @property
    def reads(self) -> bool:
        """Whether it reads networks' passes; else it looks at one image at a time."""
        return isinstance(self.method, Reader)

    @property
    def together(self) -> bool:
        """Whether several images are answered for in one call, of a network or of its own."""
        return self.reads or segments_together(self.method)

    def answers(self, *queries: Query) -> list[NDArray[Any]]:
        """One answer a query; for a reader all of them go through the networks together, and what has a batch form is
        asked by it where there are several. Images are given as copies."""
        given = [Query(query.image_id, query.image.copy(), query.vocabulary) for query in queries]
        with self._looked_at():
            if len(given) > 1 and self.reads and in_batches(self.method):
                answers = self._read_batch(given)
            elif len(given) > 1 and segments_together(self.method):
                answers = self._segment_batch(given)
            elif self.reads:
                answers = [self._read(held, one) for held, one in zip(self._features(*given), given, strict=True)]
            else:
                answers = [self._segment(one) for one in given]
        pairs = zip(queries, given, strict=True)
        self.written |= {one.image_id for query, one in pairs if not np.array_equal(query.image, one.image)}
        return answers

    def features(self, *queries: Query) -> list[dict[Pass, Features]]:
        """Per query the features of every declared pass, with exactly the declared parts."""
        with self._looked_at():
            return self._features(*queries)

    def read(self, features: Mapping[Pass, Features], query: Query) -> NDArray[Any]:
        """What a reader answers from features."""
        with self._looked_at():
            return self._read(features, query)

    def _features(self, *queries: Query) -> list[dict[Pass, Features]]:
        found = features_of(self.needs, queries, self.networks.__getitem__, lambda one: partial(self._run, one))
        self._ran.update(self.networks)
        return found

    def _run(self, network: Recipe, function: Callable[[], Any]) -> Any:
        return self._ask(network, "", function, opening=network not in self._ran)

    def _read(self, features: Mapping[Pass, Features], query: Query) -> NDArray[Any]:
        watched = features if isinstance(features, WatchedFeatures) else WatchedFeatures(features)
        names, asked = LentValue(query.vocabulary, "vocabulary"), LentValue(dict(watched.held), "pass")
        apart = [one for held in self.networks.values() for one in (held, *getattr(held, "__dict__", {}).values())]
        left = [LentFeatures(one, apart) for one in watched.held.values()]
        shown = WatchedFeatures(asked.value, watched.read)
        verb = partial(self.method.read, shown, names.value)
        with ExitStack() as loan:
            for one in left:
                loan.enter_context(one.lent(closely=True, locked=False))  # what it does is told by the promises
            return array_of(self._ask(self._recipe, query.image_id, verb, (names, *left)))

    def _segment(self, query: Query) -> NDArray[Any]:
        names = LentValue(query.vocabulary, "vocabulary")
        verb = partial(segmented, self.method, query.image, query.image_id, names.value)
        return array_of(self._ask(self._recipe, query.image_id, verb, (names,)))

    def _read_batch(self, queries: Sequence[Query]) -> list[NDArray[Any]]:
        batches: dict[Pass, Sequence[Features]] = {}
        for recipe, wanted in by_backbone(self.needs).items():
            batches |= served(recipe, self.networks[recipe], queries, wanted, partial(self._run, recipe))
        self._ran.update(self.networks)
        names = LentValue([query.vocabulary for query in queries], "vocabulary")
        verb = partial(read_together, self.method, batches, dict(enumerate(names.value)))
        found = self._ask(self._recipe, "", verb, (names,))
        return [array_of(found[place]) for place in range(len(queries))]

    def _segment_batch(self, queries: Sequence[Query]) -> list[NDArray[Any]]:
        names = LentValue([query.vocabulary for query in queries], "vocabulary")
        images = [query.image for query in queries]
        verb = partial(segmented_together, self.method, images, names.value, foreign=False)
        return [array_of(one) for one in self._ask(self._recipe, "", verb, (names,))]

    def _open(self, recipe: Recipe, function: Callable[[], Any]) -> Any:
        return self._ask(recipe, "", function, opening=True)

    def _ask(
        self,
        recipe: Recipe,
        image_id: str,
        function: Callable[[], Any],
        lent: Sequence[Lent] = (),
        opening: bool = False,
    ) -> Any:
        """A call as the sweep makes it; what it leaves is remembered, and put back."""
        if self._turn != recipe:
            self._look()
            self._guard.settle()
            self._turn = recipe
        outcome = self._guard.ask(recipe.use, (repr(recipe), image_id), function, lent, opening)
        self._guard.leave()
        self.left |= dict.fromkeys(outcome.left)
        if outcome.error is not None:
            raise outcome.error
        return outcome.answer

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._look()

    def _look(self) -> None:
        """The turn of a plug-in is over: what it left of all that is dear to look at."""
        if self._turn is not None:
            self.left |= dict.fromkeys(self._guard.rare_traces())
            self.left |= dict.fromkeys([SHARED] if self._shared.changed(self._turn.use) else [])
            self._turn = None


def scene(samples: Sequence[tuple[str, Image]], classes: Sequence[str]) -> tuple[tuple[Query, Query, Query], Query]:
    """Three queries from (id, image) pairs: as it is, cut to its left and cut to its upper part, with 2, 3 and 2
    classes; and the first one with all classes."""
    names = tuple((name,) for name in classes)
    queries = []
    for place, ((image_id, image), count) in enumerate(zip(samples, (2, 3, 2), strict=True)):
        height, width, _ = image.shape
        cut = image[: height * 3 // 5 or 1] if place == 2 else image[:, : width * 2 // 3 or 1] if place else image
        shifted = names[place % len(names) :] + names[: place % len(names)]
        queries.append(Query(image_id, np.ascontiguousarray(cut), Vocabulary(shifted[:count], shifted[count:])))
    one, two, three = queries
    return (one, two, three), Query(one.image_id, one.image, Vocabulary(names))


def short(request: object) -> str:
    text = repr(request)
    return text if len(text) <= 160 else f"{text[:157]}..."
