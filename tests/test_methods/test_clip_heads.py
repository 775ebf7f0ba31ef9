"""Every head of the CLIP family against an independent forward in float64, at ViT-B/16 shapes and 240 x 304 pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from seeds import seed_of
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from methods.clearclip import ClearCLIP
from methods.clip import ClipReader
from methods.clip.network import ClipNetwork
from methods.clip.pixels import CLIP_MEAN, CLIP_STD, Normalisation
from methods.gem import GEM
from methods.maskclip import MaskCLIP
from methods.naclip import NACLIP
from methods.plain_clip import CLIP
from methods.sclip import SCLIP

LAYERS, HEADS, WIDTH, PATCH, SIDE = 4, 12, 768, 16, 224
HEIGHT, BREADTH = 240, 304
WHOLE = {"resize": HEIGHT, "window": None, "stride": None}


@dataclass
class World:
    """A network, the image it sees, and its weights and the image in double precision."""

    network: ClipNetwork
    image: np.ndarray
    weights: dict[str, Tensor]


@pytest.fixture(scope="module")
def world() -> World:
    seed = seed_of("clip heads")
    torch.manual_seed(seed)
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_act": "quick_gelu",
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=512))
    with torch.no_grad():  # the library's start leaves attention flat and biases zero, which would hide mistakes
        for name, weight in model.vision_model.named_parameters():
            if weight.ndim == 1:
                weight.normal_("norm" in name and "weight" in name, 0.2)
            elif "position" in name:
                weight.normal_(0, 0.5)
            else:
                weight.normal_(0, (2.5 if "q_proj" in name or "k_proj" in name else 1.0) * weight[0].numel() ** -0.5)
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, BREADTH, 3), dtype=np.uint8)
    network = ClipNetwork(model, None, Normalisation(), torch.device("cpu"))
    return World(network, image, {name: value.double() for name, value in model.state_dict().items()})


def cubic_matrix(small: int, large: int) -> Tensor:
    """Rows of Keys' cubic (a = -.75) that resample a line of `small` cells to `large`, borders repeated."""
    matrix = torch.zeros(large, small, dtype=torch.float64)
    for place in range(large):
        centre = (place + 0.5) * small / large - 0.5
        for step in range(-1, 3):
            cell = math.floor(centre) + step
            x, a = abs(centre - cell), -0.75
            near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            matrix[place, min(max(cell, 0), small - 1)] += near if x <= 1 else far
    return matrix


def layer_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def feed(x: Tensor, weights: dict[str, Tensor], block: str) -> Tensor:
    hidden = linear(layer_norm(x, weights, f"{block}.layer_norm2"), weights, f"{block}.mlp.fc1")
    return linear(hidden / (1 + (-1.702 * hidden).exp()), weights, f"{block}.mlp.fc2")


