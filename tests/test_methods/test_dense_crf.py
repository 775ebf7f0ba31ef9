"""The dense CRF against mean field with explicit kernel matrices in double precision, its promises and sentences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from in_process import as_it_was

from harness.contracts import MethodError, Parts, Pass, Query, Reader, Recipe, Vocabulary
from harness.recipes.loading import build
from harness.work import arithmetic
from methods.clip import ClipPass
from methods.dense_crf import DenseCRF, log_shares, mean_field, symmetric
from methods.maskclip import MaskCLIP

ROOT = Path(__file__).parents[2]
TOY = ClipPass(Recipe("toy"))
MASKCLIP = "methods.maskclip:MaskCLIP(model=shapes)"
GIVEN = "gives_scores:GivesScores"


@dataclass(frozen=True)
class GivesScores:
    """Scores that were put into the features."""

    def passes(self) -> Mapping[Pass, Parts]:
        return {TOY: frozenset()}

    def read(self, features: Mapping[Pass, Any], vocabulary: Vocabulary) -> Any:
        return features[TOY].scores


@pytest.fixture(autouse=True)
def by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gives_scores", sys.modules[__name__])


def ask_crf(scores: torch.Tensor, image: np.ndarray, **settings: Any) -> torch.Tensor:
    names = Vocabulary(tuple((f"class {place}",) for place in range(len(scores))))
    held = SimpleNamespace(scores=scores, image=image)
    return DenseCRF(GIVEN, **settings).read({TOY: held}, names)


def explicit_kernel(image: np.ndarray, sxy: float, srgb: float | None) -> np.ndarray:
    """D^-1/2 K D^-1/2 over all pairs of pixels, a pair at a time, float64."""
    height, width, _ = image.shape
    pixels = [(y, x, image[y, x].astype(np.float64)) for y in range(height) for x in range(width)]
    kernel = np.empty((len(pixels), len(pixels)))
    for one, (y, x, colour) in enumerate(pixels):
        for two, (down, right, other) in enumerate(pixels):
            power = ((y - down) ** 2 + (x - right) ** 2) / (2 * sxy**2)
            power += 0.0 if srgb is None else ((colour - other) ** 2).sum() / (2 * srgb**2)
            kernel[one, two] = np.exp(-power)
    degree = kernel.sum(axis=1)
    return kernel / np.sqrt(degree[:, None] * degree[None])


def slow_mean_field(shares: np.ndarray, kernels: list[tuple[float, np.ndarray]], steps: int) -> np.ndarray:
    """Pixel by pixel, the energy of a label written as the cost of all labels that differ from it (Potts)."""
    now = shares.copy()
    for _ in range(steps):
        after = np.empty_like(now)
        for pixel in range(len(now)):
            costs = -np.log(shares[pixel])
            for label in range(now.shape[1]):
                for weight, kernel in kernels:
                    others = [other for other in range(now.shape[1]) if other != label]
                    costs[label] += weight * (kernel[pixel] @ now[:, others].sum(axis=1))
            likely = np.exp(-(costs - costs.min()))
            after[pixel] = likely / likely.sum()
        now = after
    return now


def test_mean_field_equals_a_loop_with_explicit_kernels(lots: np.random.Generator) -> None:
    image = lots.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    shares = lots.dirichlet(np.ones(4), 54)
    kernels = [(3.0, explicit_kernel(image, 1.5, None)), (4.5, explicit_kernel(image, 4.0, 60.0))]
    for steps in (0, 1, 5):
        found = mean_field(np.log(shares), [(weight, kernel.__matmul__) for weight, kernel in kernels], steps)
        np.testing.assert_allclose(found, slow_mean_field(shares, kernels, steps), rtol=0, atol=1e-12)


def test_the_whole_is_near_the_explicit_one(lots: np.random.Generator) -> None:
    """Scores, probabilities, kernels by the lattice and steps, on an image without noise, which the lattice likes."""
    y, x = np.indices((14, 19))
    image = np.stack([8 * y + 60, 7 * x + 40, 5 * (y + x) + 30], axis=-1).astype(np.uint8)
    scores = torch.from_numpy(lots.random((3, 14, 19)))
    settings = {"gaussian_sxy": 2.0, "gaussian_weight": 1.0, "bilateral_sxy": 6.0, "bilateral_srgb": 40.0}
    found = ask_crf(scores, image, unary="share", bilateral_weight=2.0, iterations=4, **settings)
    shares = scores.numpy() / scores.numpy().sum(axis=0)
    kernels = [(1.0, explicit_kernel(image, 2.0, None)), (2.0, explicit_kernel(image, 6.0, 40.0))]
    expected = slow_mean_field(shares.reshape(3, -1).T, kernels, 4).T.reshape(3, 14, 19)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=0), torch.ones(14, 19))
    off, moved = np.abs(found.numpy() - expected), np.abs(shares - expected)
    assert off.max() < 0.05  # 0.0095 in half of 500 drawings, 0.016 in one of a hundred, 0.021 in one
    assert off.mean() < 0.2 * moved.mean()


def test_symmetric_kernels_keep_the_root_of_the_degree(lots: np.random.Generator) -> None:
    """D^1/2 1 is what D^-1/2 K D^-1/2 leaves as it is; its values are near 1, so that weights mean what they say."""
    features = lots.random((400, 5)).astype(np.float32) * 3
    kernel = symmetric(features)
    ones = np.ones((400, 1), np.float32)
    root = ones
    for _ in range(300):
        root = kernel(root)
        root /= np.abs(root).max()
    np.testing.assert_allclose(kernel(root), root, rtol=1e-3)
    left, right = lots.standard_normal((2, 400, 2)).astype(np.float32)
    np.testing.assert_allclose(left.T @ kernel(right), kernel(left).T @ right, rtol=0, atol=1e-3)
    assert 0.8 < kernel(ones).mean() <= 1.0


def two_colours(lots: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image of a rectangle on a ground of another colour, and which pixels are the rectangle's."""
    truth = np.zeros((40, 56), np.int64)
    truth[7:33, 18:47] = 1
    image = np.where(truth[..., None] == 1, (200, 60, 40), (30, 90, 180)) + lots.integers(-9, 10, (40, 56, 3))
    return image.clip(0, 255).astype(np.uint8), truth


