"""How much a worker takes, and how many fit, for nodes as Ray describes them."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contracts import Recipe
from harness.errors import ClusterError
from harness.executors import cluster_reach, placement
from harness.executors.placement import Place, choose_place
from harness.executors.ray_pool import RayPool

GIB = float(2**30)


def node(cpus: float, gpus: float = 0.0, memory: float = 64.0) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus, "memory": memory * GIB, "object_store_memory": 1e8}


@pytest.mark.parametrize(
    ("nodes", "workers", "threads", "gpus", "place", "slots"),
    [
        ([node(2)], None, None, 1.0, Place(1.0, 0.0, 1), 2),
        ([node(64)], None, None, 1.0, Place(8.0, 0.0, 8), 8),
        ([node(8, memory=10.0)], None, None, 1.0, Place(4.0, 0.0, 4), 2),  # memory for two
        ([node(4, memory=1.0)], None, None, 1.0, Place(4.0, 0.0, 4), 1),
        ([node(8)], None, 3, 1.0, Place(3.0, 0.0, 3), 2),
        ([node(2)], 1, None, 1.0, Place(2.0, 0.0, 2), 1),
        ([node(2)], 4, None, 1.0, Place(0.5, 0.0, 1), 4),  # more than CPUs: as asked
        ([node(1), node(1)], 1, None, 1.0, Place(1.0, 0.0, 1), 2),  # two CPUs, but not on one node
        ([node(1), node(1)], 3, None, 1.0, Place(0.5, 0.0, 1), 4),
        ([node(5), node(5)], 3, None, 1.0, Place(2.0, 0.0, 2), 4),
        ([node(16, gpus=4)], None, None, 1.0, Place(0.0, 1.0, 4), 4),
        ([node(16, gpus=4)], 2, None, 1.0, Place(0.0, 1.0, 8), 4),
        ([node(16, gpus=4), node(2)], None, None, 0.5, Place(0.0, 0.5, 2), 8),
        ([node(16, gpus=4)], None, 1, 2.0, Place(0.0, 2.0, 1), 2),
        ([node(4, gpus=1)], None, None, 0.0, Place(1.0, 0.0, 1), 4),  # GPUs not wanted
        ([node(0)], None, None, 1.0, Place(1.0, 0.0, 1), 0),  # a head without CPUs, before nodes join
        ([], 3, None, 1.0, Place(1.0, 0.0, 1), 0),
    ],
)
def test_choose(
    nodes: list[dict[str, float]], workers: int | None, threads: int | None, gpus: float, place: Place, slots: int
) -> None:
    chosen = choose_place(nodes, workers, threads, gpus)
    assert chosen == place
    assert chosen.slots(nodes) == slots


def test_an_estimate_counts_on_what_this_machine_would_be_given() -> None:
    assert 1 <= placement.workers_here(None) <= placement.MOST_ON_CPUS
    assert placement.workers_here(10**6) == 1


@pytest.mark.parametrize(
    ("nodes", "place", "most", "threads", "workers", "taken"),
    [
        ([{"CPU": 2.0}], Place(1.0, 0.0, 1), 1, None, 1, Place(2.0, 0.0, 2)),  # one worker: the whole machine
        ([{"CPU": 2.0}], Place(1.0, 0.0, 1), 2, None, 2, Place(1.0, 0.0, 1)),
        ([{"CPU": 8.0}], Place(1.0, 0.0, 1), 3, None, 3, Place(2.0, 0.0, 2)),
        ([{"CPU": 2.0}, {"CPU": 4.0}], Place(1.0, 0.0, 1), 1, None, 1, Place(4.0, 0.0, 4)),
        ([{"CPU": 4.0}], Place(1.0, 0.0, 1), 1, 2, 1, Place(4.0, 0.0, 2)),  # threads that were asked for stay
        ([{"CPU": 16.0, "GPU": 4.0}], Place(0.0, 1.0, 4), 2, None, 2, Place(0.0, 1.0, 4)),
        ([{"CPU": 4.0}], Place(1.0, 0.0, 1), 9, None, 4, Place(1.0, 0.0, 1)),
    ],
)
def test_workers_of_one_job_take_what_others_leave(
    nodes: list[dict[str, float]], place: Place, most: int, threads: int | None, workers: int, taken: Place
) -> None:
    assert placement.joined(nodes, place, most, threads) == (workers, taken)


class KnownNodes:
    """In place of Ray: nodes with labels; what actors are asked for is kept."""

    def __init__(self, **kinds: str) -> None:
        alive = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
        self.asked: dict[str, Any] = {}
        self.there = [
            {**alive, "NodeID": name, "Labels": {cluster_reach.CARD: kind} if kind else {}}
            for name, kind in kinds.items()
        ]

    def nodes(self) -> list[dict[str, Any]]:
        return self.there

    def remote(self, _seat: type) -> KnownNodes:
        return self

    def options(self, **asked: Any) -> KnownNodes:
        self.asked = asked
        return self


def test_workers_keep_to_the_kind_of_gpu_that_is_asked_for_and_share_one() -> None:
    ray = KnownNodes(one="H100", two="A100", three="H100", four="")
    nodes = cluster_reach.some_with(ray, "H100")
    place = choose_place(nodes, None, None, 0.5)
    pool = RayPool(Recipe.of("nowhere:Worker"), place, None, library=ray, gpu="H100")
    assert (place.gpus, pool.capacity()) == (0.5, 8), "two a GPU, on two nodes of two"
    assert ray.asked["num_gpus"] == 0.5 and ray.asked["label_selector"] == {"ray.io/accelerator-type": "H100"}
    pool.avoid("three")
    assert pool.capacity() == 4
    assert ray.asked["label_selector"] == {"ray.io/node-id": "!in(three)", "ray.io/accelerator-type": "H100"}
    assert len(cluster_reach.some_with(ray, None)) == 4


@pytest.mark.parametrize(("kinds", "says"), [
    ({"one": "H100", "two": "A100"}, r"of the kind 'H10' .* have A100, H100; did you mean 'H100'\?\.$"),
    ({"one": ""}, r"of the kind 'H10' .* have none that it knows a kind of\.$"),
])  # fmt: skip
def test_a_kind_of_gpu_that_no_node_has_is_a_sentence(kinds: dict[str, str], says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        cluster_reach.some_with(KnownNodes(**kinds), "H10")
