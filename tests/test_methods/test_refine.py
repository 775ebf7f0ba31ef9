"""Every refiner against its formula on explicit attention matrices in float64, and what all refiners keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.contracts import MethodError
from methods.diffusion.features import DiffusionFeatures
from methods.diffusion.layers import Layer
from methods.diffusion.maps import scaled
from methods.diffusion.places import places_of
from methods.diffusion.prompts import Prompt
from methods.diffusion.together import Together
from methods.refine import REFINERS, refiner
from methods.refine.box import boxes
from methods.refine.multiscale import enlarging
from methods.refine.spread import above_otsu
from methods.refine.vote import anchor_positions, merged
from methods.stableseg import StableSeg

LATENT = (12, 20)
FACTORS = (1, 2, 4, 4, 2, 1, 1)
PATHS = ("down", "down", "down", "mid", "up", "up", "up")


@pytest.fixture
def features(lots: np.random.Generator) -> DiffusionFeatures:
    return attention_of(int(lots.integers(1 << 30)))


def attention_of(seed: int) -> DiffusionFeatures:
    """Attention of two prompts in seven layers, 3 heads of width 5, random but smooth enough to hold regions."""
    layers = tuple(
        Layer(index, f"{path}_blocks.{index}", factor, (LATENT[0] // factor, LATENT[1] // factor))
        for index, (path, factor) in enumerate(zip(PATHS, FACTORS, strict=True))
    )
    torch.manual_seed(seed)
    own = {}
    for layer in layers:
        count = layer.resolution[0] * layer.resolution[1]
        own[layer.index] = [(2 * torch.randn(2, 3, count, 5), 2 * torch.randn(2, 3, count, 5))]
    return features_of(layers, LATENT, 2, own)


def features_of(layers: tuple[Layer, ...], latent: tuple[int, int], prompts: int, own: Any) -> DiffusionFeatures:
    """Of one image without names."""
    places = places_of([Prompt("", ())] * prompts, 8, torch.device("cpu"))
    return DiffusionFeatures(Together(layers, latent, (latent,), (places,), own=own))


@pytest.fixture
def maps(features: DiffusionFeatures) -> Tensor:
    return torch.rand(4, *LATENT)


def explicit(features: DiffusionFeatures, *indices: int, rows: int = 2) -> Tensor:
    """S in float64 by the formula."""
    parts = [
        (query.double() @ key.double().T / 5**0.5).softmax(dim=-1)
        for index in indices
        for queries, keys in features.alone.own[index]
        for query, key in zip(queries[:rows].flatten(0, 1), keys[:rows].flatten(0, 1), strict=True)
    ]
    return torch.stack(parts).mean(dim=0)


def shrunk(maps: Tensor) -> Tensor:
    """Means of 2 x 2 cells, (classes, 12, 20) -> (classes, 6, 10)."""
    return maps.double().reshape(len(maps), 6, 2, 10, 2).mean(dim=(2, 4))


def enlarged(maps: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(maps[None], size=LATENT, mode="bilinear", align_corners=False)[0]


def flat(maps: Tensor) -> Tensor:
    return maps.double().flatten(1).T


def shaped(columns: Tensor, height: int = 12, width: int = 20) -> Tensor:
    return columns.T.reshape(-1, height, width)


def minmax(columns: Tensor) -> Tensor:
    low, high = columns.amin(dim=0), columns.amax(dim=0)
    return (columns - low) / (high - low)


def agree(found: Tensor, expected: Tensor, share: float = 1e-4) -> bool:
    assert found.dtype == torch.float32
    return float((found.double() - expected).abs().max() / expected.abs().max()) < share


def test_sar_and_samap(features: DiffusionFeatures, maps: Tensor) -> None:
    assert agree(refiner("sar").refine(maps, features), shaped(explicit(features, 0, 5, 6) @ flat(maps)))
    fourth = torch.linalg.matrix_power(explicit(features, 1, 4), 4)
    assert agree(refiner("samap").refine(maps, features), enlarged(shaped(fourth @ flat(shrunk(maps)), 6, 10)))
    assert torch.equal(refiner("none").refine(maps, features), maps)
    first = explicit(features, 0, 5, 6, rows=1)
    assert agree(refiner("sar", rows="first").refine(maps, features), shaped(first @ flat(maps)))
    squared = torch.linalg.matrix_power(explicit(features, 5), 2)
    assert agree(refiner("apply(resolution=5, power=2)").refine(maps, features), shaped(squared @ flat(maps)))


def test_box(features: DiffusionFeatures) -> None:
    """On maps of which no cell is so near the threshold that rounding decides."""
    drawn = (torch.rand(4, *LATENT) for _ in range(100))
    maps = next(one for one in drawn if float((minmax(flat(shrunk(one))) - 0.7).abs().min()) > 1e-5)
    small = shaped(minmax(flat(shrunk(maps))), 6, 10)
    inside = torch.zeros_like(small)
    for plane, cells in zip(inside, small, strict=True):
        hot, seen = {tuple(cell) for cell in (cells > 0.7).nonzero().tolist()}, set()
        for start in sorted(hot):
            region, front = set(), [start]
            while front and start not in seen:
                row, column = front.pop()
                region.add((row, column))
                around = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
                front += [cell for cell in around & hot if cell not in region and cell not in front]
            seen |= region
            if region:
                rows, columns = [cell[0] for cell in region], [cell[1] for cell in region]
                plane[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = 1.0
    kept = inside.flatten(1)  # B_c: the same for every row of S
    square = torch.linalg.matrix_power(explicit(features, 1, 4), 2)
    expected = torch.stack([(square * kept[c]) @ small[c].flatten() for c in range(4)], dim=1)
    assert agree(refiner("box(threshold=.7)").refine(maps, features), enlarged(shaped(minmax(expected), 6, 10)))


def test_boxes_of_a_known_picture() -> None:
    mask = torch.zeros(1, 5, 7, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[0, 4, 3] = mask[0, 4, 6] = True
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[:2, :2] = expected[4, 3] = expected[4, 6] = True
    assert torch.equal(boxes(mask)[0], expected)


def test_iterate(features: DiffusionFeatures, maps: Tensor) -> None:
    links = explicit(features, 0, 5, 6)
    links = links / links.max(dim=0).values
    links = torch.clamp(links + 0.05 * torch.log10(np.e * links), min=0.0)
    links = links / links.sum(dim=1, keepdim=True)
    columns = flat(maps)
    for _ in range(3):
        columns = links @ columns
        columns = columns - columns.min(dim=0).values
        columns = columns / columns.sum(dim=0)
    assert agree(refiner("iterate(gamma=.05, steps=3)").refine(maps, features), shaped(columns), 1e-3)


def test_two_level(features: DiffusionFeatures, maps: Tensor) -> None:
    first = (explicit(features, 0) + explicit(features, 5, 6)) / 2
    expected = explicit(features, 5, 6) @ first @ flat(maps)
    assert agree(refiner("two_level").refine(maps, features), shaped(expected))


def test_multiscale(features: DiffusionFeatures, maps: Tensor) -> None:
    total = torch.zeros(240, 240, dtype=torch.float64)
    for layer in features.layers:
        height, width = layer.resolution
        keys = explicit(features, layer.index).reshape(-1, 1, height, width)
        keys = torch.nn.functional.interpolate(keys, size=LATENT, mode="bilinear", align_corners=False).flatten(1)
        tiled = keys.reshape(height, width, 240)
        tiled = tiled.repeat_interleave(layer.factor, dim=0).repeat_interleave(layer.factor, dim=1).reshape(240, 240)
        total += height * tiled / tiled.sum(dim=1, keepdim=True)
    total /= sum(layer.resolution[0] for layer in features.layers)
    assert agree(refiner("multiscale").refine(maps, features), shaped(total @ flat(maps)))
    assert agree(refiner("multiscale(power=2)").refine(maps, features), shaped(total @ total @ flat(maps)))
    torch.testing.assert_close(enlarging(5, 10).sum(dim=1), torch.ones(10))


def test_spread() -> None:
    features, maps = attention_of(7), torch.rand(4, *LATENT)  # a fixed seed: at a threshold, rounding decides
    sides = {(3, 5): (2, 3), (6, 10): (1, 4), (12, 20): (0, 5, 6)}
    here = maps.double()
    for side, indices in sides.items():
        how = "area" if side[0] < here.shape[1] else "bilinear"
        here = torch.nn.functional.interpolate(here[None], size=side, mode=how)[0]
        columns = minmax(flat(here))
        attention = explicit(features, *indices)
        likeness = torch.nn.functional.cosine_similarity(attention[:, None], attention[None], dim=-1)
        seeds = above_otsu((columns.T**2).float()).double()
        here = shaped(minmax(likeness @ seeds.T), *side)
    assert agree(refiner("spread").refine(maps, features), here, 1e-3)


def test_otsu_finds_the_gap(lots: np.random.Generator) -> None:
    low, high = lots.uniform(0.05, 0.3, 90), lots.uniform(0.7, 0.95, 30)
    values = torch.from_numpy(np.concatenate([low, high])).float()[None]
    assert above_otsu(values)[0].tolist() == [False] * 90 + [True] * 30
    assert not above_otsu(torch.zeros(1, 50)).any()


def test_vote_on_blocks() -> None:
    """Attention of two separate halves: every half takes its mean, or its majority."""
    attention = torch.block_diag(torch.full((20, 20), 1 / 20), torch.full((40, 40), 1 / 40))
    regions = merged(attention, anchor_positions((6, 10), 3), 1.0, 3)
    members = sorted(row.gt(0).nonzero().flatten().tolist() for row in regions)
    assert members == [list(range(20)), list(range(20, 60))]
    layer = Layer(0, "down_blocks.0", 1, (6, 10))
    features = features_of((layer,), (6, 10), 1, {})
    features.self_attention = lambda *_: attention  # type: ignore[method-assign]
    maps = torch.rand(2, 6, 10)
    maps[0, :2] += 0.2
    found = refiner("vote").refine(maps, features)
    torch.testing.assert_close(found[:, 0, 0], maps[:, :2].mean(dim=(1, 2)))
    torch.testing.assert_close(found[:, 5, 9], maps[:, 2:].mean(dim=(1, 2)))
    assert set(refiner("vote(take=majority)").refine(maps, features).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("key", REFINERS)
def test_what_all_refiners_keep(key: str, features: DiffusionFeatures, maps: Tensor) -> None:
    chosen = refiner(key)
    assert all(part.startswith("self:") for part in chosen.parts())
    found = chosen.refine(maps, features)
    assert found.shape == maps.shape
    assert torch.isfinite(found).all()
    turned = chosen.refine(maps.flip(0), features)
    enlarged = 5e-5 if key == "box" else 1e-6  # what is scaled to 0..1 at the end is flat before: so is its rounding
    torch.testing.assert_close(turned.flip(0), found, rtol=1e-4, atol=enlarged)
    flat_maps = chosen.refine(torch.full_like(maps, 0.25), features)
    assert torch.isfinite(flat_maps).all()
    if key in ("none", "sar", "samap", "apply", "power", "two_level", "multiscale"):
        torch.testing.assert_close(flat_maps, torch.full_like(maps, 0.25), rtol=1e-5, atol=0)
        assert float(found.min()) >= float(maps.min()) - 1e-6
        assert float(found.max()) <= float(maps.max()) + 1e-6


def test_unknown_refiners_and_settings_are_said() -> None:
    for text, message in {
        "sra": "no refiner 'sra'; there are none, sar, samap",
        "sar(strength=3)": "'sar' has no setting 'strength'; it has resolution, power, rows",
        "sar(power)": "'power' is no list of settings of the form name=value",
        "sar(power=[2)": "is no list of settings",
        "missing.module:Thing": "cannot be imported",
    }.items():
        with pytest.raises(MethodError, match=message.replace("(", r"\(")):
            refiner(text)
    assert refiner("methods.refine.apply:Apply(power=3)") == refiner("sar(power=3)")
    assert refiner("samap", power=2, resolution=None) == refiner("apply(resolution=second,power=2)")
    assert refiner("sar(resolution='1/2', power = 2)") == refiner("sar(resolution=1/2,power=2)")
    for gamma in ("1e-3", ".001", "0.001", "1.0E-3"):
        assert refiner(f"iterate(gamma={gamma})") == refiner("iterate", gamma=0.001)


def test_a_refiner_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maps: Tensor) -> None:
    source = (
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Dim:\n    share: float = 0.5\n\n"
        "    def parts(self):\n        return frozenset()\n\n    def refine(self, maps, features):\n"
        "        return maps * self.share\n\nclass Loose:\n    pass\n"
    )
    (tmp_path / "dimming_refiner.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    method = StableSeg(refine="dimming_refiner:Dim(share=.25)")
    assert torch.equal(method.refiner.refine(maps, None), maps * 0.25)  # type: ignore[arg-type]
    assert StableSeg(refine="sar").fingerprint() == ""
    with pytest.raises(MethodError, match="cannot be imported as a dataclass"):
        refiner("dimming_refiner:Loose")


def test_scales() -> None:
    maps = torch.stack([torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.full((2, 2), 0.7), torch.zeros(2, 2)])
    assert torch.equal(scaled(maps, "minmax")[0], torch.tensor([[0.0, 0.5], [0.25, 1.0]]))
    assert torch.equal(scaled(maps, "minmax")[1:], torch.zeros(2, 2, 2))
    assert torch.equal(scaled(maps + 1e-9 * torch.rand(3, 2, 2), "minmax")[1], torch.zeros(2, 2))
    almost = torch.nextafter(torch.full((1, 2, 3), 0.7), torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
    assert len(almost.unique()) == 2, "constant but for rounding"
    assert torch.equal(scaled(almost, "minmax"), torch.zeros(1, 2, 3))
    for how in ("max", "sum", "softmax"):
        assert torch.isfinite(scaled(maps, how)).all()
    torch.testing.assert_close(scaled(maps, "sum")[0].sum(), torch.tensor(1.0))
    torch.testing.assert_close(scaled(maps, "softmax").sum(dim=0), torch.ones(2, 2))
    with pytest.raises(MethodError, match="no scale 'log'"):
        scaled(maps, "log")
