"""Windows that a protocol cuts go through our networks in full calls, whosever they are, and no bit depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
import toy_sizes
from toy_cells import Cell

from harness.contracts import Parts, Pass, ProtocolSettings, Query, Recipe, Row
from harness.planning import plan as plans
from harness.work import judge
from harness.work.worker import ShardWorker
from methods.clip import Clip
from methods.clip.network import ClipNetwork
from methods.diffusion import Diffusion
from methods.one_network import OneNetwork

SLIDING = ProtocolSettings("all", window=64, stride=32)
WINDOWS = (4, 8, 2, 2)  # of the images, in turn
IDS = [str(number) for number in range(8)]
HEADS = [Recipe.of(f"methods.{use}", model="shapes") for use in ("naclip:NACLIP", "sclip:SCLIP", "clearclip:ClearCLIP")]
STABLESEG = Recipe.of("methods.stableseg:StableSeg", model="shapes", timestep=100, refine="samap")
FOREIGN = Recipe.of("toy_sizes:OwnHead")


def rows_of(methods: Sequence[Recipe], stored: Sequence[str] = ()) -> dict[tuple[str, str], Row]:
    """By method and image. stored: images that are there already."""
    cells = [Cell(one, one.use, "", "Sizes", Recipe.of("toy_sizes:Sizes"), SLIDING) for one in methods]
    plan = plans.make("rounds", cells, 4)
    names = {one.run.run_id: one.run.method.use for one in plan.runs}
    if stored:
        plan = plans.make("rounds", cells, 4, {run_id: dict.fromkeys(stored, "ok") for run_id in names})
    done = [row for shard in plan.shards(99) for one in ShardWorker().run(shard) for row in one.rows]
    return {(names[row.run_id], row.image_id): row for row in done}


def counts(row: Row) -> list[tuple[int, int, int]]:
    return list(zip(row.true.tolist(), row.predicted.tolist(), row.pixels.tolist(), strict=True))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The bytes of all answers about windows."""
    heard, check = Counter[str](), vars(judge)["checked_answer"]

    def checked(answer: Any, *others: Any) -> Any:
        found = check(answer, *others)
        heard[blake2b(np.asarray(found).tobytes()).hexdigest()] += 1
        return found

    monkeypatch.setattr(judge, "checked_answer", checked)
    yield heard


@pytest.fixture
def rows_through_the_tower(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes (rows, height, width) of the calls of CLIP's tower."""
    shapes, make = list[tuple[int, ...]](), ClipNetwork.block_inputs

    def counted(self: ClipNetwork, pixels: Any, *others: Any) -> Any:
        shapes.append((len(pixels), *pixels.shape[2:]))
        return make(self, pixels, *others)

    monkeypatch.setattr(ClipNetwork, "block_inputs", counted)
    return shapes


def window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (OneNetwork, Diffusion):
        monkeypatch.setattr(kind, "any_company", False)


def test_calls_of_the_tower_are_full_and_shared_by_all_its_heads(
    rows_through_the_tower: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 windows of 64 x 64 and 2 of 48 x 64 a batch of four images, of which the largest has eight."""
    rows = rows_of([*HEADS, FOREIGN])
    assert all(row.status == "ok" for row in rows.values()) and len(rows) == 4 * len(IDS)
    assert rows_through_the_tower == 2 * ([(4, 64, 64)] * 4 + [(4, 48, 64)])
    assert all(counts(rows[HEADS[0].use, one]) == counts(rows[FOREIGN.use, one]) for one in IDS)
    window_by_window(monkeypatch)
    rows_through_the_tower.clear()
    rows_of(HEADS)
    assert sum(call[0] for call in rows_through_the_tower) >= 2 * 8 * 4


@pytest.mark.parametrize("method", [*HEADS, STABLESEG], ids=lambda one: one.use)
def test_answers_are_those_of_window_by_window_to_the_bit(
    method: Recipe, answers: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, full = rows_of([method]), Counter(answers)
    window_by_window(monkeypatch)
    answers.clear()
    others = rows_of([method])
    assert full == answers and full.total() == 2 * sum(WINDOWS)
    assert rows.keys() == others.keys() and all(counts(row) == counts(others[key]) for key, row in rows.items())


@pytest.mark.parametrize("method", [HEADS[0], STABLESEG], ids=lambda one: one.use)
def test_an_image_is_the_same_alone_and_among_others(method: Recipe, answers: Counter[str]) -> None:
    """Whatever is stored already: its windows are at other positions of other calls then."""
    together, all_of_them = rows_of([method]), Counter(answers)
    for left in ("1", "3", "6"):
        answers.clear()
        (row,) = rows_of([method], [one for one in IDS if one != left]).values()
        assert row.status == "ok" and counts(row) == counts(together[method.use, left])
        assert answers.total() == WINDOWS[int(left) % len(WINDOWS)] and answers <= all_of_them


def test_a_network_that_fails_on_a_window_costs_its_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    right, run = rows_of(HEADS[:2]), Clip.run

    def fails(self: Clip, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Any:
        if any(query.image_id == "1@32,64" for query in queries):
            raise RuntimeError("cannot see it")
        return run(self, queries, requests)

    monkeypatch.setattr(Clip, "run", fails)
    rows = rows_of(HEADS[:2])
    lost = {key: row for key, row in rows.items() if row.status != "ok"}
    assert {image for _, image in lost} == {"1"} and len(lost) == 2
    assert all(str(row.error).startswith("RuntimeError: cannot see it (tests/test_harness/") for row in lost.values())
    assert all(counts(row) == counts(right[key]) for key, row in rows.items() if key not in lost)


def test_a_reader_that_asks_for_another_network_than_at_first_has_failed_rows_and_no_one_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it asks for one that cannot be had, when its windows are about to be shown."""
    passes, asked = toy_sizes.OwnHead.passes, Counter[str]()

    def elsewhere(self: toy_sizes.OwnHead) -> Mapping[Pass, Parts]:
        asked["times"] += 1
        found = dict(passes(self))
        if asked["times"] <= 2:  # the plan's and the shard's
            return found
        gone = Recipe.of("methods.clip:Clip", model="/nowhere")
        return {replace(one, backbone=gone): parts for one, parts in found.items()}

    monkeypatch.setattr(toy_sizes.OwnHead, "passes", elsewhere)
    rows = rows_of([HEADS[0], FOREIGN])
    assert {row.status for (use, _), row in rows.items() if use == FOREIGN.use} == {"failed"}
    assert {row.status for (use, _), row in rows.items() if use == HEADS[0].use} == {"ok"}
