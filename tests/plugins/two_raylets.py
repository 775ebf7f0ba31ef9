"""A Ray of two nodes on this machine, in processes of its own, that tests share; a third can join for a while.

As a script it prints its address, does what lines on its input say, and stays until they end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
TRIES = 5  # a node has half a minute to start, too short on a busy machine


class Nodes:
    """The cluster as its users see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._told()

    def join(self) -> str:
        """A third node comes; its id."""
        return self._asked("join")

    def leave(self) -> None:
        """It goes."""
        self._asked("leave")

    def _asked(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer, "the Ray of the tests is not there; its message is on standard error"
        return answer


@contextmanager
def nodes() -> Iterator[Nodes]:
    """The running cluster."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    variables |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": str(Path(__file__).parent)}
    variables |= {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}  # nobody would use them
    command = [sys.executable, __file__]
    with tempfile.TemporaryDirectory(prefix="nodes-", ignore_cleanup_errors=True) as place:
        variables["RAY_TMPDIR"] = place  # its sessions would stay
        process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        try:
            yield Nodes(process)
        finally:
            process.stdin.close()
            process.wait()


def _started() -> Cluster:
    """Two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    for left in reversed(range(TRIES)):
        cluster = Cluster()
        try:
            cluster.add_node(**NODE, include_dashboard=False, include_log_monitor=False, no_monitor=True)
            cluster.add_node(**NODE)
            return cluster
        except Exception:
            cluster.shutdown()
            if not left:
                raise
    raise AssertionError


def main() -> None:
    """Start, tell, do as asked, stop."""
    cluster, third = _started(), None
    try:
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "join":
                third = cluster.add_node(**NODE)
                print(third.node_id, flush=True)
            else:
                cluster.remove_node(third)
                print("gone", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
