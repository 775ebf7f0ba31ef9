"""A method's recipe and three images flow in; one verdict a promise of the contract flows out, each with a sentence."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from harness.checks.method_answers import (
    FEW_PIXELS,
    OTHER_SHAPE,
    Off,
    decided,
    described,
    difference,
    expect_equal,
    gap_between,
)
from harness.checks.method_world import WatchedFeatures, World, short
from harness.checks.module_watch import left_behind, open_lazily, watched
from harness.checks.planning_trial import seen_by_planning
from harness.contracts import Parts, Pass, Query, Recipe, Vocabulary
from harness.errors import HarnessError, ModelError, in_words, message
from harness.foreign.complaints import CURE

PLANNING_LIMIT = 120  # seconds


@dataclass(frozen=True)
class Verdict:
    """One line of the report. kept: None where it was not tried."""

    promise: str
    kept: bool | None
    sentence: str


@dataclass
class Trial:
    """One method under trial: its recipe, three queries of different sizes and vocabularies, and one with all names."""

    recipe: Recipe
    queries: tuple[Query, Query, Query]
    whole: Query
    artefact: str | None = None  # of a learner, the folder with what it has learned
    first: dict[str, NDArray[Any]] = field(default_factory=dict)  # image id -> what the first world answered, alone

    @cached_property
    def world(self) -> World:
        """The world in which all but the order is tried."""
        return self.anew()

    def anew(self) -> World:
        """Another world, which has seen nothing."""
        return World(self.recipe, self.artefact)

    def verdicts(self) -> Iterator[Verdict]:
        """Every promise in turn. ModelError when a model cannot be opened: that is the command's fault."""
        stopped = ""
        for promise, (check, vital) in PROMISES.items():
            if stopped:
                yield Verdict(promise, None, f"not tried, since {stopped!r} failed")
                continue
            try:
                yield Verdict(promise, True, check(self))
            except Exception as error:
                if check is opens and isinstance(error, ModelError):
                    raise
                stopped = promise if vital else ""
                yield Verdict(promise, False, _sentence(error))


def plans(trial: Trial) -> str:
    """Planning imports no torch, and a recipe means the same in another process."""
    hash(trial.recipe)
    if copy.deepcopy(trial.recipe) != trial.recipe:
        raise Off("a copy of the recipe is not equal to it: its settings must be plain values")
    started = time.perf_counter()
    answer = planned_elsewhere(trial.recipe)
    seconds = time.perf_counter() - started
    if answer["heavy"]:
        raise Off(f"planning with it loads {', '.join(answer['heavy'])}: import that inside the functions that need it")
    here = seen_by_planning(trial.recipe)
    if different := [key for key in here if answer.get("seen", {}).get(key) != here[key]]:
        raise Off(f"a second process that gets the recipe sees other {' and '.join(different)} than this one")
    return f"a fresh process plans with the recipe in {seconds:.1f} s, without torch, and sees the same as this one"


