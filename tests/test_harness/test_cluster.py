"""On a real Ray: the rows of the local executor, whatever happens to workers; everything on loopback; nothing left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import interrupted
import psutil
import pytest
import raylet_killed
from toy_workers import shard_of

from harness.contracts import BatchDone, Recipe, Shard
from harness.errors import ClusterError
from harness.executors import cluster_reach, ray_errors, suspects
from harness.executors import ray_surroundings as surroundings
from harness.executors.cluster import RayExecutor
from harness.executors.seam import LocalExecutor
from harness.foreign import interrupts

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = str(REPOSITORY / "tests" / "plugins")
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")

Rows = dict[tuple[str, str], tuple[str, str | None, list[int]]]


def recipe(name: str) -> Recipe:
    return Recipe.of(f"toy_workers:{name}", folder=PLUGINS)


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[psutil.Process]]]:
    """One private Ray for this file, with a HOME of its own; at the end nothing of it is left. Tells its processes."""
    home = tmp_path_factory.mktemp("home")
    forked.prepare()
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    others = {child.pid for child in psutil.Process().children()}  # others' Ray, and what is forked from

    def family() -> list[psutil.Process]:
        own = [child for child in psutil.Process().children() if child.pid not in others]
        return [one for child in own for one in (child, *child.children(recursive=True))]

    os.environ.update(HOME=str(home), RAY_worker_niceness="0")
    try:
        connection = cluster_reach.connect(None)
        assert signal.getsignal(signal.SIGTERM) == handler, "Ray's handler stayed"
        assert {k: v for k, v in os.environ.items() if k.startswith("RAY_")} == {"RAY_worker_niceness": "0"}
        folder = connection._folder
        assert folder is not None and folder.path.is_dir()
        assert folder.path.parent.stat().st_mode & 0o777 == 0o700, "others can reach Ray's sockets"
        yield family
        started = family()
        assert len(started) >= 3
        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        connection.close()
        assert gone(started), "processes of Ray are left"
        assert not is_token_auth_enabled(), "a Ray without a token that is reached next would end our actors"
        assert not folder.path.parent.exists()
        assert list(home.iterdir()) == [], "Ray wrote into HOME"
    finally:
        os.environ.clear()
        os.environ.update(before)


def gone(processes: Sequence[psutil.Process], seconds: float = 600.0) -> bool:
    """Whether these processes end (or are zombies waiting for their parent) within a generous time."""
    _, left = psutil.wait_procs(processes, timeout=seconds)
    return not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def as_rows(results: Iterator[BatchDone]) -> Rows:
    rows: Rows = {}
    for done in results:
        for row in done.rows:
            assert (row.run_id, row.image_id) not in rows, "a row came twice"
            rows[row.run_id, row.image_id] = (row.status, row.error, row.pixels.tolist())
    return rows


def locally(shards: Sequence[Shard], worker: str = "Mild") -> Rows:
    return as_rows(LocalExecutor(recipe(worker)).run(shards))


def ordinary(count: int, name: str = "s") -> list[Shard]:
    return [shard_of(f"{name}{k}", ["a", "b"], [[f"{name}{k}b{b}i{i}" for i in range(3)] for b in range(3)])
            for k in range(count)]  # fmt: skip


def test_two_workers_give_the_rows_of_this_process_and_all_listen_on_loopback(
    ray: Callable[[], list[psutil.Process]], seed: int, tmp_path: Path
) -> None:
    """Each has its share of the threads, and some of the work: they wait for each other."""
    shards = ordinary(8)
    random.Random(seed).shuffle(shards)
    worker = Recipe.of("toy_workers:Meeting", folder=PLUGINS, place=str(tmp_path))
    with RayExecutor(worker, workers=2, threads=3, stall_seconds=600) as executor:
        results = list(executor.run(shards))
        again = as_rows(executor.run(shards[:2]))
        listening = [
            (process.pid, connection.laddr.ip)
            for process in ray()
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    rows = as_rows(iter(results))
    assert rows == locally(shards) and len(rows) == 8 * 18
    assert again == locally(shards[:2])
    met = {path.name for path in tmp_path.iterdir()}
    assert len(met) == 2 and str(os.getpid()) not in met
    told = {notice for done in results for notice in done.notices}
    assert told == {f"{process} has 3 threads, and 3 by its environment" for process in met}, "what workers say is lost"
    assert len(listening) >= 4, "Ray listens somewhere; the check sees nothing"
    assert [entry for entry in listening if entry[1] not in LOOPBACK] == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler's tests hold rest and tries, in virtual time."""
    monkeypatch.setattr(suspects, "REST", 0.5)
    monkeypatch.setattr(suspects, "TRIES", 1)


