"""Hosts and cards that are broken, in virtual time: what fails there is done elsewhere, and they are set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from toy_workers import row_of, shard_of
from virtual_pool import FakePool, Faults, collect, expected

from harness.contracts import BatchDone, DataError, MethodError, ModelError, Shard
from harness.errors import of_host
from harness.executors.cluster_metrics import kind_of_failure
from harness.executors.scheduler import Scheduler
from harness.protocol.given import BrokenContract
from harness.work.room import too_large

LACKS = "Not tried: ModuleNotFoundError: No module named 'safetensors'"
ECC = "AcceleratorError: CUDA error: uncorrectable ECC error encountered"
Fails = Callable[[dict[str, str], str, str], str | None]


def shards_of(count: int = 6, runs: tuple[str, ...] = ("r", "q")) -> list[Shard]:
    names = (f"s{k}" for k in range(count))
    return [shard_of(n, list(runs), [[f"{n}b{b}i{i}" for i in range(3)] for b in range(4)]) for n in names]


def two_hosts(slot: int) -> dict[str, str]:
    """Two workers each."""
    return {"host": "healthy" if slot % 2 else "broken"}


def cards(slot: int) -> dict[str, str]:
    """Of one host."""
    return {"host": "box", "gpu": str(slot)}


def sweep(
    seed: int, size: int, about: Callable[[int], dict[str, str]], fails: Fails, shards: list[Shard], **faults: Any
) -> tuple[FakePool, list[BatchDone], list[dict[str, Any]]]:
    pool, events = FakePool(seed, size, Faults(about=about, fails=fails, **faults)), list[dict[str, Any]]()
    return pool, collect(pool, shards, on_event=events.append), events


def failed_of(done: list[BatchDone], shards: list[Shard]) -> Counter[str]:
    """How often each failure is stored; every row is there once, and what went well has the right counts."""
    rows, shapes = [row for one in done for row in one.rows], expected(shards)
    assert Counter((row.run_id, row.image_id) for row in rows) == Counter(dict.fromkeys(shapes, 1))
    for row in rows:
        truth = row_of(row.run_id, row.image_id, shapes[row.run_id, row.image_id])
        assert row.status == "failed" or np.array_equal(row.pixels, truth.pixels), "another shape"
    return Counter(row.error or "" for row in rows if row.status == "failed")


def named(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_a_host_where_everything_fails_is_set_aside_and_named_and_its_work_is_done_elsewhere(seed: int) -> None:
    """Failing takes no time, so that it would take nearly all the work."""

    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        return LACKS if about["host"] == "broken" else None

    for turn in range(20):
        shards = shards_of(12)
        pool, done, events = sweep(seed + turn, 4, two_hosts, fails, shards)
        assert failed_of(done, shards) == {}, f"seed {seed + turn}"
        (event,) = named(events, "host_set_aside")
        assert (event["host"], event["reason"]) == ("broken", LACKS) and pool.avoided == ["broken"]
        notices = [one for each in done for one in each.notices]
        assert notices == [f"Host broken is set aside: everything fails there, and not elsewhere ({LACKS})."]
        lost = [(event["host"], event["kind"]) for event in named(events, "worker_lost")]
        assert lost == [("broken", "aside")] * 2
        assert not any(two_hosts(worker.slot)["host"] == "broken" for worker in pool.workers.values())


def test_what_one_host_lacks_is_done_by_the_other_and_who_does_the_rest_is_kept(seed: int) -> None:
    """Half of the images are missing there; or what one run needs."""

    def images(about: dict[str, str], run: str, image: str) -> str | None:
        return "FileNotFoundError: gone" if about["host"] == "broken" and image.endswith(("0", "2")) else None

    def one_run(about: dict[str, str], run: str, image: str) -> str | None:
        return LACKS if about["host"] == "broken" and run == "q" else None

    for fails in (images, one_run):
        for turn in range(10):
            shards = shards_of()
            pool, done, events = sweep(seed + turn, 4, two_hosts, fails, shards)
            assert failed_of(done, shards) == {}, f"seed {seed + turn}"
            assert pool.avoided == [] and not named(events, "worker_lost")


class Away(FakePool):
    """One of two hosts is out of reach for a while, with whatever it was at, and comes back."""

    gone, back = 3.0, 9.0

    def capacity(self) -> int:
        there = [number for number, one in self.workers.items() if two_hosts(one.slot)["host"] == "broken"]
        self.closed = {0, 2} if self.gone <= self.now < self.back else set()
        for number in there if self.closed else ():
            self._later(0.0, partial(self._end, number, "node", "its node has died"))
        return super().capacity()

    def lease(self, worker: int, lease: int, shard: Shard) -> None:
        super().lease(worker, lease, shard)
        if two_hosts(self.workers[worker].slot)["host"] == "broken":
            self.given.append(self.now)

    given: list[float]


def test_a_host_that_comes_back_is_given_work_again_and_is_to_blame_for_nothing(seed: int) -> None:
    for turn in range(10):
        shards, events = shards_of(30), list[dict[str, Any]]()
        pool = Away(seed + turn, 4, Faults(about=two_hosts))
        pool.given = []
        assert failed_of(collect(pool, shards, on_event=events.append), shards) == {}, f"seed {seed + turn}"
        assert any(at < pool.gone for at in pool.given) and any(at >= pool.back for at in pool.given)
        lost = named(events, "worker_lost")
        assert {event["kind"] for event in lost} == {"node"}
        assert {event.get("host", "broken") for event in lost} == {"broken"}
        assert not named(events, "host_set_aside") and not named(events, "run_stopped")


def test_what_fails_on_two_hosts_is_a_failed_row_that_names_both_and_nobody_is_set_aside(seed: int) -> None:
    tried = Counter[tuple[str, str]]()

    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        tried[run, image] += run == "q"
        return "ModelError: no weights" if run == "q" else None

    shards = shards_of()
    pool, done, events = sweep(seed, 4, two_hosts, fails, shards)
    errors = failed_of(done, shards)
    assert errors.total() == 72 and set(tried.values()) == {0, 2}
    for error in errors:
        assert error.startswith("ModelError: no weights (first worker ")
        assert "on broken" in error and "on healthy" in error
    assert not named(events, "host_set_aside") and not named(events, "worker_lost") and pool.avoided == []


@pytest.mark.parametrize("workers", [1, 3])
def test_on_one_host_a_fresh_process_tries_again(seed: int, workers: int) -> None:
    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        return "OSError: stale file handle" if int(about["worker"]) <= workers and image.endswith("1") else None

    shards = shards_of(4)
    _, done, events = sweep(seed, workers, lambda slot: {"host": "box"}, fails, shards)
    assert failed_of(done, shards) == {}
    assert {event["kind"] for event in named(events, "worker_lost")} == {"retired"}
    assert {one.worker for one in done if len(one.rows)} > set(range(1, workers + 1))

    always = sweep(seed, workers, lambda slot: {"host": "box"}, lambda about, run, image: "OSError: gone", shards)
    errors = failed_of(always[1], shards)
    assert errors.total() == 96 and all(error.startswith("OSError: gone (first worker") for error in errors)


def test_a_card_that_breaks_twice_at_what_others_do_is_set_aside_and_the_host_goes_on(seed: int) -> None:
    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        return ECC if about["gpu"] == "1" and image.endswith("0") else None

    for turn in range(10):
        shards = shards_of(9)
        pool = FakePool(seed + turn, 3, Faults(about=cards, fails=fails))
        events: list[dict[str, Any]] = []
        scheduler = Scheduler(pool, clock=pool.clock, on_event=events.append)
        assert failed_of(list(scheduler.run(shards)), shards) == {}
        (event,) = named(events, "card_set_aside")
        assert (event["host"], event["gpu"], event["reason"]) == ("box", "1", ECC), f"seed {seed + turn}"
        again = shards_of(4)
        later = list(scheduler.run(again))
        assert failed_of(later, again) == {} and pool.avoided == []
        held = [number for number, worker in pool.workers.items() if worker.slot == 1]
        assert not {one.worker for one in later} & set(held), "who holds the card works"


def test_an_image_that_breaks_every_card_is_laid_to_none(seed: int) -> None:
    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        return ECC if image == "s1b2i1" else None

    for turn in range(10):
        shards = shards_of()
        _, done, events = sweep(seed + turn, 3, cards, fails, shards)
        errors = failed_of(done, shards)
        assert errors.total() == 2 and all("GPU" in error for error in errors)
        assert not named(events, "card_set_aside") and not named(events, "worker_lost")


def test_a_card_that_ruins_its_processes_is_set_aside_and_an_image_that_does_so_is_given_up(seed: int) -> None:
    aside = list[str]()
    unlucky = (4, 66, 123, 130, 144)  # where an image met the broken card three times, while all cards were tried alike
    for number in (*unlucky, *range(seed, seed + 6)):
        shards = shards_of(8)
        pool = FakePool(number, 3, Faults(about=cards))
        pool.faults.harm = partial(ruins, pool)
        events: list[dict[str, Any]] = []
        done = collect(pool, shards, on_event=events.append)
        assert failed_of(done, shards) == {"The worker process broke its GPU 3 times on this image.": 2}
        aside += [event["gpu"] for event in named(events, "card_set_aside")]
    assert set(aside) == {"2"}


def ruins(pool: FakePool, run: str, image: str) -> str | None:
    """One image does everywhere; the last card does at the first image of every shard."""
    busy = [(one.slot, pool._atoms(one.shard.runs, one.batches)) for one in pool.workers.values() if one.shard]
    broken = [slot for slot, work in busy if (run, image) in work] == [2] and image.endswith("b0i0")
    return "ruined" if broken or image == "s3b1i2" else None


@pytest.mark.parametrize("block", range(4))
def test_whatever_else_happens_every_row_is_there_once(block: int) -> None:
    """A broken host, and workers that die, stall and vanish."""

    def fails(about: dict[str, str], run: str, image: str) -> str | None:
        return LACKS if about["host"] == "broken" else None

    for seed in range(block * 25, block * 25 + 25):
        shards = shards_of(5)
        pool = FakePool(seed, 4, Faults(about=two_hosts, fails=fails, chance=0.2, accidents=4))
        done = collect(pool, shards, stall_seconds=20.0)
        assert failed_of(done, shards) == {}, f"seed {seed}"


def test_reasons_of_a_machine() -> None:
    caused = MethodError("it broke")
    caused.__cause__ = FileNotFoundError("gone")
    of_a_machine = [
        ModuleNotFoundError("no"), OSError("stale"), MemoryError(), DataError("no folder"), ModelError("no weights"),
        RuntimeError("CUDA error: an illegal memory access"), RuntimeError("[enforce fail] not enough memory"), caused,
        too_large(RuntimeError("CUDA out of memory"), 8),
    ]  # fmt: skip
    of_none = [ValueError("CUDA"), MethodError("shape"), RuntimeError("mismatch"), BrokenContract("its truth")]
    assert all(map(of_host, of_a_machine)) and not any(map(of_host, of_none))


@pytest.mark.parametrize(("error", "kind"), [
    ("ValueError: odd", "ValueError"), ("Not tried: ModuleNotFoundError: No module named 'x'", "ModuleNotFoundError"),
    ("The worker broke on this batch: RuntimeError: gone", "RuntimeError"),
    ("The worker process died 3 times.", "worker lost"), ("Not tried: this run was stopped.", "not tried"),
    ('"} 1\nspoilt{kind="', "other"), ("", "other"),
])  # fmt: skip
def test_what_failed_is_exported_by_few_words_whatever_a_message_holds(error: str, kind: str) -> None:
    assert kind_of_failure(error) == kind
