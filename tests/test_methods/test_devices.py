"""Every method of ours on a pretended GPU, and under foreign defaults of torch: the answers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from our_methods import OURS
from pretend_gpu import Marked, pretend_gpu

from harness.checks.method_world import World
from harness.checks.with_words import settings_of_words
from harness.contracts import Pass, ProtocolSettings, Query, Reader, Recipe, Vocabulary
from harness.protocol.decision import gives_planes_a_word, predict
from harness.protocol.offering import Offer
from harness.recipes import loading

NAMES = (("circle",), ("star", "pentagram"), ("moon",))
READERS = [name for name in OURS if not name.startswith("controls:") or "WrongPrompt" in name]


def answers(recipe: Recipe, images: list[np.ndarray]) -> list[Any]:
    """What a reader says of two images, with everything opened anew."""
    reader = loading.build(recipe)
    assert isinstance(reader, Reader)
    vocabulary = Vocabulary(NAMES, others=(("cross",), ("ring",), ("heart",)))
    queries = [Query(f"image {number}", image, vocabulary) for number, image in enumerate(images)]
    features: list[dict[Pass, Any]] = [{} for _ in queries]
    requests = reader.passes()
    for backbone in dict.fromkeys(request.backbone for request in requests):
        mine = {request: parts for request, parts in requests.items() if request.backbone == backbone}
        for request, found in loading.build(backbone).run(queries, mine):
            for held, one in zip(features, found, strict=True):
                held[request] = one
    return [reader.read(held, vocabulary) for held in features]


@pytest.mark.parametrize("name", READERS)
def test_a_method_keeps_to_its_device(name: str, lots: np.random.Generator) -> None:
    use = f"methods.{name}"
    recipe = Recipe.of(use, **settings_of_words(OURS[name]))
    images = [lots.integers(0, 256, (80, 112, 3)).astype(np.uint8) for _ in range(2)]
    offered = Offer(Vocabulary(NAMES), (1, 4, 8))
    with pretend_gpu():
        there = answers(recipe, images)
        a_word = gives_planes_a_word(loading.build(recipe))
        maps = [predict(scores, offered, (80, 112), ProtocolSettings(), a_word) for scores in there]
    here = answers(recipe, images)
    for one, other, labels in zip(there, here, maps, strict=True):
        assert isinstance(one, Marked)
        grown = 1e-3 if "ISeg" in name else 1e-6  # of 0 to 1: a card sums in another order, and each step enlarges that
        assert np.allclose(one.as_subclass(torch.Tensor).numpy(), other.numpy(), rtol=1e-5, atol=grown)
        assert set(np.unique(labels)) <= {1, 4, 8}


def test_the_pretence_refuses_what_a_gpu_would() -> None:
    left = torch.ones(3)
    with pretend_gpu():
        moved = left.to("cuda")
        assert moved.device.type == "cuda" and left.device.type == "cpu" and torch.zeros(2, device="cuda").is_cuda
        assert (moved * 2 + torch.tensor(1.0)).cpu().tolist() == [3.0, 3.0, 3.0]
        for mixed in (torch.add, torch.dot, lambda one, other: torch.stack([one, other])):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                mixed(moved, left)
        with pytest.raises(TypeError, match="convert cuda"):
            moved.numpy()
        layer = torch.nn.Linear(3, 2).to("cuda")
        assert layer(moved).is_cuda
        with pytest.raises(RuntimeError, match="same device"):
            layer(left)
    assert left.to("cpu") is left


NETWORKS: tuple[dict[Recipe, Any], dict[Recipe, Any]] = ({}, {})  # opened once, for each of two ways of asking


@contextmanager
def foreign_defaults() -> Iterator[None]:
    """What makes a tensor without naming its dtype and device makes one of float64 that holds nothing."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", OURS)
def test_a_method_names_dtype_and_device_of_all_that_it_makes(name: str, rng: np.random.Generator) -> None:
    recipe = Recipe.of(f"methods.{name}", **settings_of_words(OURS[name]))
    image, offered = rng.integers(0, 256, (80, 112, 3)).astype(np.uint8), Offer(Vocabulary(NAMES), (1, 4, 8))
    query = Query("image", image, Vocabulary(NAMES, others=(("cross",), ("ring",), ("heart",))))
    world = World(recipe)
    world.networks = {one: NETWORKS[0].setdefault(one, network) for one, network in world.networks.items()}
    (here,) = world.answers(query)
    world.networks = {one: NETWORKS[1].setdefault(one, loading.build(one)) for one in world.networks}
    world.answers(Query("other", image, Vocabulary((("tree",), ("boat",)), others=query.vocabulary.names)))  # opens
    with foreign_defaults():
        (there,) = world.answers(query)
        a_word = gives_planes_a_word(loading.build(recipe))
        labels = predict(there, offered, (80, 112), ProtocolSettings(), a_word)
    assert here.dtype == there.dtype and np.array_equal(here, there)
    assert np.array_equal(labels, predict(here, offered, (80, 112), ProtocolSettings(), a_word))
