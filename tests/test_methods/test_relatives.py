"""The relatives of StableSeg against their formulas on explicit attention, and what a grid of all of them costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d
from toy_cells import Cell

from harness.contracts import Query, Reader, Recipe
from harness.planning import plan as plans
from harness.recipes import loading
from methods.daam import DAAM
from methods.dataset_diffusion import DatasetDiffusion
from methods.diffsegmenter import DiffSegmenter
from methods.diffusion import Diffusion
from methods.fttm import FTTM
from methods.goca import GoCAVanilla
from methods.iseg import ISeg
from methods.refine.box import boxes
from methods.stableseg import StableSeg

Ask = Callable[..., Query]
Tensor = torch.Tensor
SIZE, LATENT, TIMESTEP = (32, 48), (16, 24), 100
FACTORS = (1, 1, 2, 2, 4, 4, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1)
NAMES, PROMPT = ("dog", "traffic light", "cat"), "a photo of a dog and a traffic light and a cat"
FAMILY = (DiffSegmenter, ISeg, FTTM, DatasetDiffusion, DAAM, GoCAVanilla)


@pytest.fixture(scope="module")
def backbone(small_model: str) -> Diffusion:
    return Diffusion(small_model, size=SIZE)


@pytest.fixture
def seen(backbone: Diffusion, ask: Ask, plain: SimpleNamespace) -> SimpleNamespace:
    return one_seen(backbone, ask, plain)


def one_seen(backbone: Diffusion, ask: Ask, plain: SimpleNamespace) -> SimpleNamespace:
    """An image, and explicit attention of every layer: raw (heads, classes, h, w) and own (positions, positions)."""
    query, network = ask("one", *NAMES), backbone.network
    ids = network.text.tokenizer(PROMPT, padding="max_length", max_length=24, return_tensors="pt").input_ids
    states = network.text.encoder(input_ids=ids).last_hidden_state.detach()
    attention = plain.read(network.unet, plain.latents(network, [query], TIMESTEP), TIMESTEP, states)
    raw, own = [], []
    places = [plain.tokens_of(network.text.tokenizer, PROMPT, name) for name in NAMES]
    for (mine, cross), factor in zip(attention, FACTORS, strict=True):
        maps = torch.stack([cross[0][:, :, columns].double().mean(dim=2) for columns in places], dim=1)
        raw.append(maps.reshape(-1, len(NAMES), LATENT[0] // factor, LATENT[1] // factor))
        own.append(mine[0].double().mean(dim=0))
    return SimpleNamespace(query=query, raw=raw, own=own)


def answer(method: StableSeg, backbone: Diffusion, query: Query) -> Tensor:
    features = {request: found[0] for request, found in backbone.run([query], method.passes())}
    found: Tensor = method.read(features, query.vocabulary)
    assert found.dtype == torch.float32
    return found.double()


def close(found: Tensor, expected: Tensor, tolerance: float = 2e-4) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) < tolerance


def close_scaled(found: Tensor, maps: Tensor) -> None:
    """After scaling to 0..1, which enlarges float32's errors as much as the maps are flat: range against value."""
    flat = maps.abs().amax(dim=(1, 2)) / (maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2)))
    gaps = (found - minmax(maps)).abs().amax(dim=(1, 2))
    print(f"flatness {flat.tolist()}, gaps {gaps.tolist()}")
    assert bool((gaps < 2e-5 + 5e-6 * flat).all())


def up(maps: Tensor, size: tuple[int, int] = LATENT, mode: str = "bilinear") -> Tensor:
    return F.interpolate(maps[None], size=size, mode=mode, align_corners=False)[0]