def test_noisy_and_coarse_scores_are_repaired(lots: np.random.Generator) -> None:
    image, truth = two_colours(lots)
    right = torch.from_numpy(truth == 1).float()[None]
    coarse = F.interpolate(right[None], size=(5, 7), mode="area")[0]
    flipped = torch.where(torch.from_numpy(lots.random((1, 40, 56)) < 0.3), 1 - right, right) * 0.5 + 0.25
    for one, unary, temperature in ((coarse, "softmax", 0.2), (coarse, "share", 1), (flipped, "share", 1)):
        scores = torch.cat([1 - one, one])
        share = {}
        for iterations in (0, 10):
            found = ask_crf(scores, image, unary=unary, temperature=temperature, iterations=iterations)
            assert found.shape == (2, 40, 56)
            share[iterations] = float((found.argmax(dim=0).numpy() == truth).mean())
        assert share[0] < 0.97 and share[10] > 0.995, (unary, share)
    for weight in ("gaussian_weight", "bilateral_weight"):
        assert not torch.equal(ask_crf(scores, image, unary="share", **{weight: 0}), found)
    assert ask_crf(scores, image, short_side=20).shape == (2, 20, 28)
    assert ask_crf(scores, image, short_side=400).shape == (2, 40, 56)


def test_permuting_classes_permutes_the_answer(lots: np.random.Generator) -> None:
    image, scores = lots.integers(0, 256, (21, 33, 3), dtype=np.uint8), torch.from_numpy(lots.random((6, 7, 11)))
    turn = torch.from_numpy(lots.permutation(6))
    settings = {"unary": "share", "gaussian_weight": 1, "bilateral_weight": 1}
    found = ask_crf(scores, image, **settings)
    torch.testing.assert_close(ask_crf(scores[turn], image, **settings), found[turn], rtol=1e-3, atol=1e-5)
    assert torch.equal(ask_crf(scores, image, **settings), found)


def test_one_class_and_none(lots: np.random.Generator) -> None:
    image = lots.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    for unary in ("share", "softmax"):
        assert torch.equal(ask_crf(torch.rand(1, 4, 5), image, unary=unary), torch.ones(1, 12, 17))
        none = ask_crf(torch.zeros(0, 4, 5), image, unary=unary)
        assert (none.shape, none.dtype) == ((0, 12, 17), torch.float32)


def test_scores_become_probabilities(lots: np.random.Generator) -> None:
    scores = lots.random((50, 4)) + 0.01
    by_share = np.exp(log_shares(scores, "share"))
    np.testing.assert_allclose(by_share, scores / scores.sum(axis=1, keepdims=True), rtol=1e-9)
    squared = np.exp(log_shares(scores, "share", 0.5))
    np.testing.assert_allclose(squared, scores**2 / (scores**2).sum(axis=1, keepdims=True), rtol=1e-9)
    for temperature in (None, 0.5):
        hot = np.exp(scores / (temperature or 0.01))
        shares = np.maximum(hot / hot.sum(axis=1, keepdims=True), 1e-5)
        expected = shares / shares.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.exp(log_shares(scores, "softmax", temperature)), expected, rtol=1e-9)
    empty = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 3.0]], np.float32)
    found = np.exp(log_shares(empty, "share"))
    np.testing.assert_allclose(found, [[1 / 3] * 3, [1e-5, 0.25, 0.75]], rtol=1e-4)


