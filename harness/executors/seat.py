"""A lease flows in, call by call; its batches flow out as they travel: what a worker's process does for a driver."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from harness.contracts import BatchDone, Recipe, Shard
from harness.executors import carried, cluster_reach
from harness.executors.seam import Worker, open_worker, steadily

SMALL_BYTES = 2**16  # of a message; Ray takes 100 KiB to be small


class Seat:
    """The actor: one worker, and the lease that it is at."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._batches: Iterator[BatchDone] = iter(())

    def ready(self, recipe: Recipe, plug_ins: Mapping[str, bytes]) -> dict[str, object]:
        """Open the worker, with the plug-ins that its machine lacks; says where it is."""
        import ray

        carried.bring_missing(recipe.as_dict().get("folder"), plug_ins)
        self._worker = open_worker(recipe)
        context = ray.get_runtime_context()
        here = {"pid": os.getpid(), "host": socket.gethostname(), "node": context.get_node_id()}
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        card = context.get_node_labels().get(cluster_reach.CARD, "") if gpu else ""
        return {**here, "gpu": gpu, **({"card": card} if card else {})}

    def step(self, shard: Shard | None) -> bytes:
        """The next batch of the lease, which a shard opens, packed."""
        if shard is not None and self._worker is not None:
            self._batches = steadily(self._worker, shard)
        return packed(replace(next(self._batches), memory=_most_memory()))

    def end(self) -> None:
        """The lease is over; what the worker had read ahead is let go."""
        self._batches = iter(())


def _most_memory() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def packed(done: BatchDone) -> bytes:
    """A batch as it travels: small messages do not need the object store, so that larger ones are made small."""
    content = pickle.dumps(done, protocol=5)
    return content if len(content) <= SMALL_BYTES else zlib.compress(content, 1)


def unpacked(message: bytes) -> BatchDone:
    """The batch of a message of our own worker."""
    done = pickle.loads(message if message.startswith(pickle.PROTO) else zlib.decompress(message))
    assert isinstance(done, BatchDone)
    return done
