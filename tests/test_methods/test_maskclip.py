"""MaskCLIP's smoothing and denoising against explicit loops, and the family on the shipped, really trained CLIP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.shapes import Shapes
from harness.contracts import Query, Vocabulary
from methods.checkpoints import SHIPPED
from methods.clip import Clip, ClipReader
from methods.clip.pixels import Tiling
from methods.maskclip import DROPPED, MaskCLIP, denoised, smoothed
from methods.plain_clip import CLIP


def cosines(seed: int, classes: int = 4, height: int = 3, width: int = 5, spread: float = 0.02) -> Tensor:
    return 0.2 + spread * torch.randn(classes, height, width, generator=torch.Generator().manual_seed(seed))


def probabilities(scores: Tensor) -> np.ndarray:
    """(places, classes): softmax of 100 cosines, one place after the other."""
    shares = []
    for row in range(scores.shape[1]):
        for column in range(scores.shape[2]):
            powers = [math.exp(100 * float(score)) for score in scores[:, row, column]]
            shares.append([power / sum(powers) for power in powers])
    return np.array(shares)


@pytest.mark.parametrize("norm", ["channel", "position"])
@pytest.mark.parametrize("threshold", [1.0, 0.6])
def test_smoothing_equals_loops(norm: str, threshold: float, seed: int) -> None:
    """On scores of which none is so near the threshold that rounding decides."""
    drawn = map(cosines, count(seed))
    scores = next(one for one in drawn if np.abs(probabilities(one).max(axis=1) - threshold).min() > 1e-5)
    keys = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(seed + 1))
    shares, flat = probabilities(scores), keys.reshape(15, 8).double().numpy()
    lengths = np.sqrt((flat**2).sum(axis=1 if norm == "channel" else 0, keepdims=True))
    flat = flat / lengths
    wanted = shares.copy()
    for place in range(15):
        if shares[place].max() < threshold:
            wanted[place] = sum(float(flat[place] @ flat[other]) * shares[other] for other in range(15))
    found = smoothed(scores, keys, norm, threshold)
    assert found.shape == scores.shape
    assert np.allclose(found.permute(1, 2, 0).reshape(15, 4).numpy(), wanted, atol=1e-4)
    changed = (np.abs(wanted - shares).max(axis=1) > 1e-6).sum()
    assert changed == 15 if threshold == 1.0 else changed == (shares.max(axis=1) < threshold).sum()


def test_smoothing_of_one_key_everywhere_gives_every_place_the_same(seed: int) -> None:
    found = smoothed(cosines(seed), torch.ones(3, 5, 8), "channel", 1.0)
    assert torch.allclose(found, found[:, :1, :1].expand_as(found), atol=1e-5)


def test_denoising_equals_a_loop() -> None:
    scores = torch.full((3, 2, 4), 0.20)
    scores[0, 0, 1] += 0.03  # class 0 is sure somewhere, class 1 is so-so at best, class 2 never stands out
    scores[1, 1, 2] += 0.004
    surest = probabilities(scores).max(axis=0)
    assert surest[0] > 0.5 > surest[1] > surest[2]
    for threshold in (0.5, 0.4):
        found = denoised(scores[None], threshold)[0]
        for place in range(3):
            kept = surest[place] >= threshold
            assert torch.equal(found[place], scores[place] if kept else torch.full((2, 4), DROPPED))
    assert (denoised(scores[None], 0.4)[0, 1] > 0).all() and (denoised(scores[None], 0.4)[0, 2] < 0).all()


def test_denoising_keeps_the_surest_class_where_all_are_unsure() -> None:
    scores = torch.full((3, 2, 4), 0.20)
    scores[1, 0, 0] += 0.001
    found = denoised(scores[None], 0.9)[0]
    assert torch.equal(found[1], scores[1]) and (found[[0, 2]] == DROPPED).all()


class Fixed:
    """Features whose embeddings and keys are given; remembers what form was asked for."""

    def __init__(self, scores: Tensor, keys: Tensor):
        self.given, self.held, self.tiling, self.asked = scores, keys, Tiling((3, 5), (3, 5), ((0, 0),), 1), {}

    def embeddings(self, attention: object, **asked: bool) -> Tensor:
        self.asked = asked
        return self.given[None]

    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        return embeddings

    def keys(self) -> Tensor:
        return self.held[None]


@pytest.mark.parametrize(("form", "kept"), [("published", True), ("value", False)])
def test_settings_choose_form_and_refinement(form: str, kept: bool, seed: int) -> None:
    scores, keys = cosines(seed), torch.randn(3, 5, 8)
    features, vocabulary = Fixed(scores, keys), Vocabulary((("a",), ("b",), ("c",), ("d",)))

    def read(**settings: object) -> Tensor:
        reader = MaskCLIP(form=form, **settings)  # type: ignore[arg-type]
        return reader.read({reader.clip_pass: features}, vocabulary)

    assert torch.equal(read(), scores) and features.asked == {"residual": kept, "feedforward": kept}
    assert torch.equal(read(prompt_denoising=True, pd_threshold=0.9), denoised(scores[None], 0.9)[0])
    smooth = read(key_smoothing=True, ks_norm="position", ks_threshold=0.7)
    assert torch.equal(smooth, smoothed(scores, keys, "position", 0.7))
    both = read(key_smoothing=True, prompt_denoising=True, pd_threshold=0.9)
    assert torch.equal(both, smoothed(denoised(scores[None], 0.9)[0], keys, "channel", 1.0))


IMAGES = 48


def predictions(readers: dict[str, ClipReader]) -> Iterator[tuple[np.ndarray, list[int], dict[str, np.ndarray]]]:
    """Truth, the present classes, and each reader's choice among them, image by image, in batches of 8."""
    world, clip = Shapes("val", images=IMAGES), Clip(model="shapes")
    (asked,) = {reader.clip_pass for reader in readers.values()}
    for first in range(0, IMAGES, 8):
        samples = [world.load(image_id) for image_id in world.ids()[first : first + 8]]
        present = [[int(c) for c in np.unique(sample.truth) if 0 < c < 255] for sample in samples]
        offered = [Vocabulary(tuple((world.classes[c - 1],) for c in classes)) for classes in present]
        queries = [Query(s.image_id, s.image, words) for s, words in zip(samples, offered, strict=True)]
        ((_, features),) = clip.run(queries, {asked: frozenset({"input:1"})})
        for sample, classes, words, left in zip(samples, present, offered, features, strict=True):
            size = sample.truth.shape
            chosen = {}
            for name, reader in readers.items():
                scores = reader.read({asked: left}, words)[None]
                planes = torch.nn.functional.interpolate(scores, size=size, mode="bilinear")[0]
                chosen[name] = np.array(classes)[planes.argmax(dim=0).numpy()]
            yield sample.truth, classes, chosen