HARMS = {
    "x1raises": "The worker broke on this batch: RuntimeError: cannot see x1raises",
    "x2": "The worker broke on this batch: RuntimeError: cannot see x1raises",  # its neighbour in the batch
    "y1segfaults": "The worker process died 1 times on this image.",
    "y5sleeps": "The worker process stalled 1 times on this image.",
}


def test_whatever_a_method_does_to_its_process_the_rest_is_whole(ray: None, impatient: None) -> None:
    """Images that raise, segfault or hang, and a run that kills its process every time."""
    events: list[dict[str, Any]] = []
    harmful = [["x0", None], ["x1raises", "x2"], ["y0", "y1segfaults", "y2"], ["y5sleeps"]]
    killing = [[f"b{b}i{i}" for i in range(3)] for b in range(12)]
    shards = [shard_of("harm", ["a"], harmful), shard_of("kill", ["a", "killer"], killing), *ordinary(2)]
    with RayExecutor(recipe("Harmful"), workers=2, stall_seconds=6.0, on_event=events.append) as executor:
        rows = as_rows(executor.run(shards))
    truth = locally(shards)
    assert rows.keys() == truth.keys()
    failed = {key: str(error) for key, (status, error, _) in rows.items() if status == "failed"}
    said = {image: error.partition(" (toy_workers.py")[0] for (of, image), error in failed.items() if of == "a"}
    assert said == HARMS
    assert {key: row for key, row in rows.items() if key not in failed}.items() <= truth.items()
    killed = [error for (run, _), error in failed.items() if run == "killer"]
    assert len(killed) == 36 and sum(error.startswith("Not tried") for error in killed) >= 30
    assert {"event": "run_stopped", "run": "killer"} in events
    assert {event["kind"] for event in events if event["event"] == "worker_lost"} == {"died", "stalled"}


def test_a_process_whose_gpu_is_ruined_is_not_used_any_more(ray: None, impatient: None) -> None:
    shards = [shard_of("bad", ["a"], [["x0", "x1"], ["x2ruins"], ["x4", "x5"]]), *ordinary(1)]
    with RayExecutor(recipe("Ruined"), workers=1) as executor:
        rows = as_rows(executor.run(shards))
    assert [image for (_, image), (status, _, _) in rows.items() if status == "failed"] == ["x2ruins"]
    assert {key: row for key, row in rows.items() if key[1] != "x2ruins"}.items() <= locally(shards).items()


def test_a_worker_that_cannot_be_opened_is_one_sentence_with_the_cause(ray: None) -> None:
    with RayExecutor(recipe("Unready"), workers=1) as executor, pytest.raises(ClusterError) as caught:
        list(executor.run(ordinary(1)))
    assert "No worker process gets ready (2 attempts)" in str(caught.value)
    assert "FileNotFoundError: no weights in /nowhere (toy_workers.py, line " in str(caught.value)


def test_what_is_abandoned_stops(ray: None) -> None:
    """Leaving the loop ends the worker that is at work, for an hour if nobody did."""
    with RayExecutor(recipe("Harmful"), workers=1) as executor:
        results = executor.run([shard_of("s", ["a"], [["i0"], ["i1sleeps"]])])
        next(results)
        results.close()
        assert as_rows(executor.run(ordinary(1))) == locally(ordinary(1))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_answers(address: str) -> None:
    with RayExecutor(recipe("Mild"), address=address) as executor, pytest.raises(ClusterError) as caught:
        list(executor.run(ordinary(1)))
    assert str(caught.value).startswith(f"No Ray cluster answers at {address} (")
    assert "leave the address out" in str(caught.value)


@pytest.mark.parametrize("address", ["somewhere", "host:port", "http://127.0.0.1:80", "ray://"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ClusterError, match=r"write auto, HOST:PORT"):
        surroundings.check_reachable(address)


SURROUNDINGS = {"RAY_worker_niceness": "0"}


def test_an_interrupted_driver_leaves_nothing_running(tmp_path: Path) -> None:
    driver = forked.start(tmp_path, interrupted.main, PLUGINS, **SURROUNDINGS)
    try:
        while driver.is_alive() and not (tmp_path / "at work").exists():
            time.sleep(0.02)
        family = [psutil.Process(int(pid)) for pid in (tmp_path / "at work").read_text().split()]
        assert len(family) >= 3
        os.kill(driver.pid or 0, signal.SIGINT)
        driver.join()
        errors = (tmp_path / "stderr").read_text()
        assert driver.exitcode == 130, errors
        assert gone(family)
        assert "Traceback" not in errors
    finally:
        driver.kill()


def test_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with surroundings.environment({"RAY_ADDRESS": "else", "PLAIN": "1"}):
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
        assert os.environ["RAY_ADDRESS"] == "else"
    after = [os.environ.get(name) for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "PLAIN")]
    assert after == ["somewhere", None, None]


