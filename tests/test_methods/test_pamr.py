"""PAMR against a loop over pixels in double precision, around readers of either family, and its sentences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import averaged
from toy_cells import Cell

from harness.contracts import (
    Finisher,
    MethodError,
    Parts,
    Pass,
    ProtocolSettings,
    Query,
    Reader,
    Recipe,
    Vocabulary,
    widened,
)
from harness.planning import plan as plans
from harness.protocol.offering import scored_truth
from harness.protocol.views import queries, resized_image, tiling
from harness.recipes.loading import build
from harness.work.scoring import overlaps
from harness.work.worker import ShardWorker
from methods.calls import built
from methods.clip import ClipPass
from methods.maskclip import MaskCLIP
from methods.naclip import NACLIP
from methods.pamr import PAMR, affinities, spread

TOY = ClipPass(Recipe("toy"))
MASKCLIP = "methods.maskclip:MaskCLIP(model=shapes)"


@dataclass(frozen=True)
class GivesScores:
    """Scores that were put into the features."""

    factor: float = 1.0

    def passes(self) -> Mapping[Pass, Parts]:
        return {TOY: frozenset()}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return features[TOY].scores * self.factor


def slow_pamr(image: np.ndarray, maps: np.ndarray, dilations: tuple[int, ...], times: int) -> np.ndarray:
    """Pixel by pixel, in float64: image (height, width, 3) on 0..1, maps (classes, height, width)."""
    height, width, _ = image.shape
    steps = [(a * d, b * d) for d in dilations for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    for _ in range(times):
        after = np.zeros_like(maps)
        for y in range(height):
            for x in range(width):
                near = [(min(max(y + a, 0), height - 1), min(max(x + b, 0), width - 1)) for a, b in steps]
                colours = np.array([image[place] for place in near])
                pool = np.concatenate([colours, np.repeat(image[y, x][None], len(dilations), axis=0)])
                unlike = np.abs(colours - image[y, x]) / (1e-8 + 0.1 * pool.std(axis=0, ddof=1))
                weight = np.exp(-unlike.mean(axis=1))
                weight /= weight.sum()
                after[:, y, x] = sum(w * maps[:, a, b] for w, (a, b) in zip(weight, near, strict=True))
        maps = after
    return maps


def test_affinities_and_spreading_equal_a_loop_over_pixels(lots: np.random.Generator) -> None:
    image, maps = lots.random((9, 13, 3)), lots.standard_normal((4, 9, 13))
    for dilations, times in (((1,), 1), ((1, 3), 3), ((2, 20), 2)):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        weights = affinities(pixels, dilations)
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(9, 13))
        found = spread(torch.from_numpy(maps).float(), weights, dilations, times)
        np.testing.assert_allclose(found.double().numpy(), slow_pamr(image, maps, dilations, times), rtol=0, atol=2e-5)


def test_scores_are_drawn_to_the_images_edges(lots: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse, blurred map of two regions: after refinement far more pixels are right."""
    monkeypatch.setitem(sys.modules, "gives_scores", sys.modules[__name__])
    truth = np.zeros((40, 56), np.int64)
    truth[7:33, 18:47] = 1
    image = np.where(truth[..., None] == 1, (200, 60, 40), (30, 90, 180)) + lots.integers(-9, 10, (40, 56, 3))
    coarse = F.interpolate(torch.from_numpy(truth == 1).float()[None, None], size=(5, 7), mode="area")[0]
    held = SimpleNamespace(scores=torch.cat([1 - coarse, coarse]), image=image.clip(0, 255).astype(np.uint8))
    vocabulary = Vocabulary((("a",), ("b",)))
    share = {}
    for iterations in (0, 10):
        method = PAMR("gives_scores:GivesScores", iterations=iterations, dilations=(1, 2, 4))
        found = method.read({TOY: held}, vocabulary)
        assert found.shape == (2, 40, 56)
        assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0 + 1e-5
        share[iterations] = float((found.argmax(dim=0).numpy() == truth).mean())
    assert share[10] > share[0] + 0.02, share
    small = PAMR("gives_scores:GivesScores(factor=2)", short_side=20).read({TOY: held}, vocabulary)
    assert small.shape == (2, 20, 28)


def test_classes_in_slices_are_the_same(lots: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gives_scores", sys.modules[__name__])
    image = lots.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    held = SimpleNamespace(scores=torch.from_numpy(lots.random((7, 4, 5))), image=image)
    method, names = PAMR("gives_scores:GivesScores"), Vocabulary(tuple((str(place),) for place in range(7)))
    whole = method.read({TOY: held}, names)
    monkeypatch.setattr("methods.pamr.SLICE", 2 * 12 * 17)
    assert torch.equal(method.read({TOY: held}, names), whole)


@pytest.mark.parametrize("inner", [MASKCLIP, "methods.stableseg:StableSeg(model=SMALL, size=32, refine=samap)"])
def test_it_stands_around_readers_of_both_families(inner: str, small_model: str, ask: Callable[..., Query]) -> None:
    query = ask("one", "cat", "dog")
    method = PAMR(inner.replace("SMALL", small_model), dilations=(1, 2))
    assert isinstance(method, Reader)
    assert method.passes() == method.inner.passes()
    ((request, parts),) = method.passes().items()
    ((_, (held,)),) = build(request.backbone).run([query], {request: parts})
    found = method.read({request: held}, query.vocabulary)
    assert found.shape == (2, *query.image.shape[:2])
    inside = F.interpolate(method.inner.read({request: held}, query.vocabulary)[None], size=(37, 53), mode="bilinear")
    expected = slow_pamr(query.image / 255.0, inside[0].double().numpy(), (1, 2), 10)
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=0, atol=1e-4)