def halved(maps: Tensor) -> Tensor:
    return maps.reshape(len(maps), LATENT[0] // 2, 2, LATENT[1] // 2, 2).mean(dim=(2, 4))


def minmax(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low)


def under(attention: Tensor, maps: Tensor) -> Tensor:
    return (attention @ maps.flatten(1).T).T.reshape(maps.shape)


def sides(seen: SimpleNamespace, factor: int) -> list[Tensor]:
    return [maps.mean(dim=0) for maps, other in zip(seen.raw, FACTORS, strict=True) if other == factor]


def own_of(seen: SimpleNamespace, *layers: int) -> Tensor:
    return torch.stack([seen.own[layer] for layer in layers]).mean(dim=0)


def test_diffsegmenter(seen: SimpleNamespace, backbone: Diffusion) -> None:
    total = torch.zeros(3, *LATENT, dtype=torch.float64)
    for factor, weight in ((8, 0.3), (4, 0.5), (2, 0.1), (1, 0.1)):
        total += weight * minmax(up(torch.stack(sides(seen, factor)).mean(dim=0)))
    expected = under(own_of(seen, 0, 1, 13, 14, 15), total)
    close_scaled(answer(DiffSegmenter(backbone.model, size=SIZE), backbone, seen.query), expected)


def test_iseg(seen: SimpleNamespace, backbone: Diffusion) -> None:
    total = torch.zeros(3, *LATENT, dtype=torch.float64)
    for factor, weight in ((4, 0.7), (2, 0.3)):
        for maps in sides(seen, factor):
            large = up(maps)
            total += weight / len(sides(seen, factor)) * large / large.sum(dim=(1, 2), keepdim=True)
    links = seen.own[14] / seen.own[14].amax(dim=0)
    links = (links + 0.015 * torch.log10(math.e * links)).clamp(min=0.0)
    links = links / links.sum(dim=1, keepdim=True)
    columns = total.flatten(1).T
    for _ in range(8):
        columns = links @ columns
        columns = columns - columns.amin(dim=0)
        columns = columns / columns.sum(dim=0)
    expected = minmax(columns.T.reshape(total.shape))
    close(answer(ISeg(backbone.model, size=SIZE), backbone, seen.query), expected, 2e-3)  # errors grow in each step


def test_fttm(backbone: Diffusion, ask: Ask, plain: SimpleNamespace) -> None:
    """On an image of which no position is so near the threshold that rounding decides."""
    inner = torch.full((1,), 0.5)
    while float((inner - 0.5).abs().min()) < 1e-4:
        seen = one_seen(backbone, ask, plain)
        total = torch.stack([up(seen.raw[layer].mean(dim=0)) for layer in range(4, 9)]).mean(dim=0)
        inner = minmax(halved(total))
    inner = inner * boxes(inner > 0.5)
    expected = minmax(up(minmax(under(seen.own[11] @ seen.own[11], inner))))
    close(answer(FTTM(backbone.model, size=SIZE, timestep=TIMESTEP), backbone, seen.query), expected)


def test_dataset_diffusion(seen: SimpleNamespace, backbone: Diffusion) -> None:
    total = torch.stack([up(maps, (8, 12), "bicubic") for maps in sides(seen, 4)]).mean(dim=0)
    attention = own_of(seen, 2, 3, 10, 11, 12)
    fourth = torch.linalg.matrix_power(attention, 4)
    unscaled = DatasetDiffusion(backbone.model, size=SIZE, class_norm="none")
    close(answer(unscaled, backbone, seen.query), under(fourth, total), 1e-5)
    once = DatasetDiffusion(backbone.model, size=SIZE, refine_power=1)  # four times leaves flat maps of random weights
    close_scaled(answer(once, backbone, seen.query), under(attention, total))


def test_daam(seen: SimpleNamespace, backbone: Diffusion) -> None:
    planes = []
    for maps, factor in zip(seen.raw, FACTORS, strict=True):
        if factor != 8:
            heads = [one if factor == 1 else up(one, mode="bicubic") for one in maps]
            planes.append(torch.stack(heads).clamp(min=0.0).mean(dim=0))
    close(answer(DAAM(backbone.model, size=SIZE), backbone, seen.query), torch.stack(planes).mean(dim=0))


def test_goca_vanilla(seen: SimpleNamespace, backbone: Diffusion) -> None:
    total = torch.stack([up(maps.mean(dim=0)) if len(maps[0, 0]) < 16 else maps.mean(dim=0) for maps in seen.raw])
    square = own_of(seen, 1, 13, 14) @ own_of(seen, 1, 13, 14)
    maps = under(square, total.mean(dim=0))
    maps = (maps / maps.sum(dim=0)).numpy()
    line = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    for axis in (1, 2):
        maps = correlate1d(maps, line / line.sum(), axis=axis, mode="nearest")
    close_scaled(answer(GoCAVanilla(backbone.model, size=SIZE), backbone, seen.query), torch.from_numpy(maps))


def test_a_single_class_is_not_divided_by_itself(backbone: Diffusion, ask: Ask) -> None:
    found = answer(GoCAVanilla(backbone.model, size=SIZE), backbone, ask("one", "dog"))
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)
    assert len(found.unique()) > 100


def recipes(model: str) -> list[Recipe]:
    """All diffusion recipes at four timesteps, each under its own refinement, StableSeg under three; and CLIPer."""
    uses = [f"{kind.__module__}:{kind.__name__}" for kind in (StableSeg, *FAMILY)]
    found = []
    for timestep in (1, 50, 100, 300):
        found += [Recipe.of(use, model=model, timestep=timestep) for use in uses]
        found += [Recipe.of(uses[0], model=model, timestep=timestep, refine=key) for key in ("none", "samap", "vote")]
        found.append(Recipe.of("methods.cliper:CLIPer", model="shapes", diffusion=model, timestep=timestep))
    return found


def test_all_diffusion_recipes_at_four_timesteps_cost_four_rows(small_model: str, ask: Ask) -> None:
    grid = recipes(small_model)
    shapes = Recipe.of("benchmarks.shapes:Shapes", images=1)
    plan = plans.make("family", [Cell(recipe, benchmark=shapes) for recipe in grid], batch=1)
    assert (plan.cost.passes, plan.cost.encodings) == (4 + 1, 1 + 1)  # and CLIP once, for CLIPer
    assert plan.cost.passes_unshared == len(grid) + 4
    requests: dict[Any, frozenset[str]] = {}
    for recipe in grid:
        method: Reader = loading.build(recipe)
        for request, parts in method.passes().items():
            requests[request] = requests.get(request, frozenset()) | parts
    wanted = {request: parts for request, parts in requests.items() if request.backbone.use.endswith("Diffusion")}
    (recipe,) = {request.backbone for request in wanted}
    network = loading.build(recipe)
    rows: list[int] = []
    handle = network.network.unet.conv_in.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    assert len(list(network.run([ask("one", "dog", "cat")], wanted))) == 4
    handle.remove()
    assert rows == [1, 1, 1, 1]


def test_every_relative_says_what_was_left_out() -> None:
    for kind in FAMILY:
        assert "Left out" in (kind.__doc__ or "")
