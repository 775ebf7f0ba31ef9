"""What is asked of a pool of workers, and what it tells: the seam between the scheduler and Ray, or virtual workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from harness.contracts import BatchDone, Shard


@dataclass(frozen=True)
class Ready:
    """A worker has started and can take a lease; `about` says where it is."""

    worker: int
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """A worker has done one batch of a lease."""

    worker: int
    lease: int
    done: BatchDone


@dataclass(frozen=True)
class Finished:
    """A worker has come to the end of a lease."""

    worker: int
    lease: int


@dataclass(frozen=True)
class Lost:
    """A worker is gone. kind: died, oom, node, preempted, unavailable, timeout, init, error, stalled; ruined: its card
    is broken for this process; aside, retired: the scheduler ended it."""

    worker: int
    kind: str
    reason: str


Event: TypeAlias = Ready | Message | Finished | Lost


class Pool(Protocol):
    """Starts, feeds and ends worker processes; numbers them and never uses a number twice."""

    def capacity(self) -> int:
        """How many workers can live at once, now."""
        ...

    def spawn(self) -> int: ...

    def lease(self, worker: int, lease: int, shard: Shard) -> None: ...

    def cut(self, worker: int, lease: int, keep: int) -> int:
        """Ask for only the first `keep` batches of a lease; returns how many will be done at most."""
        ...

    def ahead(self, worker: int, batches: int) -> None:
        """How many batches a worker may be asked for from now on before the first of them is done; 1 for a new one."""
        ...

    def poll(self, timeout: float) -> Sequence[Event]:
        """What has happened; waits up to `timeout` seconds for something to happen."""
        ...

    def avoid(self, node: str) -> None:
        """Start no worker on this node any more, and count no place there."""
        ...

    def kill(self, worker: int) -> None:
        """End the process; nothing of it is heard of any more. Unknown numbers pass."""
        ...
