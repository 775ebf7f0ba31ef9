"""What overlaps in a worker, shown by threads that wait for each other; and that nobody's numbers hang on it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import toy_world
from toy_cells import Cell

from harness.contracts import Parts, Pass, Query, Recipe, Row, Sample, Vocabulary
from harness.foreign import strays
from harness.foreign.elsewhere import Elsewhere
from harness.foreign.turns import Turns
from harness.planning import plan as plans
from harness.work import reading
from harness.work.judge import Judge
from harness.work.later import Bundle, Later, one_behind
from harness.work.scoring import TruthThere
from harness.work.worker import ShardWorker

HERE = __name__
PATIENCE = 300.0  # seconds; nobody waits so long but where a test fails
MET: dict[str, Any] = {}


@dataclass(frozen=True)
class Boxes(toy_world.Boxes):
    """Notes how many threads load at once; the first two of a later batch wait for each other, if they should."""

    version: ClassVar[int] = 1
    waits: bool = False

    def files(self, image_id: str) -> Sequence[Path]:
        return ()

    def load(self, image_id: str) -> Sample:
        with MET["lock"]:
            MET["loading"] += 1
            MET["most"] = max(MET["most"], MET["loading"])
        if self.waits and image_id in ("004", "005"):
            MET["pair"].wait(PATIENCE)
        sample = super().load(image_id)
        with MET["lock"]:
            MET["loading"] -= 1
        return sample


@dataclass(frozen=True)
class Threaded(Boxes):
    loads_in_threads: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    MET.update(lock=threading.Lock(), loading=0, most=0, pair=threading.Barrier(2))
    monkeypatch.setattr(reading, "THREADS", 2)


def rows_of(cell: Cell, batch: int = 4) -> list[Row]:
    plan = plans.make("toy", [cell], batch)
    return [row for shard in plan.shards(99) for done in ShardWorker(threads=1).run(shard) for row in done.rows]


def facts(rows: Sequence[Row]) -> list[Any]:
    return [
        (row.image_id, row.status, row.error, row.true.tolist(), row.predicted.tolist(), row.pixels.tolist())
        for row in rows
    ]


def reader(use: str = "toy_world:ToyReader", benchmark: str = "toy_world:Boxes", **settings: Any) -> Cell:
    own = {"timestep": 1} if use == "toy_world:ToyReader" else {}
    return Cell(Recipe.of(use, **own), benchmark=Recipe.of(benchmark, images=12, **settings))


def test_images_are_loaded_side_by_side_where_a_benchmark_says_that_they_can_be() -> None:
    expected = facts(rows_of(reader()))
    assert facts(rows_of(reader(benchmark=f"{HERE}:Threaded", waits=True))) == expected
    assert MET["most"] == 2 and not MET["pair"].broken


def test_others_are_asked_for_one_image_at_a_time() -> None:
    assert facts(rows_of(reader(benchmark=f"{HERE}:Boxes"))) == facts(rows_of(reader()))
    assert MET["most"] == 1


@dataclass(frozen=True)
class Patient(toy_world.ToyBackbone):
    """Before it serves its second batch it waits until an image of the first one is being counted, and says so."""

    def run(self, queries: Sequence[Query], requests: Mapping[Pass, Parts]) -> Iterator[tuple[Pass, Sequence[Any]]]:
        if queries[0].image_id == "004":
            MET["second batch"].set()
            MET["overlapped"] = MET["counted"].wait(PATIENCE)
        yield from super().run(queries, requests)


@dataclass(frozen=True)
class OfPatient(toy_world.ToyReader):
    timestep: int = 1

    def passes(self) -> Mapping[Pass, Parts]:
        return {toy_world.ToyPass(Recipe.of(f"{HERE}:Patient"), 1): frozenset()}


@dataclass(frozen=True)
class OfPatientAtOnce(OfPatient):
    """Answers for all images of a batch at once, in the same memory every time."""

    def read_batch(
        self, batches: Mapping[Pass, Sequence[Any]], vocabularies: Mapping[int, Vocabulary]
    ) -> dict[int, Any]:
        room, found = MET.setdefault("rooms", np.zeros((4, 3, 10, 12), np.float32)), {}
        for place, words in vocabularies.items():
            scores = self.read({request: held[place] for request, held in batches.items()}, words)
            found[place] = room[place, : len(scores), : scores.shape[1]]
            found[place][...] = scores
        return found


@pytest.mark.parametrize("use", ["OfPatient", "OfPatientAtOnce"])
def test_a_batch_is_counted_while_the_next_one_is_at_the_network(monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    expected = facts(rows_of(reader()))
    MET.update({"second batch": threading.Event(), "counted": threading.Event()})
    MET.pop("rooms", None)
    make = Judge._make

    def waiting(judge: Judge) -> None:
        assert threading.current_thread().name.startswith("count")
        if judge._image_id == "003":
            assert MET["second batch"].wait(PATIENCE)
        make(judge)
        if judge._image_id == "003":
            MET["counted"].set()

    monkeypatch.setattr(Judge, "_make", waiting)
    assert facts(rows_of(reader(f"{HERE}:{use}"))) == expected
    assert MET["overlapped"] and ("rooms" in MET) == (use == "OfPatientAtOnce")


@dataclass(frozen=True)
class Reusing(toy_world.ToyReader):
    """Gives its scores in the same memory every time."""

    timestep: int = 1

    def read(self, features: Any, vocabulary: Any) -> Any:
        scores = super().read(features, vocabulary)
        room = MET.setdefault("room", np.zeros((3, 10, 12), np.float32))[: len(scores), : scores.shape[1]]
        room[...] = scores
        return room


def test_what_is_counted_later_is_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = facts(rows_of(reader()))
    MET["all answered"] = threading.Event()
    make = Judge._make

    def late(judge: Judge) -> None:
        MET["all answered"].wait(0.05)  # by then the memory holds the answer for another image
        make(judge)

    monkeypatch.setattr(Judge, "_make", late)
    assert facts(rows_of(reader(f"{HERE}:Reusing"))) == expected


@dataclass(frozen=True)
class Vandal(toy_world.ToyReader):
    """With the second batch it puts a function of its own in the place of one that counts."""

    timestep: int = 1

    def read(self, features: Any, vocabulary: Any) -> Any:
        if MET["broken"] is None and MET["read"] >= 4:
            MET["broken"], real = TruthThere.table, TruthThere.table
            TruthThere.table = lambda self, positions, count: real(self, positions * 0, count)  # type: ignore[method-assign]
            MET["vandal"].set()
        MET["read"] += 1
        return super().read(features, vocabulary)


def test_what_was_counted_beside_a_plug_in_that_left_something_is_counted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = facts(rows_of(reader()))
    MET.update(broken=None, read=0, vandal=threading.Event())
    make, spoiled = Judge._make, list[str]()

    def waiting(judge: Judge) -> None:
        if judge._image_id == "003" and not spoiled:
            assert MET["vandal"].wait(PATIENCE)
            spoiled.append("003")
        make(judge)

    monkeypatch.setattr(Judge, "_make", waiting)
    table = TruthThere.table
    try:
        found = facts(rows_of(reader(f"{HERE}:Vandal")))
    finally:
        TruthThere.table = table  # type: ignore[method-assign]
    assert spoiled and found[:4] == expected[:4]
    assert {row[1] for row in found[4:8]} == {"failed", "ok"} or found == expected


def test_one_behind_gives_what_was_begun_before_it_tells_of_an_error() -> None:
    said = list[str]()

    def begun() -> Iterator[Any]:
        for number in range(3):
            said.append(f"begun {number}")
            yield lambda number=number: said.append(f"asked {number}") or number
        raise RuntimeError("no fourth")

    found = one_behind(begun())
    assert [next(found), next(found), next(found)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="no fourth"):
        next(found)
    assert said == ["begun 0", "begun 1", "asked 0", "begun 2", "asked 1", "asked 2"]
    assert list(one_behind(iter([]))) == []


def test_turns_overlap_but_for_one_that_is_alone() -> None:
    turns, pair, inside, order = Turns(), threading.Barrier(3), threading.Event(), list[str]()

    def shares() -> None:
        with turns.shared():
            pair.wait(PATIENCE)
            inside.wait(PATIENCE)
            order.append("shared")

    threads = [threading.Thread(target=shares) for _ in range(2)]
    for one in threads:
        one.start()
    pair.wait(PATIENCE)  # both have their turn

    def is_alone() -> None:
        with turns:
            order.append("alone")

    alone = threading.Thread(target=is_alone)
    alone.start()
    inside.set()
    for one in (*threads, alone):
        one.join(PATIENCE)
    assert order == ["shared", "shared", "alone"]


def test_what_is_left_to_a_thread_is_done_in_order_and_its_thread_is_nobodys_stray() -> None:
    elsewhere, done = Elsewhere(), list[int]()
    later = Later(elsewhere)
    for number in range(5):
        later.submit(lambda number=number: done.append(number))
    later.submit(lambda: None).result(PATIENCE)
    assert done == [0, 1, 2, 3, 4] and elsewhere.calls == 0
    hold, begun = threading.Event(), threading.Event()

    def holds() -> None:
        begun.set()
        hold.wait(PATIENCE)

    busy = later.submit(holds)
    begun.wait(PATIENCE)
    assert strays.look_for_strays() == ()
    hold.set()
    busy.result(PATIENCE)
    later.close()
    assert "harness.work.later" in sys.modules


def test_other_threads_rest_until_a_network_is_asked_again_and_never_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, begun = Elsewhere(), threading.Event()
    later = Later(elsewhere)
    monkeypatch.setattr("harness.foreign.elsewhere.REST", PATIENCE)
    elsewhere.rest()
    counted = later.submit(begun.set)
    assert not begun.wait(0.05), "it takes Python from who reads what a network left"
    elsewhere.go_on()
    counted.result(PATIENCE / 2)
    monkeypatch.setattr("harness.foreign.elsewhere.REST", 0.01)
    elsewhere.rest()  # nobody says that it is over
    later.submit(lambda: None).result(PATIENCE)
    later.close()


def test_what_one_reader_answers_is_counted_at_its_end_or_when_others_rest_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, later = list[int](), Later(Elsewhere())
    monkeypatch.setattr("harness.work.later.REST", PATIENCE)
    answered = Bundle(later)
    for number in range(3):
        assert answered.submit(partial(done.append, number)) is answered
    later.submit(int).result(PATIENCE)
    assert done == [], "it wakes who counts for every image"
    answered.begin()
    later.submit(int).result(PATIENCE)
    assert done == [0, 1, 2]
    answered.submit(partial(done.append, 3))
    answered.result()  # who waits for one begins it
    monkeypatch.setattr("harness.work.later.REST", 0.0)
    slow = Bundle(later)
    slow.submit(partial(done.append, 4))
    later.submit(int).result(PATIENCE)
    assert done == [0, 1, 2, 3, 4], "it holds what a slow reader answered"
    slow.submit(partial(int, "none"))
    slow.submit(partial(done.append, 5))
    with pytest.raises(ValueError, match="none"):
        slow.result()
    later.close()


@pytest.mark.parametrize(("card", "threads"), [(False, 1), (True, 3)])
def test_who_counts_computes_alone_beside_a_network_on_the_cpu_and_nobody_else_does(
    card: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread sets for itself in torch holds for all that begin after it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    found, was = list[int](), torch.get_num_threads()
    torch.set_num_threads(3)
    later = Later(Elsewhere())
    try:
        assert later.submit(torch.get_num_threads).result() == threads
        new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert [*found, torch.get_num_threads()] == [3, 3]
    finally:
        later.close()
        torch.set_num_threads(was)
