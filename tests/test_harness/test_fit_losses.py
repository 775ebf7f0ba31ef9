"""Fits on Ray whose worker dies, which are tried again, and fits that raise, which are not; the same tables as here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_chain import CHAIN, cards, door, tables

from harness.errors import ClusterError
from harness.executors import cluster_fit
from harness.executors.cluster_fit import FittingRoom, fit_alone, lost
from harness.executors.placement import Place
from harness.learning.fitting import Sharing

NEVER = "  - {name: Never, use: toy_learners:Stubborn, with: {teacher: Bright}}\n"


def failure(kind: str, words: str = "", over: tuple[type, ...] = (Exception,)) -> Exception:
    found: Exception = type(kind, over, {})(words)
    return found


def test_what_tells_of_a_lost_worker() -> None:
    ray_error = type("RayError", (Exception,), {})
    train_error = type("RayTrainError", (Exception,), {})
    group = failure("WorkerGroupError", over=(train_error,))
    group.worker_failures = {0: ValueError("no"), 1: failure("ActorDiedError", over=(ray_error,))}  # type: ignore[attr-defined]
    assert lost(group) and lost(failure("WorkerHealthCheckFailedError", over=(train_error,)))
    assert lost(RuntimeError("[gloo/transport/tcp/pair.cc:598] Connection closed by peer [::1]:1"))
    group.worker_failures = {0: ValueError("no"), 1: ValueError("no")}  # type: ignore[attr-defined]
    assert not lost(group) and not lost(ValueError("a wrong shape"))
    assert not lost(failure("RayTaskError(ValueError)", "no", (type("RayTaskError", (ray_error,), {}),)))
    assert not lost(failure("UserExceptionWithTraceback", "no", (train_error,)))


@pytest.mark.slow
def test_a_fit_that_raises_is_tried_once_one_whose_worker_dies_goes_on_and_the_rest_is_as_in_one_process(
    tmp_path: Path, ray_address: str
) -> None:
    """Two workers, and a batch a shard."""
    text = CHAIN.replace("Colours, with: {teacher: Bright}", "Joined, with: {teacher: Bright}")
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, more in ((here, ""), (there, "cluster: {workers: 2, shard_batches: 1}\n")):
        folder.mkdir()
        (folder / "grid.yaml").write_text(text.replace("benchmarks:", NEVER + "benchmarks:") + more)
    assert door(here) == 3
    assert door(there, "--address", ray_address, wish="kill at fit 4") == 3
    assert tables(there) == tables(here), [(one / "stderr").read_text() for one in (there, here)]
    told, expected = ({name: card["learner_tells"] for name, card in cards(one).items()} for one in (there, here))
    assert told == expected | {"Plus": {**expected["Plus"], "started": 4}} and len(told) == 3
    said = (there / "stderr").read_text()
    assert "Never cannot be fitted" in said and "it will never do" in said
    (tries,) = (there / "runs" / "artefacts").glob("*/unfinished/tries")
    assert tries.read_text() == "once\n"


def meet(given: dict[str, Any]) -> None:
    """Say that one is here, and wait for the other, for which a fit that comes after it would wait in vain."""
    here, other = given["job"].folder, given["job"].learner
    Path(here).touch()
    deadline = time.monotonic() + 600
    while not Path(other).exists():
        assert time.monotonic() < deadline, "nobody fits beside this one"
        time.sleep(0.02)


@pytest.fixture
def attached(ray_address: str) -> Iterator[None]:
    import ray

    ray.init(ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def room(look: Callable[[], None]) -> FittingRoom:
    place = Place(cpus=1.0, gpus=0.0, threads=1)
    return FittingRoom([{"CPU": 2.0, "memory": 16.0 * 2**30}], place, None, None, look)


@pytest.mark.parametrize(
    ("gpus", "each", "at_most", "fits", "sharing", "workers"),
    [
        ([8], 1.0, None, 1, Sharing(1, 16), [8]),  # all GPUs of the node
        ([8], 1.0, None, 1, Sharing(1, 4), [4]),  # a batch of four images
        ([8, 8], 1.0, None, 1, Sharing(1, 16), [8]),  # and of one node only
        ([4, 8], 1.0, None, 2, Sharing(1, 16), [8, 8]),  # one after the other
        ([8], 1.0, None, 8, Sharing(1, 16), [1] * 8),  # no GPU is left to share
        ([8], 1.0, 2, 1, Sharing(1, 16), [2]), ([8], 1.0, 2, 2, Sharing(1, 16), [1, 1]),
        ([1], 1.0, None, 2, Sharing(1, 16), [1, 1]), ([1], 0.5, None, 1, Sharing(1, 16), [1]),
        ([0], 1.0, None, 1, Sharing(1, 16), [1]), ([0], 1.0, None, 1, Sharing(2, 16), [2]),
    ],
)  # fmt: skip
def test_a_fit_has_all_gpus_of_a_node_unless_other_fits_fill_them(
    gpus: list[int], each: float, at_most: int | None, fits: int, sharing: Sharing, workers: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nodes = [{"CPU": 4.0, "GPU": float(count), "memory": 64.0 * 2**30} for count in gpus]
    place = Place(0.0, each, 1) if sum(gpus) else Place(1.0, 0.0, 1)
    seen: list[int] = []
    monkeypatch.setattr(cluster_fit, "fit_alone", lambda jobs, *_: seen.extend([1] * len(jobs)) or [])
    monkeypatch.setattr(cluster_fit, "_fit_together", lambda job, count, place: seen.append(count))
    jobs: Any = [SimpleNamespace(artefact_id=str(number)) for number in range(fits)]
    told = {job.artefact_id: sharing for job in jobs}
    list(cluster_fit.fit_on_ray(jobs, told, FittingRoom(nodes, place, at_most, None, lambda: None), lambda job: None))
    assert seen == workers


@pytest.mark.slow
def test_fits_that_do_not_depend_on_each_other_run_side_by_side(
    attached: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_fit, "work", meet)
    paths = [str(tmp_path / name) for name in ("one", "two")]
    jobs: Any = [
        SimpleNamespace(artefact_id=here, folder=here, learner=other)
        for here, other in zip(paths, reversed(paths), strict=True)
    ]
    begun: list[str] = []
    ended = list(fit_alone(jobs, room(lambda: None), lambda job: begun.append(job.artefact_id)))
    assert begun == paths and sorted(job.artefact_id for job, error in ended if error is None) == sorted(paths)


@pytest.mark.slow
def test_a_fit_whose_ray_has_ended_is_not_waited_for(attached: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended() -> None:
        raise ClusterError("the private Ray has died")

    monkeypatch.setattr(cluster_fit, "work", lambda given: time.sleep(20))
    jobs: Any = [SimpleNamespace(artefact_id=name) for name in "abc"]  # the third one waits for room
    begun: list[str] = []
    found = list(fit_alone(jobs, room(ended), lambda job: begun.append(job.artefact_id)))
    assert begun == ["a", "b"] and [(job.artefact_id, str(error)) for job, error in found] == [
        (name, "the private Ray has died") for name in "abc"
    ]
