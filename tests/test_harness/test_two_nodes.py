"""A running cluster, reached by its address: a node that joins while work is going on is given some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy_workers import shard_of
from two_raylets import Nodes

from harness.contracts import Recipe
from harness.executors.cluster import RayExecutor
from harness.executors.seam import LocalExecutor


def test_a_node_that_joins_a_cluster_is_given_work(ray_nodes: Nodes, tmp_path: Path) -> None:
    """After a first batch of each shard the workers of the first two nodes wait for one of a third."""
    plugins, place, events = str(Path(__file__).parents[1] / "plugins"), tmp_path / "place", list[dict[str, Any]]()
    place.mkdir()
    worker = Recipe.of("toy_workers:Meeting", folder=plugins, place=str(place), count=3)
    shards = [shard_of(f"s{k}", ["a"], [[f"s{k}b{b}i{i}" for i in range(2)] for b in range(3)]) for k in range(9)]
    with RayExecutor(worker, address=ray_nodes.address, stall_seconds=600, on_event=events.append) as executor:
        results = executor.run(shards)
        done = [next(results)]
        joined = ray_nodes.join()
        try:
            done += results
        finally:
            ray_nodes.leave()
    here = [row for one in LocalExecutor(Recipe.of("toy_workers:Mild")).run(shards) for row in one.rows]
    there = [row for one in done for row in one.rows]
    assert {row.image_id: row.pixels.tolist() for row in there} == {row.image_id: row.pixels.tolist() for row in here}
    assert len(there) == len(here) == 54
    nodes = [event["node"] for event in events if event["event"] == "worker_ready"]
    assert joined in nodes and len(set(nodes)) == 3