def planned_elsewhere(recipe: Recipe) -> dict[str, Any]:
    """The answer of a fresh process, see planning_trial."""
    asked = json.dumps({"use": recipe.use, "settings": recipe.as_dict()})
    path = os.pathsep.join(place for place in sys.path if place)
    done = subprocess.run(
        [sys.executable, "-m", "harness.checks.planning_trial"], input=asked, capture_output=True, text=True,
        check=False, timeout=PLANNING_LIMIT, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise Off(f"a fresh process cannot plan with the recipe: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def opens(trial: Trial) -> str:
    """It can be built, and its networks opened."""
    open_lazily(trial.world.method, *trial.world.networks.values())
    count = len(trial.world.networks)
    return f"built, {count} network{'s' if count > 1 else ''} opened" if count else "built; it needs no network"


def forms(trial: Trial) -> str:
    """Shape, type, range and finiteness of the answers for images of different sizes and vocabularies."""
    said = []
    for query in trial.queries:
        (answer,) = trial.world.answers(query)
        decided(answer, query, trial.world.method)
        trial.first[query.image_id] = answer
        height, width, _ = query.image.shape
        said.append(f"{height} x {width} and {len(query.vocabulary)} names: {described(answer)}")
    return "; ".join(said)


def takes_any_vocabulary(trial: Trial) -> str:
    """One class, one class of two names, and all names of the benchmark."""
    names = trial.whole.vocabulary.names
    offers = [Vocabulary(names[:1]), Vocabulary((tuple(word for words in names[:2] for word in words),))]
    few = [Query(trial.whole.image_id, trial.whole.image, offered) for offered in offers]
    for query in (*few, trial.whole):
        (answer,) = trial.world.answers(query)
        decided(answer, query, trial.world.method)
    return f"1 name and all {len(trial.whole.vocabulary)} give answers of the right form"


def says_the_same_twice(trial: Trial) -> str:
    """Equal questions, equal answers."""
    query = trial.queries[0]
    (again,) = trial.world.answers(query)
    expect_equal(trial.first[query.image_id], again, "asked twice for the same image")
    return "the same image asked twice gives the same answer"


def remembers_nothing(trial: Trial) -> str:
    """A then B equals B then A, in objects that have seen nothing else."""
    one, other, _ = trial.queries
    fresh = trial.anew()
    for query in (other, one):
        (answer,) = fresh.answers(query)
        expect_equal(trial.first[query.image_id], answer, f"asked in another order, for image {query.image_id}")
    return "image A then B gives the same as B then A in a fresh copy"


def batches(trial: Trial) -> str:
    """Three images together equal the same three alone, but for the last bits of floats."""
    if not trial.world.together:
        return "it looks at one image at a time"
    changed, worst = 0.0, 0.0
    for query, answer in zip(trial.queries, trial.world.answers(*trial.queries), strict=True):
        alone = trial.first[query.image_id]
        if difference(alone, answer, OTHER_SHAPE):
            one, other = (decided(found, query, trial.world.method) for found in (alone, answer))
            share = float((one != other).mean())
            if share > FEW_PIXELS:
                raise Off(
                    f"in a batch of three, {share:.1%} of the pixels of image {query.image_id} get another label than "
                    f"in a batch of its own ({difference(alone, answer, OTHER_SHAPE)}): images influence each other"
                )
            changed = max(changed, share)
        worst = max(worst, gap_between(alone, answer))
    return f"3 images together equal 3 alone: scores within {worst:.0e} of the largest, {changed:.1%} of labels differ"


def ignores_its_company(trial: Trial) -> str:
    """In a batch of the same shape, other neighbours change nothing at all; nor do other passes of a fresh network."""
    if not trial.world.together:
        return "it looks at one image at a time"
    query, *others = trial.queries
    strangers = [Query(f"not {one.image_id}", 255 - one.image, query.vocabulary) for one in others]
    beside, elsewhere = (trial.world.answers(query, *company)[0] for company in (others, strangers))
    expect_equal(beside, elsewhere, f"asked beside other images, in a batch of the same shape, for {query.image_id}")
    tried = _beside_other_passes(trial, query)
    return f"beside other images, in a batch of the same shape{tried}, an image gets the same answer"


def _beside_other_passes(trial: Trial, query: Query) -> str:
    """What its networks leave when they are asked for passes of others first is what they leave without."""
    fresh, others = trial.anew(), other_passes(trial.world.needs)
    fresh.needs = {**others, **fresh.needs}
    try:
        left = fresh.features(query)[0] if others else {}
    except Exception:  # the network need not know these passes
        left = {}
    if not left:
        return ""
    answer = fresh.read({request: left[request] for request in trial.world.needs}, query)
    if found := difference(trial.first[query.image_id], answer, OTHER_SHAPE):
        raise Off(
            f"asked for {short(next(iter(others)))} first, its network leaves something else for image "
            f"{query.image_id} ({found}): a pass must not depend on the others"
        )
    return ", and beside other passes"


def other_passes(needs: Mapping[Pass, Parts]) -> dict[Pass, Parts]:
    """Passes that another method might ask of the same networks: with the first number in each a little other."""
    found: dict[Pass, Parts] = {}
    for request, parts in needs.items():
        held: tuple[Field[Any], ...] = fields(request) if is_dataclass(request) else ()
        numbers = [one.name for one in held if one.init and type(getattr(request, one.name)) in (int, float)]
        for name in numbers[:1]:
            with suppress(Exception):  # a pass may know what its numbers can be
                found[replace(request, **{name: getattr(request, name) + 1})] = parts  # type: ignore[type-var]
    return {request: parts for request, parts in found.items() if request not in needs}


def leaves_no_trace(trial: Trial) -> str:
    """The process is as it was before each call, as the sweep looks at it; hooks, attention processors, forwards and
    modes of the networks' own modules are what they were when these opened."""
    things = (fresh := trial.anew()).method, *fresh.networks.values()
    open_lazily(*things)
    before = watched(*things)
    fresh.answers(trial.queries[0])
    before = before or watched(*things)  # opened only now: at least a second run must leave no more behind
    fresh.answers(trial.queries[1])
    if left := list({**trial.world.left, **fresh.left}):
        more = f", and {len(left) - 1} more" if len(left) > 1 else ""
        raise Off(f"it left {left[0]}{more}; in a sweep its rows would fail: {CURE}")
    if traces := left_behind(before, watched(*things)):
        more = f", and {len(traces) - 1} more" if len(traces) > 1 else ""
        raise Off(f"after an answer the network is not as it was: {traces[0]}{more}; take out what you put in")
    return f"hooks and processors of {len(before)} modules are as they were" if before else "it holds no torch module"


def keeps_its_hands_off(trial: Trial) -> str:
    """Images are not written to, and reading does not change what a pass left."""
    query, *_ = trial.queries
    trial.world.answers(*trial.queries)
    if trial.world.written:
        raise Off(f"it writes into the image it is given ({min(trial.world.written)}): work on a copy")
    if trial.world.reads:
        features = trial.world.features(query)[0]
        first, second = (trial.world.read(features, query) for _ in range(2))
        expect_equal(first, second, "read twice from the same features (it changes what others read after it)")
    return "images and features are as they were before"


def reads_what_it_declares(trial: Trial) -> str:
    """Every declared pass is read, no other one is, and `passes` always says the same."""
    if not trial.world.reads:
        return "it declares no pass and gets none"
    if dict(trial.world.method.passes()) != trial.world.needs:
        raise Off("`passes` gives another answer when it is called again: passes must be equal by value (frozen)")
    query = trial.queries[0]
    features = WatchedFeatures(trial.world.features(query)[0])
    trial.world.read(features, query)
    if idle := [request for request in trial.world.needs if request not in features.read]:
        raise Off(f"it declares a pass that it does not read, and every image would pay for it: {short(idle[0])}")
    parts = sum(len(parts) for parts in trial.world.needs.values())
    passes = len(trial.world.needs)
    return f"it reads its {passes} pass{'es' if passes > 1 else ''} with {parts} declared parts, and nothing else"


PROMISES: Mapping[str, tuple[Callable[[Trial], str], bool]] = {
    "plans without torch": (plans, False),
    "opens": (opens, True),
    "answers in the right form": (forms, True),
    "takes any vocabulary": (takes_any_vocabulary, False),
    "says the same twice": (says_the_same_twice, False),
    "remembers nothing": (remembers_nothing, False),
    "batches are only batches": (batches, False),
    "ignores its company": (ignores_its_company, False),
    "leaves no trace": (leaves_no_trace, False),
    "changes nothing it is given": (keeps_its_hands_off, False),
    "reads what it declares": (reads_what_it_declares, False),
}


def _sentence(error: Exception) -> str:
    return message(error) if isinstance(error, HarnessError | Off) else f"it raised {in_words(error)}"
