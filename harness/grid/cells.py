"""What a grid asks for, once it is read: frozen cells, each a method on a benchmark under a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.contracts import ProtocolSettings, Recipe


@dataclass(frozen=True)
class ClusterSettings:
    """Where and with how much the grid is computed; none of it can change a pixel.

    workers: how many, or "auto" (one a GPU, or as the CPUs allow). address: a running Ray cluster. threads: per worker
    on CPUs. gpus_per_worker: share of a GPU for each. shard_batches: network batches a shard. stall_seconds: how long a
    worker may say nothing before its shard is given to another one. gpu: the kind of GPU that workers ask for.
    """

    workers: int | Literal["auto"] = "auto"
    address: str | None = None
    threads: int | None = None
    gpus_per_worker: float = 1.0
    shard_batches: int | None = None
    stall_seconds: float | None = None
    gpu: str | None = None


@dataclass(frozen=True)
class Cell:
    """One method recipe on one benchmark. variant: the values of the method's axes, `timestep=1 refine=sar`.

    teacher: of a method that learns, the cell of its teacher on the train split. own: whether the method is given
    processes of its own. train_overlap: the share of the scored images that may be in the train split. choice: where
    something of the protocol is chosen on the train split, how.
    """

    method_name: str
    variant: str
    method: Recipe
    benchmark_name: str
    benchmark: Recipe
    protocol: ProtocolSettings
    teacher: Cell | None = None
    own: bool = False
    train_overlap: float = 0.0
    choice: CellChoice | None = None


@dataclass(frozen=True)
class CellChoice:
    """Of which cells on the train split the best says the protocol. fields: what of it; rule: what is the best."""

    rule: str
    fields: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """What the user asked for.

    folder: where the file lies. batch: images that go through a network together. keep: images of each benchmark whose
    label maps are kept, by id, or how many. tables: the comparison tables, as written. missing: what it names and what
    is not on this machine, a sentence each: such a grid is told of and not planned. boundaries: whether the pixels at
    those of classes are counted too.
    """

    name: str
    folder: str
    cells: tuple[Cell, ...]
    batch: int
    cluster: ClusterSettings
    keep: int | tuple[str, ...] = 0
    tables: tuple[dict[str, Any], ...] = ()
    missing: tuple[str, ...] = ()
    boundaries: bool = False
