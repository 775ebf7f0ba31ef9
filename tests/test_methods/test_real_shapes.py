"""At the shapes of Stable Diffusion 1.x (its UNet's layers with two heads of eight, as wide as there, random weights,
64 x 64 latents): class maps and refinements against explicit probabilities of heads, kept from the same forwards."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import Query, Recipe, Vocabulary
from methods.diffusion import Diffusion, DiffusionPass
from methods.diffusion.features import DiffusionFeatures
from methods.diffusion.network import Network
from methods.refine import refiner
from methods.refine.box import boxes
from methods.stableseg import StableSeg

SIDES = (64, 64, 32, 32, 16, 16, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64)
SHORT = ("dog", "traffic light", "cat")
LONG = ("wall mounted analogue railway station clock", "old red double decker bus with yellow stripes")
ALL, EARLY = frozenset({"cross:all", "self:all"}), frozenset({"cross:0-5", "self:0-3"})


class Explicit:
    """A processor that forms the probabilities of every head from the weights, and keeps their mean over heads."""

    def __init__(self, kept: dict[str, list[Tensor]], name: str) -> None:
        self.kept, self.name = kept, name

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(F.linear(hidden_states, attn.to_q.weight))
        key = attn.head_to_batch_dim(F.linear(context, attn.to_k.weight))
        value = attn.head_to_batch_dim(attn.to_v(context))
        probs = attn.get_attention_scores(query, key)
        self.kept.setdefault(self.name, []).append(probs.mean(dim=0))
        attn.to_q(hidden_states)  # for whoever reads the projections: the last one that is read ends the forward
        attn.to_k(context)
        return attn.to_out[0](attn.batch_to_head_dim(probs @ value))


@pytest.fixture(scope="module")
def network(
    tmp_path_factory: pytest.TempPathFactory, write_diffusion: Any, stable_diffusion_1: dict[str, Any]
) -> Network:
    """Text encoder, tokenizer and a VAE of factor 8 from a small model, and a UNet with the real sides and heads."""
    from diffusers import UNet2DConditionModel

    from methods.diffusion.configuration import Configuration
    from methods.diffusion.files import open_files

    thin = stable_diffusion_1 | {"block_out_channels": (8, 8, 8, 8), "attention_head_dim": 1, "norm_num_groups": 4}
    folder = write_diffusion(tmp_path_factory.mktemp("real") / "thin", thin, 77)
    small = open_files(Configuration.of_folder(folder), torch.float32, "cpu")
    with torch.device("meta"):
        narrow = {"block_out_channels": (80, 160, 320, 320), "norm_num_groups": 16, "attention_head_dim": 2}
        unet = UNet2DConditionModel(**stable_diffusion_1 | narrow)
    unet = unet.to_empty(device="cpu").eval().requires_grad_(False)
    noise = torch.rand(1 << 20).mul_(2.0).sub_(1.0)
    for name, weight in unet.named_parameters():
        if weight.ndim == 1:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        loud = 1.7 if re.search(r"to_[qk]\.", name) else 1.0
        flat = weight.view(-1)
        for start in range(0, len(flat), len(noise)):  # the same numbers again and again: quick, and random enough
            part = flat[start : start + len(noise)]
            part.copy_(noise[: len(part)])
        weight.mul_(loud * (3.0 / weight[0].numel()) ** 0.5)
    opened = small._replace(unet=unet)
    return Network(opened, Diffusion(str(folder)), "cpu")


def forward(network: Network, names: tuple[str, ...], parts: frozenset[str]) -> SimpleNamespace:
    """Features of one image with a joint prompt, and the explicit probabilities of the same forwards."""
    coarse = torch.rand(1, 3, 12, 16).mul_(255.0)
    image = F.interpolate(coarse, (90, 130), mode="bilinear")[0].permute(1, 2, 0).byte().numpy()
    before, kept = dict(network.unet.attn_processors), {}
    network.unet.set_attn_processor({name: Explicit(kept, name) for name in before})
    try:
        query = Query("one", image, Vocabulary(tuple((name,) for name in names)))
        ((request, (features,)),) = network.serve([query], {DiffusionPass(Recipe("x"), 1): parts})
    finally:
        network.unet.set_attn_processor(before)
    return SimpleNamespace(query=query, request=request, features=features, attention=in_order(kept))


def in_order(kept: dict[str, list[Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """(self, cross) per layer: down, mid, up; each with one tensor (queries, keys) a prompt."""

    def place(name: str) -> tuple[int, ...]:
        stage = ("down", "mid", "up").index(name.split("_")[0])
        return (stage, *(int(number) for number in re.findall(r"\.(\d+)", name)))

    own = sorted((name for name in kept if "attn1" in name), key=place)
    return [(kept[name], kept[name.replace("attn1", "attn2")]) for name in own]


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected value."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def check_class_maps(
    seen: SimpleNamespace, network: Network, prompts: list[str], plain: SimpleNamespace, spec: str
) -> None:
    rows = list(dict.fromkeys(prompts))
    for layer, maps in seen.features.class_maps(spec):
        side = SIDES[layer.index]
        assert maps.shape == (len(prompts), side, side)
        for position, (name, prompt) in enumerate(zip(seen.query.vocabulary.words, prompts, strict=True)):
            cross = seen.attention[layer.index][1][rows.index(prompt)]
            places = plain.tokens_of(network.text.tokenizer, prompt, name)
            assert off(maps[position], cross[:, places].mean(dim=1).reshape(side, side)) < 1e-4


def minmax(columns: Tensor) -> Tensor:
    low, high = columns.amin(dim=0), columns.amax(dim=0)
    return (columns - low) / (high - low)


def halved(maps: Tensor) -> Tensor:
    return maps.reshape(len(maps), 32, 2, 32, 2).mean(dim=(2, 4)).flatten(1).T


def widest_gap(values: Tensor) -> float:
    """Where rounding puts no value on another side; about a half."""
    ordered = values[(values > 0.4) & (values < 0.6)].sort().values
    place = int(ordered.diff().argmax())
    return float(ordered[place : place + 2].mean())


def doubled(columns: Tensor) -> Tensor:
    return F.interpolate(columns.T.reshape(1, -1, 32, 32), size=(64, 64), mode="bilinear", align_corners=False)[0]


def all_scales(attention: list[tuple[list[Tensor], list[Tensor]]]) -> Tensor:
    """S of all 16 layers: keys enlarged, queries tiled, rows divided by their sum, weighted by side."""
    total = torch.zeros(4096, 4096)
    for (own, _), side in zip(attention, SIDES, strict=True):
        keys = own[0].reshape(side * side, 1, side, side)
        keys = F.interpolate(keys, size=(64, 64), mode="bilinear", align_corners=False).flatten(1)
        keys = keys / keys.sum(dim=1, keepdim=True)
        tiled = keys.reshape(side, 1, side, 1, 4096).expand(side, 64 // side, side, 64 // side, 4096)
        total.view(side, 64 // side, side, 64 // side, 4096).add_(tiled, alpha=side / sum(SIDES))
    return total


@pytest.mark.slow
def test_maps_and_refinements_of_a_joint_prompt(network: Network, plain: SimpleNamespace) -> None:
    seen = forward(network, SHORT, ALL)
    features: DiffusionFeatures = seen.features
    prompt = "a photo of a dog and a traffic light and a cat"
    check_class_maps(seen, network, [prompt] * 3, plain, "all")
    own = [layer[0][0] for layer in seen.attention]
    large = torch.stack([own[index] for index in (0, 1, 13, 14, 15)]).mean(dim=0)
    small = torch.stack([own[index] for index in (2, 3, 10, 11, 12)]).mean(dim=0)
    assert torch.allclose(large.sum(dim=1), torch.ones(4096), atol=1e-4)
    formed = features.self_attention("1/1")
    assert off(formed, large) < 1e-4
    features.self_attention = lambda *_: formed  # type: ignore[method-assign]
    joined = torch.stack(StableSeg("x").class_maps(features)).mean(dim=0)
    columns = joined.flatten(1).T

    def same(key: str, expected: Tensor) -> None:
        assert off(refiner(key).refine(joined, features), expected.T.reshape(3, 64, 64)) < 1e-4, key

    same("sar", large @ columns)
    fourth = torch.linalg.matrix_power(small, 4)
    same("samap", doubled(fourth @ halved(joined)).flatten(1).T)
    first = ((own[0] + own[1]) / 2 + (own[13] + own[14] + own[15]) / 3) / 2
    same("two_level", (own[13] + own[14] + own[15]) / 3 @ (first @ columns))
    scales = all_scales(seen.attention)
    same("multiscale", scales @ columns)
    inner = minmax(halved(joined))
    edge = widest_gap(inner)
    kept = boxes((inner > edge).T.reshape(3, 32, 32)).flatten(1).T
    same(f"box(threshold={edge})", doubled(minmax(small @ (small @ (inner * kept)))).flatten(1).T)
    links = large / large.amax(dim=0)
    links = torch.clamp(links + 0.015 * torch.log10(math.e * links), min=0.0)
    links /= links.sum(dim=1, keepdim=True)
    for _ in range(2):
        columns = links @ columns
        columns = columns - columns.amin(dim=0)
        columns = columns / columns.sum(dim=0)
    same("iterate(steps=2)", columns)


@pytest.mark.slow
def test_maps_of_split_and_single_prompts(network: Network, plain: SimpleNamespace) -> None:
    seen = forward(network, LONG, EARLY)
    prompts = [f"a photo of a {name}" for name in LONG]
    check_class_maps(seen, network, prompts, plain, "0-5")
    single = network.rows(0, seen.query, DiffusionPass(Recipe("x"), 1, "per_class"))
    split = network.rows(0, seen.query, seen.request)
    assert single == split  # long names: each fills a prompt, so that both modes ask the same of the UNet
    given = torch.rand(5, 64, 64)
    mean = torch.stack([layer[0][row] for layer in seen.attention[:2] for row in range(2)]).mean(dim=0)
    expected = (mean @ given.flatten(1).T).T.reshape(5, 64, 64)
    assert off(seen.features.propagate(given, "down:1/1"), expected) < 1e-4
    first = torch.stack([layer[0][0] for layer in seen.attention[:2]]).mean(dim=0)
    alone = seen.features.propagate(given, "down:1/1", rows="first")
    assert off(alone, (first @ given.flatten(1).T).T.reshape(5, 64, 64)) < 1e-4