@pytest.mark.parametrize("inner", [MASKCLIP, "methods.stableseg:StableSeg(model=SMALL, size=32, refine=samap)"])
def test_it_stands_around_readers_of_both_families(inner: str, small_model: str, ask: Callable[..., Query]) -> None:
    query = ask("one", "cat", "dog")
    method = DenseCRF(inner.replace("SMALL", small_model), unary="softmax" if "CLIP" in inner else "share")
    assert isinstance(method, Reader)
    assert method.passes() == method.inner.passes()
    ((request, parts),) = method.passes().items()
    ((_, (held,)),) = build(request.backbone).run([query], {request: parts})
    before = method.inner.read({request: held}, query.vocabulary)
    found = method.read({request: held}, query.vocabulary)
    assert torch.equal(method.read({request: held}, query.vocabulary), found)
    assert torch.equal(method.inner.read({request: held}, query.vocabulary), before)
    large = F.interpolate(before[None], size=query.image.shape[:2], mode="bilinear")[0].double().numpy()
    known = log_shares(large.reshape(2, -1).T, method.unary)
    image = method.pixels({request: held}, None).permute(1, 2, 0).numpy() * np.float32(255)
    np.testing.assert_allclose(image, query.image, rtol=1e-6)
    expected = mean_field(known, method.kernels(image), 10).T.reshape(2, 37, 53)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-3)


def test_bits_do_not_depend_on_the_number_of_threads(lots: np.random.Generator) -> None:
    scores = torch.from_numpy(lots.random((5, 48, 64), dtype=np.float32))
    held = SimpleNamespace(image=lots.integers(0, 256, (190, 250, 3), dtype=np.uint8), latent=(48, 64))
    method = DenseCRF(MASKCLIP, unary="share")
    object.__setattr__(method, "inner", SimpleNamespace(read=lambda *_: scores))
    found = []
    with as_it_was(ROOT):
        for threads in (1, 2):
            arithmetic.prepare_torch(threads)
            assert torch.get_num_threads() == threads
            found.append(method.read({TOY: held}, Vocabulary((("a",),) * 5)))
    assert torch.equal(*found) and found[0].std() > 0


def test_the_inner_methods_files_are_part_of_its_identity() -> None:
    assert DenseCRF(MASKCLIP).fingerprint() == MaskCLIP("shapes").fingerprint() != ""


def test_wrong_settings_and_scores_are_said() -> None:
    for settings, says in (
        ({"method": "methods.controls:OneClass"}, "DenseCRF refines the scores of a reader, and .* has no `passes`"),
        ({"method": MASKCLIP, "unary": "log"}, "unary is 'log'; it can be 'softmax' or 'share'"),
        ({"method": MASKCLIP, "temperature": 0}, "temperature is 0; give a number of 0.000001 or more"),
        ({"method": MASKCLIP, "bilateral_srgb": -1.0}, "bilateral_srgb is -1.0; give a number"),
        ({"method": MASKCLIP, "gaussian_sxy": float("nan")}, "gaussian_sxy is nan; give a number"),
        ({"method": MASKCLIP, "gaussian_weight": -3.0}, "gaussian_weight is -3.0; give 0 or more"),
        ({"method": MASKCLIP, "bilateral_weight": float("inf")}, "bilateral_weight is inf; give 0 or more"),
        ({"method": MASKCLIP, "iterations": -1}, "iterations is -1; give 0 or more"),
        ({"method": MASKCLIP, "short_side": 1}, "DenseCRF's short side is 1; give at least 2"),
    ):
        with pytest.raises(MethodError, match=says):
            DenseCRF(**settings)
    image = np.zeros((9, 12, 3), np.uint8)
    with pytest.raises(MethodError, match=r"a score is -0\.25; shares need scores of 0 or more: set unary"):
        ask_crf(torch.full((2, 3, 4), -0.25), image, unary="share")
    with pytest.raises(MethodError, match="DenseCRF needs the image, and none of the passes' features offer `image`"):
        ask_crf(torch.zeros(2, 3, 4), None)  # type: ignore[arg-type]


def test_planning_needs_no_torch_and_no_scipy() -> None:
    code = (
        f"import sys; from methods.dense_crf import DenseCRF; DenseCRF({MASKCLIP!r}).fingerprint()\n"
        "print([name for name in ('torch', 'transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