def mean_iou(counts: np.ndarray) -> float:
    """Percent, over classes 1 to 10 of a (truth, prediction) count matrix."""
    hit = np.diag(counts)[1:]
    return 100 * float(np.mean(hit / (counts.sum(axis=0)[1:] + counts.sum(axis=1)[1:] - hit)))


@pytest.mark.skipif(not (SHIPPED / "shapes" / "clip").is_dir(), reason="the small CLIP is not trained")
def test_values_localise_and_plain_patches_do_not() -> None:
    """Present classes offered, background not scored: about half of the margins that were measured are asserted."""
    readers = {"value": MaskCLIP(model="shapes", form="value"), "plain": CLIP(model="shapes")}
    counts = {name: np.zeros((11, 11), dtype=np.int64) for name in (*readers, "chance")}
    dice = np.random.default_rng(0)
    for truth, classes, chosen in predictions(readers):
        chosen["chance"] = dice.choice(classes, size=truth.shape)
        scored = (truth > 0) & (truth < 255)
        for name, labels in chosen.items():
            np.add.at(counts[name], (truth[scored], labels[scored]), 1)
    found = {name: mean_iou(count) for name, count in counts.items()}
    print(found)
    assert found["value"] > found["chance"] + 12 and found["value"] > found["plain"] + 12
