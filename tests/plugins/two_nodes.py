"""A script for tests: a Ray of two nodes on this machine, the second one joins while work is going on; prints rows."""

import json
import sys

from ray.cluster_utils import Cluster
from toy_workers import two_by_two

from harness.contracts import Recipe
from harness.executors.cluster import RayExecutor

STORE = 80 * 2**20
HEAD = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}


def main(plugins: str) -> None:
    """Run 40 shards on the cluster, reached by its address."""
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    events: list[dict[str, object]] = []
    rows, joined = [], False
    try:
        worker = Recipe.of("toy_workers:Slow", folder=plugins)
        shards = two_by_two(40)
        with RayExecutor(worker, address=cluster.address, on_event=events.append) as executor:
            for done in executor.run(shards):
                rows += [(row.run_id, row.image_id, row.status, row.pixels.tolist()) for row in done.rows]
                if not joined:
                    joined = bool(cluster.add_node(num_cpus=1, object_store_memory=STORE))
    finally:
        cluster.shutdown()
    print(json.dumps({"rows": rows, "events": events}))


if __name__ == "__main__":
    main(sys.argv[1])
