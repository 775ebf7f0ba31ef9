"""Layer weights of every class by its name: gathered, fitted and read, on attention made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.contracts import MethodError, ModelError, Vocabulary
from methods.diffusion.features import DiffusionFeatures
from methods.diffusion.layers import Layer
from methods.diffusion.places import places_of
from methods.diffusion.prompts import Prompt
from methods.diffusion.together import Together
from methods.learned_stableseg import LearnedStableSeg, StableSegByClass

SIZE = (4, 6)
LAYERS = 3
SETTINGS: dict[str, Any] = {"refine": "none", "class_norm": "none", "map_norm": "none"}
LEARNER = LearnedStableSeg(teacher="T", per="class", label_below="background", label_low=0.5, steps=40, **SETTINGS)


def offered(*names: str) -> Vocabulary:
    return Vocabulary(tuple((name, f"a {name}") for name in names))


def attention(maps: NDArray[np.float32]) -> DiffusionFeatures:
    """What one prompt leaves: maps (layers, classes, height, width)."""
    layers = tuple(Layer(index, f"down_blocks.{index}", 1, SIZE) for index in range(len(maps)))
    classes = maps.shape[1]
    flat = torch.from_numpy(maps.reshape(len(maps), 1, classes, -1))
    cross = {index: torch.cat([torch.zeros_like(one[:, :1]), one], dim=1) for index, one in enumerate(flat)}
    places = places_of([Prompt("", tuple((place, (1 + place,)) for place in range(classes)))], 8, torch.device("cpu"))
    return DiffusionFeatures(Together(layers, SIZE, (SIZE,), (places,), cross))


def by_request(features: DiffusionFeatures) -> Mapping[Any, DiffusionFeatures]:
    (request,) = LEARNER.passes()
    return {request: features}


class Gathered:
    """Lessons of which only what was gathered is looked at."""

    background = True

    def __init__(self, held: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        self._held, self.image_ids = held, tuple(held)

    def gathered(self, image_id: str) -> Mapping[str, NDArray[Any]]:
        return self._held[image_id]


def lesson(rng: np.random.Generator, names: tuple[str, ...]) -> Mapping[str, NDArray[Any]]:
    """An image in which layer 0 shows a bird and layer 1 all others, each where the other layer shows the rest."""
    labels = rng.integers(0, len(names) + 1, SIZE)
    maps = 0.1 * rng.random((LAYERS, len(names), *SIZE)).astype(np.float32)
    for place, name in enumerate(names):
        own = int(name != "bird")
        maps[own, place] += labels == place
        maps[1 - own, place] += labels != place
    return LEARNER.gather(by_request(attention(maps)), offered(*names), labels.astype(np.int16))


def test_weights_of_a_class_are_found_again_by_its_name(tmp_path: Path, rng: np.random.Generator) -> None:
    given = [("bird", "cat"), ("cat",), ("dog", "bird"), ("bird",), ("cat", "dog", "bird")] * 3
    told = LEARNER.fit(Gathered({f"{place:02d}": lesson(rng, names) for place, names in enumerate(given)}), tmp_path)
    assert list(told["weights"]) == ["bird", "cat", "dog"]
    best = {name: int(np.argmax(weights)) for name, weights in told["weights"].items()}
    assert best == {"bird": 0, "cat": 1, "dog": 1} and told["loss"] < told["loss_of_mean"]
    fitted = LEARNER.fitted(tmp_path)
    assert isinstance(fitted, StableSegByClass) and fitted.passes() == LEARNER.passes()
    maps = rng.random((LAYERS, 3, *SIZE)).astype(np.float32)
    scores = fitted.read(by_request(attention(maps)), offered("dog", "horse", "bird")).numpy()
    weights = np.array([told["weights"]["dog"], [1 / LAYERS] * LAYERS, told["weights"]["bird"]])
    expected = np.einsum("cl,lchw->chw", weights, maps.astype(np.float64))
    assert np.abs(scores - expected).max() < 1e-6  # horse, which no lesson held, by the plain mean


def test_what_is_gathered_of_a_class_bears_its_usual_name(rng: np.random.Generator) -> None:
    held = lesson(rng, ("bird", "cat"))
    assert held["classes"].tolist() == ["bird", "cat"] and held["maps"].shape == (LAYERS, 2, SIZE[0] * SIZE[1])


def test_weights_that_do_not_fit_are_told(tmp_path: Path, rng: np.random.Generator) -> None:
    features = by_request(attention(rng.random((LAYERS, 1, *SIZE)).astype(np.float32)))
    short = StableSegByClass(**SETTINGS, of_classes=(("bird", (0.5, 0.5)),))
    with pytest.raises(MethodError, match="not for the 3 layers that there are"):
        short.read(features, offered("bird"))
    for content in ("[0.5, 0.5]", '{"bird": 3}', "{"):
        (tmp_path / "weights.json").write_text(content)
        with pytest.raises(ModelError, match="cannot be read"):
            LEARNER.fitted(tmp_path)
    with pytest.raises(MethodError, match="learned by the loss 'softmax_ce'"):
        LearnedStableSeg(teacher="T", per="class", loss="least_squares")