def test_calls() -> None:
    assert built("methods.naclip:NACLIP") == NACLIP()
    called = built("methods.stableseg:StableSeg( layers=[4, '1/2'], layer_weights=\"1/4:.3, 1/2:.7\", timestep = 9 )")
    assert (called.layers, called.layer_weights, called.timestep) == ((4, "1/2"), "1/4:.3, 1/2:.7", 9)
    assert built("methods.maskclip:MaskCLIP(key_smoothing=true, revision=null)") == MaskCLIP(key_smoothing=True)
    for text, says in {
        "maskclip": "names no method: write module:Class",
        "methods.nothing:X": "No module named 'methods.nothing'",
        "methods.maskclip:X": "has no attribute 'X'",
        "methods.maskclip:MaskCLIP(colour=1)": "unexpected keyword",
        "methods.maskclip:MaskCLIP(form)": "is no list of settings",
        "methods.maskclip:MaskCLIP(form=&)": "'&' is no value",
        "methods.maskclip:MaskCLIP(form=x)": "form is 'x'",
    }.items():
        with pytest.raises(MethodError, match=says):
            built(text)


def test_the_inner_methods_files_are_part_of_its_identity() -> None:
    assert PAMR(MASKCLIP).fingerprint() == MaskCLIP("shapes").fingerprint() != ""


def test_wrong_settings_are_said() -> None:
    for settings, says in (
        ({"method": "methods.controls:OneClass"}, "has no `passes` and `read`"),
        ({"method": MASKCLIP, "iterations": -1}, "was given -1 iterations"),
        ({"method": MASKCLIP, "dilations": (0,)}, "dilations of 1 pixel or more"),
        ({"method": MASKCLIP, "short_side": 1}, "short side is 1"),
    ):
        with pytest.raises(MethodError, match=says):
            PAMR(**settings)


def test_features_without_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gives_scores", sys.modules[__name__])
    held = SimpleNamespace(scores=torch.zeros(1, 4, 4))
    with pytest.raises(MethodError, match="none of the passes' features offer `image`"):
        PAMR("gives_scores:GivesScores").read({TOY: held}, Vocabulary((("a",),)))


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from methods.pamr import PAMR; from methods.cliper import CLIPer\n"
        f"PAMR({MASKCLIP!r}).fingerprint(); CLIPer('shapes', diffusion='shapes').passes()\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "rules", [{"window": 48, "stride": 32}, {"resize": "short", "size": 64, "window": 48, "stride": 32}]
)
def test_under_windows_it_refines_what_was_merged_at_the_truths_size(rules: dict[str, Any]) -> None:
    """As NACLIP: logits of windows averaged, enlarged to the original size, refined there once, then decided."""
    benchmark, rule = Recipe.of("benchmarks.shapes:Shapes", images=1), ProtocolSettings("all", **rules)
    method = Recipe.of("methods.pamr:PAMR", method=MASKCLIP, iterations=3, dilations=(1, 4))
    (planned,) = plans.make("x", [Cell(method, benchmark=benchmark, protocol=rule)], 1).runs
    (shard,) = plans.make("x", [Cell(method, benchmark=benchmark, protocol=rule)], 1).shards(1)
    (row,) = [row for done in ShardWorker().run(shard) for row in done.rows]
    assert row.status == "ok", row.error

    world = build(benchmark)
    sample = world.load(world.ids()[0])
    offered = Vocabulary(tuple((name,) for name in world.classes))
    assert isinstance(build(planned.run.method), Finisher)
    inner = built(planned.run.method.as_dict()["method"])
    cut, pieces = tiling(sample.truth.shape, rule), []
    for query in queries("x", sample.image, offered, cut):
        ((request, parts),) = inner.passes().items()
        ((_, (held,)),) = build(request.backbone).run([query], {request: parts})
        pieces.append(inner.read({request: held}, offered).double().numpy())
    merged = averaged(pieces, [tuple(box) for box in cut.boxes], cut.size)
    size = sample.truth.shape
    large = F.interpolate(torch.from_numpy(merged).float()[None], size=size, mode="bilinear")[0]
    shown = torch.from_numpy(resized_image(sample.image, cut.size).copy()).permute(2, 0, 1)[None] / 255
    pixels = F.interpolate(shown, size=size, mode="bilinear")[0]
    refined = spread(large, affinities(pixels, (1, 4)), (1, 4), 3)
    wanted = overlaps(scored_truth(widened(sample.truth), rule), (refined.argmax(dim=0).numpy() + 1).astype(np.uint16))
    moved = np.zeros((12, 12), int)
    np.add.at(moved, (row.true, row.predicted), row.pixels)
    np.subtract.at(moved, (wanted.true, wanted.predicted), wanted.pixels)
    assert np.abs(moved).sum() <= 2e-3 * row.pixels.sum()
