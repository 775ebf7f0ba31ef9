"""Settings, networks and passes that Python holds for equal (1, 1.0, True): a run's numbers never depend on company."""

from __future__ import annotations

import copy
import enum
import pickle
from typing import Any

import pytest
from alike import NUMBERS, Alike, Blind, Own, Reads
from toy_cells import Cell

from harness.contracts import FrozenDict, Recipe, Row
from harness.contracts.spelling import exact_text
from harness.errors import SettingsError, bounded
from harness.planning import plan as plans
from harness.recipes import loading
from harness.work.worker import ShardWorker

IMAGES = Recipe.of("toy_world:Boxes", images=3)


class Word(enum.StrEnum):
    ONE = "one"


def runs_of(*methods: Recipe) -> dict[str, tuple[Any, list[Row]]]:
    """Run id -> the facts of its networks, and its rows."""
    cells = [Cell(method, f"m{number}", benchmark=IMAGES) for number, method in enumerate(methods)]
    plan = plans.make("toy", cells, 2)
    worker = ShardWorker(threads=1)
    rows = [row for shard in plan.shards(99) for done in worker.run(shard) for row in done.rows]
    ids = [one.run.run_id for one in plan.runs]
    of = {one.run.run_id: one.record["backbones"] for one in plan.runs}
    found = {one: sorted((row for row in rows if row.run_id == one), key=lambda row: row.image_id) for one in ids}
    return {one: (of[one], found[one]) for one in ids}


def counts(rows: list[Row]) -> list[list[Any]]:
    return [[row.image_id, row.true.tolist(), row.predicted.tolist(), row.pixels.tolist()] for row in rows]


@pytest.mark.parametrize(
    "methods",
    [
        [Recipe.of("alike:Kind", x=x) for x in NUMBERS.values()],
        [Recipe.of("alike:Kind", x=x) for x in (0.0, -0.0)],
        *([Recipe.of("alike:Reads", number=one, of=of) for one in NUMBERS] for of in ("pass", "network", "own")),
    ],
    ids=["setting", "zeros", "pass", "network", "pass that compares as it likes"],
)
def test_a_run_has_the_id_and_the_numbers_that_it_has_alone(methods: list[Recipe]) -> None:
    alone = [next(iter(runs_of(method).items())) for method in methods]
    for company in (methods, methods[::-1]):
        together = runs_of(*company)
        assert together.keys() == {run_id for run_id, _ in alone} and len(together) == len(methods)
        for run_id, (networks, rows) in alone:
            assert together[run_id][0] == networks
            assert counts(together[run_id][1]) == counts(rows) and {row.status for row in rows} == {"ok"}
    assert len({str([one[1:] for one in counts(rows)]) for _, (_, rows) in alone}) == len(methods)


def test_equal_passes_of_one_kind_are_still_computed_once() -> None:
    readers = Recipe.of("alike:Reads"), Recipe.of("alike:Reads", number="whole")
    cells = [Cell(one, name, benchmark=IMAGES) for one, name in zip(readers, "ab", strict=True)]
    (shard,) = plans.make("toy", cells, 3).shards(99)
    assert sum(done.passes for done in ShardWorker(threads=1).run(shard)) == 3


def test_a_pass_that_is_blind_to_a_field_is_refused_in_a_sentence() -> None:
    says = "alike:Reads: its passes cannot be told: .*passes of alike:Blind that differ in 'prompt' alone would be"
    with pytest.raises(SettingsError, match=says):
        plans.make("toy", [Cell(Recipe.of("alike:Reads", of="blind"), benchmark=IMAGES)], 2)
    with pytest.raises(SettingsError, match=says):
        loading.passes_of(Reads(of="blind"))


DIFFERENT: list[Any] = [
    1, 1.0, True, "1", "True", 0, 0.0, -0.0, False, None, "", (), (1,), (1.0,), (True,), ((1,),), b"1", 1j,
    {"a": 1}, {"a": True}, {"a": (1, 2)}, {"b": 1}, {1: 1}, {"1": 1}, float("nan"), "nan", Word.ONE, "one",
]  # fmt: skip


def test_recipes_are_equal_if_their_settings_are_spelled_alike() -> None:
    recipes = [Recipe.of("a:B", x=value) for value in DIFFERENT]
    assert len(set(recipes)) == len(recipes)
    for value, recipe in zip(DIFFERENT, recipes, strict=True):
        same = [Recipe.of("a:B", x=value), pickle.loads(pickle.dumps(recipe)), copy.deepcopy(recipe)]
        assert [recipe] * 3 == same and len({recipe, *same}) == 1
        assert recipe != Recipe.of("a:C", x=value)
    nan = [Recipe.of("a:B", x=float("nan")) for _ in range(2)]
    assert nan[0] == nan[1] and hash(nan[0]) == hash(nan[1])
    assert Recipe.of("a:B", x={"a": 1, "b": [2]}) == Recipe.of("a:B", x={"b": (2,), "a": 1})
    assert Recipe("a:B").__eq__("a:B") is NotImplemented and pickle.dumps(nan[0]).count(b"_told") == 0


def test_a_recipe_that_is_changed_by_force_is_no_longer_equal() -> None:
    one, other = Recipe.of("a:B", x=1), Recipe.of("a:B", x=1)
    assert one == other
    object.__setattr__(one, "settings", (("x", 2),))
    assert one != other and one == Recipe.of("a:B", x=2)


def test_passes_are_spelled_with_all_that_they_hold() -> None:
    network = Recipe.of("a:B", x=1)
    passes = [Alike(network, 1), Alike(network, True), Alike(Recipe.of("a:B", x=1.0), 1), Blind(network, 1)]
    passes += [Blind(network, 1, 2), Own(network, 1), Own(network, 2), Own(network, 2.0)]  # type: ignore[list-item]
    assert len({exact_text(one) for one in passes}) == len(passes)
    assert exact_text(FrozenDict(a=1)) == exact_text({"a": 1}) and exact_text({2, 1}) == exact_text({1, 2})


def test_an_address_in_memory_makes_no_failure_another_one() -> None:
    texts = {bounded(f"KeyError: {function!r}, 0x7f12 at 7") for function in (lambda: 1, lambda: 2)}
    (text,) = texts
    assert text.endswith("<lambda> at 0x...>, 0x7f12 at 7")