def test_the_token_is_for_this_user_only() -> None:
    folder = surroundings.RayFolder()
    token = Path(folder.variables["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
    assert len(os.fsencode(folder.path)) <= surroundings.LONGEST_FOLDER
    folder.remove()
    assert not folder.path.parent.exists()


def test_the_folder_of_a_killed_driver_goes_with_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a process that has ended is free, whatever ended it; other folders stay."""
    place = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    try:
        killed, living = surroundings.RayFolder(), surroundings.RayFolder()
        (place / "ray-of-somebody").mkdir()
        killed._lock.close()  # as the kernel does when a process is killed
        third = surroundings.RayFolder()
        assert not killed.path.exists() and living.path.exists() and third.path.exists()
        assert (place / "ray-of-somebody").exists()
        for folder in (living, third):
            folder.remove()
        assert [path.name for path in place.iterdir()] == ["ray-of-somebody"]
    finally:
        shutil.rmtree(place)


def test_a_private_ray_whose_centre_died_is_told(ray: None) -> None:
    """What is asked of Ray is there: no public call tells it."""
    import ray as real

    node = real._private.worker._global_node
    assert set(cluster_reach.CENTRAL) <= node.all_processes.keys()
    cluster_reach.check_alive(real)
    dead = SimpleNamespace(dead_processes=lambda: [("raylet", SimpleNamespace(returncode=-9))])
    fake = SimpleNamespace(_private=SimpleNamespace(worker=SimpleNamespace(_global_node=dead)))
    with pytest.raises(ClusterError, match=r"The private Ray on this machine has died \(its process raylet .* code -9"):
        cluster_reach.check_alive(fake)


@pytest.mark.slow
def test_a_private_ray_that_is_killed_ends_the_sweep_at_once(tmp_path: Path) -> None:
    driver = forked.start(tmp_path, raylet_killed.main, PLUGINS, **SURROUNDINGS)
    driver.join()
    said, errors = ((tmp_path / name).read_text() for name in ("stdout", "stderr"))
    assert said.startswith("The private Ray on this machine has died (its process raylet"), (said, errors)
    assert "Traceback" not in errors


def test_errors_of_ray_have_a_kind() -> None:
    import ray.exceptions as rays

    kinds = {
        "oom": rays.OutOfMemoryError("no memory"), "node": rays.NodeDiedError("gone"), "died": rays.ActorDiedError(),
        "unavailable": rays.ActorUnavailableError("where", None), "timeout": rays.GetTimeoutError("late"),
        "init": rays.RuntimeEnvSetupError("no env"), "fatal": rays.LocalRayletDiedError("raylet"),
        "error": rays.RayTaskError("step", "trace", ValueError("odd")),
    }  # fmt: skip
    assert {kind: ray_errors.classify(error)[0] for kind, error in kinds.items()} == {kind: kind for kind in kinds}
    assert ray_errors.classify(kinds["error"])[1] == "ValueError: odd"


@pytest.mark.parametrize(("preempted", "kind"), [(False, "node"), (True, "preempted")])
def test_an_actor_that_died_with_its_node_is_no_suspect(preempted: bool, kind: str) -> None:
    """Ray tells it by the death of the actor."""
    import ray.exceptions as rays
    from ray.core.generated import common_pb2 as told

    reason = told.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED if preempted else told.NodeDeathInfo.UNEXPECTED_TERMINATION
    said = "The actor is dead because its node has died. Node Id: 5f"
    death = told.NodeDeathInfo(reason=reason)
    context = told.ActorDiedErrorContext(actor_id=bytes(16), error_message=said, node_death_info=death)
    error = rays.ActorDiedError(context)
    assert ray_errors.classify(error)[0] == kind and kind in suspects.BLAMELESS


def test_sigterm_while_ray_starts_is_the_interrupt_that_it_is_at_any_other_time() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.listening():
        ours = signal.getsignal(signal.SIGTERM)
        try:
            with surroundings.own_signals():
                signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
        finally:
            assert signal.getsignal(signal.SIGTERM) is ours
