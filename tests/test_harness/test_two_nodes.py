"""A running cluster, reached by its address: nodes that join are given work, that leave cost none, that lack something
are set aside."""

from __future__ import annotations

import importlib
import os
import re
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from toy_workers import shard_of
from two_raylets import Nodes

from harness.contracts import BatchDone, Recipe, Shard
from harness.errors import ClusterError
from harness.executors import carried
from harness.executors.cluster import RayExecutor
from harness.executors.seam import LocalExecutor

PLUGINS = str(Path(__file__).parents[1] / "plugins")
SHARDS = [shard_of(f"s{k}", ["a", "b"], [[f"s{k}b{b}i{i}" for i in range(2)] for b in range(3)]) for k in range(9)]


def counts(done: list[BatchDone]) -> dict[tuple[str, str], list[int]]:
    rows = [row for one in done for row in one.rows]
    assert len(rows) == 108
    return {(row.run_id, row.image_id): row.pixels.tolist() for row in rows}


def here(shards: list[Shard]) -> dict[tuple[str, str], list[int]]:
    return counts(list(LocalExecutor(Recipe.of("toy_workers:Mild")).run(shards)))


def test_a_node_that_joins_is_given_work_and_one_that_leaves_costs_none(ray_nodes: Nodes, tmp_path: Path) -> None:
    """After a first batch of each shard the workers of the first two nodes wait for one of a third."""
    events, joined = list[dict[str, Any]](), list[str]()
    worker = Recipe.of("toy_workers:Meeting", folder=PLUGINS, place=str(tmp_path), count=3)
    with RayExecutor(worker, address=ray_nodes.address, stall_seconds=600, on_event=events.append) as executor:
        done = list(with_a_guest(executor.run(SHARDS), ray_nodes, joined, events))
    assert counts(done) == here(SHARDS)
    nodes = {event["worker"]: event["node"] for event in events if event["event"] == "worker_ready"}
    assert joined[0] in nodes.values() and len(set(nodes.values())) == 3
    (lost,) = [event for event in events if event["event"] == "worker_lost"]
    assert (lost["node"], nodes[lost["worker"]]) == (joined[0], joined[0])
    assert lost["kind"] in ("node", "unavailable"), "no blame for what it was at"


def with_a_guest(
    results: Iterator[BatchDone], ray_nodes: Nodes, joined: list[str], events: list[dict[str, Any]]
) -> Iterator[BatchDone]:
    """Results; after the first of them a node joins, and it leaves as soon as it has done something."""
    yield next(results)
    joined.append(ray_nodes.join())
    try:
        for one in results:
            yield one
            if any(e["event"] == "worker_ready" and e["node"] in joined and e["worker"] == one.worker for e in events):
                break
    finally:
        ray_nodes.leave()
    yield from results


WORKER = "from toy_workers import Mild\n\nclass Own(Mild):\n    pass\n"


def test_plug_ins_beside_the_grid_travel_to_machines_that_lack_them(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file and a package that the driver has loaded are gone before a worker starts."""
    (tmp_path / "carried_file.py").write_text("from carried_package.inner import Own as Own\n")
    (tmp_path / "carried_package").mkdir()
    (tmp_path / "carried_package" / "__init__.py").write_text("")
    (tmp_path / "carried_package" / "inner.py").write_text(WORKER)
    (tmp_path / "other.py").write_text("is not loaded, and stays\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", PLUGINS)  # for workers
    importlib.import_module("carried_file")
    held = carried.plug_ins_of(str(tmp_path))
    assert sorted(held) == ["carried_file.py", "carried_package/__init__.py", "carried_package/inner.py"]
    with RayExecutor(Recipe.of("carried_file:Own", folder=str(tmp_path)), address=ray_address) as executor:
        executor._start()
        for name in held:
            (tmp_path / name).unlink()
        assert counts(list(executor.run(SHARDS))) == here(SHARDS)
    for name in ("../out.py", "/out.py"):
        with pytest.raises(ClusterError, match="is no file beside a grid"):
            carried.bring_missing(str(tmp_path), {name: b""})


def brought_and_killed(place: str) -> int:
    tempfile.tempdir = place
    carried.bring_missing(place, {"carried_alone.py": b""})
    os.closerange(3, 256)  # as who becomes a daemon does: nothing tells of this process any more but its number
    time.sleep(0.3)
    (held,) = Path(place).glob("plug-ins-*/carried_alone.py")
    os.kill(os.getpid(), signal.SIGKILL)
    return len(held.name)


def test_what_travelled_to_a_worker_is_gone_when_the_worker_is_however_it_ends(tmp_path: Path) -> None:
    (place := tmp_path / "temporary").mkdir()
    worker = forked.start(tmp_path, brought_and_killed, str(place))
    worker.join()
    assert worker.exitcode == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    while list(place.iterdir()):
        time.sleep(0.05)


def exported() -> set[str]:
    """What Ray's own exporter says of this driver, once all of it has come: it is told every ten seconds."""
    import ray

    driver, found = ray.get_runtime_context().get_worker_id(), set[str]()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while "image_results_left 0" not in found:
        time.sleep(0.5)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        pages = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes]
        texts = [opener.open(page, timeout=60).read().decode() for page in pages]
        found = {said for text in texts for line in text.splitlines() if driver in line and (said := ours(line))}
    return found


def ours(line: str) -> str:
    """A line of the exporter without Ray's labels; empty for one of its own."""
    known = re.fullmatch(r"ray_stableseg_(\w+)\{(.*)\} (\S+)", line)
    kind = re.search(r'kind="([^"]*)"', known[2]) if known else None
    return f"{known[1]} {kind[1] + ' ' if kind else ''}{float(known[3]):g}" if known else ""


def test_a_node_where_everything_fails_is_set_aside_and_the_other_does_it_all(ray_nodes: Nodes, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    worker = Recipe.of("toy_workers:Lacking", folder=PLUGINS, place=str(tmp_path / "first"))
    with RayExecutor(worker, address=ray_nodes.address, on_event=events.append) as executor:
        done = list(executor.run(SHARDS))
        (lost,) = [event for event in events if event["event"] == "worker_lost"]
        at_work = int(lost.get("batch") is not None)  # when it was set aside
        assert exported() == {
            "image_results 108", "image_results_left 0", "batches 27", "workers 1", "workers_lost aside 1",
            f"batches_lost {at_work}",
        }  # fmt: skip
    assert counts(done) == here(SHARDS)
    (aside,) = [event for event in events if event["event"] == "host_set_aside"]
    assert aside["node"] == (tmp_path / "first").read_text()
    assert (lost["kind"], lost["node"]) == ("aside", aside["node"])
