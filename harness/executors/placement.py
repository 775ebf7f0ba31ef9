"""The resources of a cluster's nodes and what was asked for -> how much one worker takes, and how many fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_ON_CPUS = 8  # workers that a node's CPUs are shared between when nobody says how many
WORKER_BYTES = 4 * 2**30  # memory that such a worker is counted with
ROUNDING = 1e-6

Node = Mapping[str, float]  # "CPU", "GPU" (numbers), "memory" (bytes), as Ray counts them


@dataclass(frozen=True)
class Place:
    """What one worker takes: CPUs and GPUs in Ray's books, threads in fact."""

    cpus: float
    gpus: float
    threads: int

    def slots(self, nodes: Sequence[Node]) -> int:
        """How many workers fit on these nodes."""
        return sum(self.slots_of(node) for node in nodes)

    def slots_of(self, node: Node) -> int:
        kind, each = ("GPU", self.gpus) if self.gpus else ("CPU", self.cpus)
        return int(node.get(kind, 0.0) / each + ROUNDING)


def choose_place(nodes: Sequence[Node], workers: int | None, threads: int | None, gpus_per_worker: float) -> Place:
    """One worker a GPU (or share of one) where there are GPUs; else the CPUs shared out between workers.

    workers: how many at most, None for as many as make sense. threads: per worker, None for its share of the CPUs.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0.0) >= gpus_per_worker > 0]
    if with_gpus:
        place = Place(0.0, gpus_per_worker, 1)
        held = [(node.get("CPU", 1.0), place.slots_of(node)) for node in with_gpus]
        share = min(cpus / min(slots, workers or slots) for cpus, slots in held)
        return Place(0.0, gpus_per_worker, threads or max(1, int(share)))
    cpus = _cpus_each([node.get("CPU", 0.0) for node in nodes], workers) if workers else _usual_cpus(nodes, threads)
    return Place(cpus, 0.0, threads or max(1, int(cpus + ROUNDING)))


def joined(nodes: Sequence[Node], place: Place, most: int, threads: int | None) -> tuple[int, Place]:
    """How many workers do one job that at most `most` can share, and what each takes.

    Where fewer than would fit share CPUs, they take those of the others too. threads: per worker, if asked for.
    """
    room = place.slots(nodes)
    workers = max(1, min(most, room))
    if workers < room and not place.gpus:
        return workers, choose_place(nodes, workers, threads, gpus_per_worker=0.0)
    return workers, place


def workers_here(threads: int | None) -> int:
    """How many CPU workers this machine alone would be given by itself: what an estimate of time counts on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    node = {"CPU": float(os.cpu_count() or 1), "memory": float(memory)}
    return max(1, choose_place([node], None, threads, 0.0).slots_of(node))


def _usual_cpus(nodes: Sequence[Node], threads: int | None) -> float:
    """CPUs for each of the workers that the largest node holds: limited by CPUs, by memory and by use."""
    largest = max(nodes, key=lambda node: node.get("CPU", 0.0), default={})
    cpus = largest.get("CPU", 0.0)
    if threads or cpus < 1:
        return float(max(1, min(threads or 1, int(cpus))))
    held = max(1, min(int(cpus), int(largest.get("memory", 0.0) // WORKER_BYTES), MOST_ON_CPUS))
    return float(int(cpus) // held)


def _cpus_each(cpus: Sequence[float], workers: int) -> float:
    """The largest share at which that many workers fit; below 1 it may be a fraction."""
    shares = sorted({float(c / k) for c in set(cpus) if c > 0 for k in range(1, workers + 1)}, reverse=True)
    whole = [float(int(share)) if share >= 1 else int(share * 1e4) / 1e4 for share in shares]
    fitting = (share for share in whole if share > 0 and sum(int(c / share + ROUNDING) for c in cpus) >= workers)
    return next(fitting, 1.0)
