"""A script for tests: a Ray of two nodes on this machine; prints its address and stays until its input ends."""

import sys

from ray.cluster_utils import Cluster

STORE = 80 * 2**20


def main() -> None:
    """Start, tell, wait, stop."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
        print(cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
