"""A script for tests: a Ray of two nodes on this machine; prints its address and stays until its input ends."""

import sys

from ray.cluster_utils import Cluster

STORE = 80 * 2**20
TRIES = 5  # a node has half a minute to start, too short on a busy machine


def started() -> Cluster:
    """Two nodes of one CPU."""
    node = {"num_cpus": 1, "object_store_memory": STORE}
    for left in reversed(range(TRIES)):
        cluster = Cluster()
        try:
            cluster.add_node(**node, include_dashboard=False)
            cluster.add_node(**node)
            return cluster
        except Exception:
            cluster.shutdown()
            if not left:
                raise
    raise AssertionError


def main() -> None:
    """Start, tell, wait, stop."""
    cluster = started()
    try:
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
