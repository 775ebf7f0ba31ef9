"""StableSeg from image to scores against the same steps done plainly, and each of its settings."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.contracts import MethodError, ModelError, Query, Reader, Vocabulary
from methods.diffusion import Diffusion
from methods.diffusion.layers import Layer, select
from methods.layer_weights import layer_weights
from methods.refine import REFINERS
from methods.stableseg import StableSeg

Ask = Callable[..., Query]
SIZE = (32, 48)
LAYERS = tuple(
    Layer(index, f"{'down' if index < 6 else 'up'}_blocks.{index}", factor, (16 // factor, 24 // factor))
    for index, factor in enumerate((1, 1, 2, 2, 4, 4, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1))
)


@pytest.fixture(scope="module")
def backbone(small_model: str) -> Diffusion:
    return Diffusion(small_model, size=SIZE)


def scores(backbone: Diffusion, query: Query, **settings: Any) -> torch.Tensor:
    """What a StableSeg of these settings answers for one image, all its passes run by this backbone."""
    method = StableSeg(backbone.model, size=SIZE, **settings)
    features = {request: found[0] for request, found in backbone.run([query], method.passes())}
    answer: torch.Tensor = method.read(features, query.vocabulary)
    return answer


def minmax(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low)


@pytest.mark.parametrize(("refine", "side", "power"), [("none", 1, 0), ("sar", 1, 1), ("samap", 2, 4)])
def test_the_twelve_steps(
    refine: str, side: int, power: int, backbone: Diffusion, ask: Ask, plain: SimpleNamespace
) -> None:
    query = ask("one", "dog", "traffic light")
    network = backbone.network
    prompt = "a photo of a dog and a traffic light"
    ids = network.text.tokenizer(prompt, padding="max_length", max_length=24, return_tensors="pt").input_ids
    states = network.text.encoder(input_ids=ids).last_hidden_state.detach()
    attention = plain.read(network.unet, plain.latents(network, [query], 1), 1, states)
    total = torch.zeros(2, 16, 24, dtype=torch.float64)
    for layer, (_, cross) in zip(LAYERS, attention, strict=True):
        places = [plain.tokens_of(network.text.tokenizer, prompt, name) for name in ("dog", "traffic light")]
        raw = torch.stack([cross[0].mean(dim=0)[:, columns].mean(dim=1) for columns in places])
        large = F.interpolate(raw.reshape(1, 2, *layer.resolution), size=(16, 24), mode="bilinear", align_corners=False)
        total += minmax(large[0].double()) / 16
    if power:
        own = torch.stack([attention[one.index][0][0].mean(dim=0) for one in LAYERS if one.factor == side]).mean(dim=0)
        inner = total.reshape(2, 16 // side, side, 24 // side, side).mean(dim=(2, 4))
        spread = torch.linalg.matrix_power(own.double(), power) @ inner.flatten(1).T
        inner = spread.T.reshape(1, 2, 16 // side, 24 // side)
        total = F.interpolate(inner, size=(16, 24), mode="bilinear", align_corners=False)[0]
    found = scores(backbone, query, refine=refine, class_norm="none")
    assert found.dtype == torch.float32
    assert float((found.double() - total).abs().max() / total.abs().max()) < 1e-4
    torch.testing.assert_close(scores(backbone, query, refine=refine), minmax(found), rtol=0, atol=1e-6)


def test_passes_are_shared_and_declared(small_model: str) -> None:
    grid = [(refine, timestep) for refine in ("none", "sar", "samap") for timestep in (1, 9)]
    methods = [StableSeg(small_model, refine=refine, timestep=timestep) for refine, timestep in grid]
    assert all(isinstance(method, Reader) for method in methods)
    assert len({request for method in methods for request in method.passes()}) == 2
    assert {frozenset(method.passes().values()) for method in methods} == {
        frozenset({frozenset({"cross:all"})}),
        frozenset({frozenset({"cross:all", "self:largest"})}),
        frozenset({frozenset({"cross:all", "self:second"})}),
    }
    draws = StableSeg(small_model, noise_draws=3, head_agg="max", layers="1/2", prompt_self="first")
    assert [request.draw for request in draws.passes()] == [0, 1, 2]  # type: ignore[attr-defined]
    assert set(draws.passes().values()) == {frozenset({"cross:1/2", "heads", "self-first:largest"})}
    assert pickle.loads(pickle.dumps(draws)) == draws


def test_draws_are_averaged(backbone: Diffusion, ask: Ask) -> None:
    query = ask("one", "dog", "cat")
    plain = {"class_norm": "none", "refine": "samap", "timestep": 200}
    both = scores(backbone, query, noise_draws=2, **plain)
    method = StableSeg(backbone.model, size=SIZE, noise_draws=2, **plain)
    features = {request: found[0] for request, found in backbone.run([query], method.passes())}
    single = StableSeg(backbone.model, size=SIZE, **plain)
    parts = [single.read({next(iter(single.passes())): one}, query.vocabulary) for one in features.values()]
    assert not torch.equal(parts[0], parts[1])
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"map_size": "1/2"}, (8, 12)),
        ({"map_size": "20x30"}, (20, 30)),
        ({"layers": "4-8"}, (16, 24)),
        ({"layers": (2, 3, "1/4")}, (16, 24)),
        ({"map_norm": "none", "class_norm": "none"}, (16, 24)),
        ({"map_norm": "sum", "norm_order": "norm_first"}, (16, 24)),
        ({"head_agg": "max"}, (16, 24)),
        ({"map_interp": "bicubic"}, (16, 24)),
        ({"map_interp": "nearest"}, (16, 24)),
        ({"prompt": "per_class", "prompt_self": "first"}, (16, 24)),
        ({"latent": "sample"}, (16, 24)),
        ({"add_noise": False}, (16, 24)),
        ({"template": "{}", "joiner": ", "}, (16, 24)),
        ({"refine_resolution": "1/4", "refine_power": 2}, (16, 24)),
        ({"class_norm": "softmax"}, (16, 24)),
        ({"subtoken_agg": "last"}, (16, 24)),
        ({"timestep": 300}, (16, 24)),
        ({"seed": 1, "timestep": 300}, (16, 24)),
        ({"layer_weights": "1/1:.1, 1/4:.9"}, (16, 24)),
    ],
)
def test_every_setting_changes_the_scores(
    settings: dict[str, Any], shape: tuple[int, int], backbone: Diffusion, ask: Ask
) -> None:
    query = ask("one", "dog", "traffic light")
    found, usual = scores(backbone, query, **settings), scores(backbone, query)
    assert found.shape == (2, *shape)
    assert torch.isfinite(found).all()
    assert shape != (16, 24) or not torch.equal(found, usual)


def test_every_refiner_runs_on_one_pass(backbone: Diffusion, ask: Ask) -> None:
    query = ask("one", "dog", "cat", "car")
    for key in REFINERS:
        found = scores(backbone, query, refine=key)
        assert found.shape == (3, 16, 24)
        assert float(found.min()) >= 0.0
        assert float(found.max()) <= 1.0


def test_no_classes_and_one_class(backbone: Diffusion, ask: Ask) -> None:
    assert scores(backbone, ask("one")).shape == (0, 16, 24)
    assert scores(backbone, ask("one"), prompt="per_class").shape == (0, 16, 24)
    assert float(scores(backbone, ask("one", "dog")).max()) == 1.0


def test_same_answer_in_any_order(backbone: Diffusion, ask: Ask) -> None:
    first, second = ask("a", "dog", "cat"), ask("b", "car", "cat")
    once = [scores(backbone, query, timestep=300) for query in (first, second)]
    again = [scores(backbone, query, timestep=300) for query in (second, first)]
    assert torch.equal(once[0], again[1])
    assert torch.equal(once[1], again[0])


def test_layer_weights(tmp_path: Path, backbone: Diffusion, ask: Ask) -> None:
    assert layer_weights("uniform", LAYERS[:4]) == [0.25] * 4
    assert layer_weights((1, 2.5), LAYERS[:2]) == [1.0, 2.5]
    assert layer_weights("1/8:.3, 1/4:.5", LAYERS) == [0.0] * 4 + [0.1] * 2 + [0.3] + [0.1] * 3 + [0.0] * 6
    path = tmp_path / "weights.json"
    path.write_text(json.dumps([0.0] * 15 + [1.0]))
    assert layer_weights(str(path), LAYERS) == [0.0] * 15 + [1.0]
    query = ask("one", "dog", "cat")
    only = scores(backbone, query, layer_weights=str(path), refine="none")
    assert torch.equal(only, scores(backbone, query, layers="15", refine="none"))
    assert StableSeg(layer_weights=str(path)).fingerprint() != StableSeg().fingerprint() == ""
    for wish, message in {
        (1.0, 2.0): "2 layer weights for 16 layers",
        "1/3:.5": "no chosen layer of that side",
        "1/2:x": "not of the form 1/4:.5",
        "even": "not 'even'",
        str(tmp_path / "no.json"): "cannot be read",
    }.items():
        with pytest.raises(MethodError, match=message):
            layer_weights(wish, LAYERS)


def test_layers_by_name() -> None:
    assert select("all", LAYERS) == tuple(range(16))
    assert select("largest", LAYERS) == select("1/1", LAYERS) == (0, 1, 13, 14, 15)
    assert select("second", LAYERS) == select("1/2", LAYERS) == (2, 3, 10, 11, 12)
    assert select(("4-6", 2, "smallest"), LAYERS) == (2, 4, 5, 6)
    assert select("down:1/1+up:1/2", LAYERS) == (0, 1, 10, 11, 12)
    for wish in ("1/16", "14-16", "left", "-1", "mid:1/1"):
        with pytest.raises(ModelError, match=r"16 attention layers, by side \(1/1: 0, 1, 13"):
            select(wish, LAYERS)


def test_wrong_settings_are_said() -> None:
    for settings, message in (
        ({"refine": "sra"}, "no refiner 'sra'"),
        ({"map_size": "big"}, "map_size is 'big'"),
        ({"noise_draws": 0}, "at least one draw"),
        ({"class_norm": "log"}, "class_norm is 'log'; it can be 'minmax'"),
        ({"prompt": "both"}, "prompt is 'both'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ):
        with pytest.raises((MethodError, ModelError), match=message):
            method = StableSeg(**settings)
            for request in method.passes():
                from harness.recipes.loading import build

                build(request.backbone)
            method._size((16, 24))


def test_importing_and_planning_need_no_torch() -> None:
    code = (
        "import sys; from methods.stableseg import StableSeg; from methods.controls import WrongPrompt\n"
        "StableSeg('shapes').passes(); WrongPrompt('shapes').passes(); StableSeg('shapes').fingerprint()\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_trained_model_finds_shapes() -> None:
    """The shipped model on twelve images of two or more objects: well above the wrong prompt."""
    from benchmarks.shapes import Shapes
    from methods.checkpoints import SHIPPED
    from methods.controls import WrongPrompt

    if not (SHIPPED / "shapes" / "diffusion" / "model_index.json").is_file():
        pytest.skip("the small models are not trained yet")
    world = Shapes(split="val", images=12)
    settings = {"model": "shapes", "timestep": 300, "layers": "1/2", "refine": "none"}
    share = {}
    for method in (StableSeg(**settings), WrongPrompt(**settings)):
        hits = []
        backbone = Diffusion("shapes")
        for name in world.ids():
            sample = world.load(name)
            present = np.unique(sample.truth[(sample.truth > 0) & (sample.truth < 255)])
            names = tuple((world.classes[one - 1],) for one in present)
            others = tuple((word,) for word in world.classes if (word,) not in names)
            query = Query(name, sample.image, Vocabulary(names, others))
            features = {request: found[0] for request, found in backbone.run([query], method.passes())}
            planes = method.read(features, query.vocabulary)[None]
            planes = F.interpolate(planes, size=sample.truth.shape, mode="bilinear")[0]
            guess = present[planes.argmax(dim=0).numpy()]
            counted = (sample.truth > 0) & (sample.truth < 255)
            hits.append(float((guess == sample.truth)[counted].mean()))
        share[type(method).__name__] = float(np.mean(hits))
    print(share)
    assert share["StableSeg"] > share["WrongPrompt"] + 0.1