def heads_of(x: Tensor, weights: dict[str, Tensor], block: str) -> list[Tensor]:
    """q, k, v of a block's input, each (heads, tokens, 64)."""
    normed = layer_norm(x, weights, f"{block}.layer_norm1")
    projected = [linear(normed, weights, f"{block}.self_attn.{part}_proj") for part in "qkv"]
    return [torch.stack(part.split(WIDTH // HEADS, dim=1)) for part in projected]


def out(mixed: Tensor, weights: dict[str, Tensor], block: str) -> Tensor:
    return linear(torch.cat(list(mixed), dim=1), weights, f"{block}.self_attn.out_proj")


def name_of(layer: int) -> str:
    return f"vision_model.encoder.layers.{layer}"


def inputs_of_blocks(world: World) -> list[Tensor]:
    """What enters every block, (1 + patches, 768), from pixels, patch by patch."""
    weights, rows, columns = world.weights, HEIGHT // PATCH, BREADTH // PATCH
    colours = (torch.from_numpy(world.image).double() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    patches = colours.reshape(rows, PATCH, columns, PATCH, 3).permute(0, 2, 4, 1, 3).reshape(rows * columns, -1)
    tokens = patches @ weights["vision_model.embeddings.patch_embedding.weight"].flatten(1).T
    tokens = torch.cat([weights["vision_model.embeddings.class_embedding"][None], tokens])
    places = weights["vision_model.embeddings.position_embedding.weight"]
    grid = places[1:].reshape(SIDE // PATCH, SIDE // PATCH, WIDTH)
    vertical, horizontal = cubic_matrix(SIDE // PATCH, rows), cubic_matrix(SIDE // PATCH, columns)
    grid = torch.einsum("yi,xj,ijd->yxd", vertical, horizontal, grid).flatten(0, 1)
    x = layer_norm(tokens + torch.cat([places[:1], grid]), weights, "vision_model.pre_layrnorm")
    entering = [x]
    for layer in range(LAYERS - 1):
        q, k, v = heads_of(x, weights, name_of(layer))
        x = x + out((q @ k.mT / 8).softmax(-1) @ v, weights, name_of(layer))
        x = x + feed(x, weights, name_of(layer))
        entering.append(x)
    return entering


def project(u: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """(patches, 512) unit vectors of the last block's output."""
    projected = layer_norm(u[1:], weights, "vision_model.post_layernorm") @ weights["visual_projection.weight"].T
    return projected / projected.square().sum(dim=1, keepdim=True).sqrt()


@pytest.fixture(scope="module")
def entering(world: World) -> list[Tensor]:
    return inputs_of_blocks(world)


def by_gaussian(std: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT // PATCH), torch.arange(BREADTH // PATCH), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).double()
    distance = (places[:, None] - places[None]).square().sum(dim=-1)
    window = torch.zeros(len(places) + 1, len(places) + 1, dtype=torch.float64)
    window[1:, 1:] = (-distance / (2 * std**2)).exp()
    return window


def same(one: Tensor) -> Tensor:
    return (one @ one.mT / 8).softmax(-1)


def near(keys: Tensor, std: float) -> Tensor:
    return (keys @ keys.mT / 8 + by_gaussian(std)).softmax(-1)


Weights = Callable[[Tensor, Tensor, Tensor], Tensor]
CASES: dict[str, tuple[ClipReader, Weights, bool, bool]] = {
    "clip": (CLIP(**WHOLE), lambda q, k, v: (q @ k.mT / 8).softmax(-1), True, True),
    "maskclip published": (MaskCLIP(**WHOLE), lambda q, k, v: torch.eye(q.shape[1]).double(), True, True),
    "maskclip value": (MaskCLIP(form="value", **WHOLE), lambda q, k, v: torch.eye(q.shape[1]).double(), False, False),
    "sclip": (SCLIP(**WHOLE), lambda q, k, v: same(q) + same(k), True, True),
    "clearclip": (ClearCLIP(**WHOLE), lambda q, k, v: same(q), False, False),
    "naclip": (NACLIP(**WHOLE), lambda q, k, v: near(k, 5.0), False, False),
    "naclip std 2": (NACLIP(std=2, **WHOLE), lambda q, k, v: near(k, 2.0), False, False),
}


def close(found: Tensor, wanted: Tensor) -> None:
    """Within 1e-4 of the unit vectors' length, and not by being the same for every patch."""
    error = (found.flatten(0, 1).double() - wanted).norm(dim=1).max().item()
    assert error < 1e-4, error
    assert (wanted - wanted.mean(dim=0)).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize("case", CASES)
def test_head_equals_double_precision(case: str, world: World, entering: list[Tensor]) -> None:
    reader, attention, residual, feedforward = CASES[case]
    features = world.network.features([world.image], reader.clip_pass, 1)[0]
    assert features.grid == (HEIGHT // PATCH, BREADTH // PATCH)
    x, block, weights = entering[-1], name_of(LAYERS - 1), world.weights
    q, k, v = heads_of(x, weights, block)
    u = out(attention(q, k, v) @ v, weights, block) + (x if residual else 0)
    u = u + feed(u, weights, block) if feedforward else u
    close(reader.embeddings(features)[0], project(u, weights))


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=-1, keepdim=True).sqrt()


@pytest.mark.parametrize(("depth", "iterations", "fixed"), [(4, 1, None), (2, 0, None), (3, 2, 5.0)])
def test_gem_equals_double_precision(
    depth: int, iterations: int, fixed: float | None, world: World, entering: list[Tensor]
) -> None:
    reader = GEM(depth=depth, iterations=iterations, inverse_temperature=fixed, resize=HEIGHT)
    features = world.network.features([world.image], reader.clip_pass, depth - 1)[0]
    weights, u = world.weights, entering[1 - depth]
    for layer in range(LAYERS - depth + 1, LAYERS):
        normed = layer_norm(entering[layer], weights, f"{name_of(layer)}.layer_norm1")
        factor = normed.square().sum(dim=1).sqrt().mean() / 8 if fixed is None else fixed
        q, k, v = heads_of(entering[layer], weights, name_of(layer))
        mixed = torch.zeros_like(v)
        for tokens in (q, k, v):
            for _ in range(iterations):
                tokens = (unit(tokens) @ unit(tokens).mT * factor).softmax(-1) @ unit(tokens)
            mixed += (unit(tokens) @ unit(tokens).mT * factor).softmax(-1) @ v / 3
        u = u + out(mixed, weights, name_of(layer))
    close(reader.embeddings(features)[0], project(u, weights))


def test_keys_are_output_projected(world: World, entering: list[Tensor]) -> None:
    features = world.network.features([world.image], MaskCLIP(**WHOLE).clip_pass, 1)[0]
    block = name_of(LAYERS - 1)
    wanted = out(heads_of(entering[-1], world.weights, block)[1], world.weights, block)[1:]
    assert (features.keys()[0].flatten(0, 1).double() - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_the_tower_itself_is_left_as_it_was(world: World) -> None:
    """The plain head's patches, and the class token before and after all heads have read, are those of transformers."""
    pixels = torch.rand(1, 3, 48, 80)
    before = world.network.model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
    for reader, *_ in CASES.values():
        reader.embeddings(world.network.features([world.image[:48, :80]], replace(reader, resize=48).clip_pass, 1)[0])
    after = world.network.model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
    assert torch.equal(before, after)
