"""Shards and cost of plans whose runs miss different images: as counted one by one, in linearly many steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import ClassVar

import numpy as np
import pytest
from toy_cells import BOXES, FLAT, NINE, Cell

from harness.contracts import Recipe, Shard
from harness.planning import batches
from harness.planning import plan as plans
from harness.planning.plan import Cost, Plan, Stage


class Counted(str):
    """An image's name that counts how often it is looked up."""

    looks: ClassVar[int] = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return super().__hash__()

    __eq__ = str.__eq__


def with_images(plan: Plan, images: tuple[str, ...], missing: list[frozenset[str]]) -> Plan:
    """The plan's groups on other images, of which every run misses some."""
    group = [replace(one, image_ids=images, missing=own) for one, own in zip(plan.groups[0], missing, strict=True)]
    return replace(plan, stages=(Stage((tuple(group),)),))


def one_by_one(plan: Plan, size: int) -> list[Shard]:
    """The shards as they are defined: neighbours needed by the same runs, images nobody misses left out."""
    shards = []
    for number, group in enumerate(plan.groups):
        pieces = batches.fixed(group[0].image_ids, plan.batch)
        needed = [([one for one in group if one.missing & set(piece.image_ids)], piece) for piece in pieces]
        for runs, pairs in groupby((pair for pair in needed if pair[0]), key=lambda pair: pair[0]):
            missing = frozenset[str]().union(*(one.missing for one in runs))
            own = [batches.without_stored(piece, missing) for _, piece in pairs]
            for start in range(0, len(own), size):
                part = tuple(own[start : start + size])
                shards.append(Shard(f"{number}-{part[0].index}", tuple(one.run for one in runs), part, runs[0].keep))
    return shards


def passes_one_by_one(plan: Plan) -> Cost:
    """Per image the distinct passes over the runs that miss it; here all have one encoding, and the same words."""
    total = Cost()
    for one in plan.groups[0]:
        total += Cost(0, 0, bool(one.passes) * len(one.missing), len(one.passes) * len(one.missing))
    pairs = {(request, image) for one in plan.groups[0] for request in one.passes for image in one.missing}
    images = {image for one in plan.groups[0] if one.passes for image in one.missing}
    return total + Cost(len(images), len(pairs))


def test_shards_and_cost_are_those_of_a_count_by_hand(rng: np.random.Generator) -> None:
    plan = plans.make("toy", [FLAT, *NINE], 4)
    images = tuple(f"{number:03d}" for number in range(37))
    for _ in range(20):
        kinds = [frozenset(image for image in images if rng.random() < share) | {"003"} for share in (0.1, 0.5, 1.0)]
        missing = [kinds[int(rng.integers(3))] for _ in plan.groups[0]]
        own = with_images(plan, images, missing)
        size = int(rng.integers(1, 5))
        assert list(own.shards(size)) == one_by_one(own, size)
        assert own.cost == passes_one_by_one(own)


@pytest.mark.parametrize("alike", [True, False])
def test_a_plan_looks_at_an_image_a_few_times_whether_there_are_many(alike: bool) -> None:
    """Twice the images cost twice the looks, and not four times."""
    plan, looks = plans.make("toy", NINE, 4), []
    for count in (400, 800):
        images = tuple(Counted(f"{number:05d}") for number in range(count))
        missing = [frozenset(images if alike else images[number:]) for number in range(len(NINE))]
        Counted.looks = 0
        own = with_images(plan, images, missing)
        own.shards()
        assert own.cost.passes == passes_one_by_one(own).passes or alike
        looks.append(Counted.looks)
    assert looks[1] < 2.2 * looks[0], looks


def test_equal_holes_of_several_runs_are_held_once() -> None:
    stored = {f"{number:03d}": "ok" for number in range(6)}
    first = plans.make("toy", [*NINE[:3], Cell(Recipe.of("toy_world:Flat"), benchmark=BOXES)], 4)
    again = plans.make("toy", NINE[:3], 4, {one.run.run_id: dict(stored) for one in first.runs})
    assert len({id(one.missing) for one in again.runs}) == 1 and len(again.runs[0].missing) == 4
