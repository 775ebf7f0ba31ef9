"""CorrCLIP, its regions and their vote, against the authors' own program, and as a method of the house."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import arrays, clip_network, images, write_dino, write_sam

from harness.checks.__main__ import main
from harness.contracts import NO_CLASS, MethodError, ModelError, ProtocolSettings, Query, Vocabulary
from harness.recipes.loading import build
from methods.clip.pixels import Tiling
from methods.corrclip import CorrCLIP, joined_regions, majority
from methods.sam.network import open_sam
from methods.sam.passes import RegionsPass
from methods.sam.regions import found_regions, painted
from methods.stored_regions import StoredRegions
from methods.vision.network import VitFeatures, open_vit
from methods.vision.passes import SUMS, TOKENS

AS_SHOWN: dict[str, Any] = {"resize": "shown", "window": None, "stride": None, "positions": "authors"}
CLOSE = 2e-6  # of a unit embedding, between two programs in single precision


def held_sums(place: int, image: np.ndarray) -> VitFeatures:
    """DINO's q + k as the authors' program had it."""
    sums = torch.from_numpy(arrays("corrclip")[f"dino_qk{place}"].astype(np.float32)).flatten(0, 1)[None]
    return VitFeatures(sums, Tiling(image.shape[:2], image.shape[:2], ((0, 0),), 8), image, sums)


@pytest.mark.parametrize("place", [0, 1])
def test_clips_values_within_regions(place: int) -> None:
    held, image = arrays("corrclip"), images("corrclip")[place]
    reader = CorrCLIP(**AS_SHOWN)
    (features,) = clip_network().features([image], reader.clip_pass, reader.blocks)
    regions = torch.from_numpy(held[f"regions{place}"].astype(np.int64))
    (found,) = reader.of_regions(features, held_sums(place, image), regions)
    np.testing.assert_allclose(found.numpy(), held[f"embedding{place}"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("case", range(4))
def test_regions_vote_after_the_decision(case: int) -> None:
    held = arrays("decide_corrclip")
    published = dict(ast.literal_eval(str(held[f"settings{case}"])))
    queries = held[f"class_of_query{case}"]
    around = np.flatnonzero(queries == 0)
    order = [*np.flatnonzero(queries > 0), *around]
    names = tuple((f"word {query}",) for query in order)
    words = Vocabulary(names, context=tuple(range(len(order) - len(around), len(order))))
    scale, least = published["logit_scale"], published["prob_thd"]
    rules = ProtocolSettings("all", "prompts_constant", threshold=least, scale="softmax", logit_scale=scale)
    reader = CorrCLIP(**CorrCLIP().resolved(rules))
    scores = torch.from_numpy(held[f"scores{case}"].astype(np.float32)[order])
    regions = torch.from_numpy(held[f"regions{case}"].astype(np.int64))
    found = reader.voted(scores, regions, words).numpy() + 1
    assert (found == held[f"labels{case}"]).all()
    alone = reader.voted(scores, torch.zeros_like(regions), words).numpy() + 1
    assert (alone != found).any()


def test_a_region_has_the_label_of_most_of_its_pixels(rng: np.random.Generator) -> None:
    labels, regions = rng.integers(-1, 4, (23, 17)), rng.choice([3, 5, 9, 70000], (23, 17))
    wanted = labels.copy()
    for number in (5, 9, 70000):  # 3 is no region
        inside = regions == number
        wanted[inside] = np.bincount(labels[inside] + 1).argmax() - 1
    found = majority(torch.from_numpy(labels), torch.from_numpy(regions))
    assert (found.numpy() == wanted).all()


def test_regions_are_joined_one_by_one_and_none_with_what_is_no_region() -> None:
    turned = [torch.tensor([np.cos(angle), np.sin(angle)]) for angle in (0.0, 0.0, 0.6, 1.2, 1.8, 3.1)]
    sums = torch.stack(turned).float()  # cosines of neighbours 0.825, of others less than 0.8
    assert joined_regions(torch.tensor([0, 1, 2, 3, 4, 5]), sums).tolist() == [0, 1, 1, 1, 1, 2]
    assert joined_regions(torch.tensor([7, 7, 2, 2, 2, 2]), sums).tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"background": "power"}, "vote after a softmax and a threshold, and the protocol has background 'power'"),
        ({"background": "constant"}, "with scale 'minmax': take `scale: softmax`, or `vote: false`"),
        ({"background": "constant", "scale": "softmax", "area_thd": 0.1}, "vote without a rule for areas"),
        ({"resize": "short", "size": 336}, "are of the image's own size, and the protocol resizes"),
        ({"window": 224, "stride": 112}, "joins windows before it scores, and the protocol cuts windows of 224"),
    ],
)
def test_a_protocol_that_its_vote_cannot_follow_is_refused(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(MethodError, match=said):
        CorrCLIP().resolved(ProtocolSettings(**rules))


def test_the_vote_takes_scale_and_threshold_of_the_protocol() -> None:
    rules = ProtocolSettings(background="prompts_constant", scale="softmax", logit_scale=40.0, threshold=0.2)
    assert CorrCLIP().resolved(rules) == {
        "resize": 336, "window": 336, "stride": 112, "logit_scale": 40.0, "threshold": 0.2,
    }  # fmt: skip
    assert CorrCLIP(threshold=0.3).resolved(rules).get("threshold") is None
    assert CorrCLIP(vote=False).resolved(ProtocolSettings(background="power"))["threshold"] == 0.0


def test_dinos_queries_and_keys_are_those_of_its_last_block(tmp_path: Path, rng: np.random.Generator) -> None:
    network = open_vit(str(write_dino(tmp_path, 8, 56)), None, "float32")
    image, kept = rng.integers(0, 256, (40, 64, 3), dtype=np.uint8), {}
    asked = CorrCLIP(dino=str(tmp_path), **AS_SHOWN).dino_pass
    block = network.model.layers[-1].attention
    handles = [
        layer.register_forward_hook(lambda module, given, left, name=name: kept.__setitem__(name, left))
        for name, layer in (("q", block.q_proj), ("k", block.k_proj))
    ]
    assert network.features(image, asked, TOKENS).sums is None
    wanted = torch.nn.functional.normalize((kept["q"] + kept["k"])[:, 1:], dim=-1)
    for handle in handles:
        handle.remove()
    found = network.features(image, asked, SUMS)
    assert found.sums is not None and found.grid == (5, 8)
    np.testing.assert_allclose(found.sums.numpy(), wanted.numpy(), rtol=0, atol=1e-6)


def test_masks_of_sam_become_one_map() -> None:
    masks = torch.zeros(4, 6, 9, dtype=torch.bool)
    masks[0, 1:5, 1:8], masks[1, 1:5, 2:8], masks[2, 2:4, 2:4], masks[3, 5, 8] = True, True, True, True
    found = painted(masks, torch.tensor([0.8, 0.9, 0.7, 0.5]))  # the first overlaps the second, which is better
    assert np.unique(found).tolist() == [0, 1, 3]  # the third is under the second: the largest is painted last
    assert (found == 3).sum() == 24 and found[5, 8] == 1 and found[1, 1] == 0


def test_sams_own_masks_are_of_the_images_size(tmp_path: Path, rng: np.random.Generator) -> None:
    network = open_sam(str(write_sam(tmp_path)), None, "float32")
    image = rng.integers(0, 256, (37, 61, 3), dtype=np.uint8)
    asked = RegionsPass(CorrCLIP(sam=str(tmp_path)).regions_pass.backbone, 4, least_iou=-9.0, least_stability=0.0)
    found = found_regions(network, image, asked)
    assert found.shape == (37, 61) and found.max() >= 1
    assert found_regions(network, image, RegionsPass(asked.backbone, 4, least_iou=9.0)).max() == 0


def stored(folder: Path, rng: np.random.Generator) -> np.ndarray:
    folder.mkdir()
    regions: np.ndarray = np.kron(rng.integers(0, 4, (7, 11)), np.ones((10, 10), int)).astype(np.uint16)
    np.savez(folder / "one.npz", instance_mask=regions)
    return regions


def test_it_reads_regions_that_others_stored(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    regions = stored(tmp_path / "regions", rng)
    names = Vocabulary((("cat",), ("dog", "hound")))
    settings: dict[str, Any] = {
        "resize": 64,
        "window": 48,
        "stride": 16,
        "model": "shapes",
        "depth": 4,
        "spatial": (2, 3),
    }
    dino = str(write_dino(tmp_path / "dino", 8, 56))
    with pytest.raises(ValueError, match=r"spatial is \(2, 6\); give two of the 4 inputs, the smaller one first"):
        CorrCLIP(depth=4)
    method = CorrCLIP(dino=dino, regions=tmp_path / "regions", **settings)
    assert method.unanswered(["one", "two"]) == ["two"]
    asked, parts = method.regions_pass, frozenset({"regions"})
    seen = (("one", image), ("two", image), ("one", image[:60]), ("", image))
    queries = [Query(name, picture, names) for name, picture in seen]
    ((_, (found, absent, other, filler)),) = build(asked.backbone).run(queries, {asked: parts})
    assert (found == regions).all() and (filler == 0).all()
    assert isinstance(absent, MethodError) and "has no region map of 'two'" in str(absent)
    assert isinstance(other, MethodError) and "regions are whole numbers (60 x 110), as the image" in str(other)
    with pytest.raises(ModelError, match=r"There is no folder .* with region maps"):
        StoredRegions(tmp_path / "nowhere").models_to_fetch()
    with pytest.raises(MethodError, match="has no region map"):
        method.read({method.regions_pass: absent, method.clip_pass: None}, names)


def test_it_keeps_every_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dino, sam = write_dino(tmp_path / "dino", 8, 56), write_sam(tmp_path / "sam")
    words = ("model=shapes", f"dino={dino}", f"sam={sam}", "resize=96", "window=64", "stride=32", "points=3", "depth=4")
    words = (*words, "spatial=[2,3]")
    code = main(["method", "methods.corrclip:CorrCLIP", "--with", *words])
    told = " ".join(capsys.readouterr().out.split())
    assert (code, "All 11 promises are kept" in told) == (0, True), told


def test_a_vote_gives_a_label_map_and_without_it_scores(tmp_path: Path, rng: np.random.Generator) -> None:
    held, image = arrays("corrclip"), images("corrclip")[1]
    regions = held["regions1"]
    names = Vocabulary((("0",), ("1", "2"), ("3",)), templates=("{}",))
    reader = CorrCLIP(**AS_SHOWN, logit_scale=40.0, threshold=0.3)
    (features,) = clip_network().features([image], reader.clip_pass, reader.blocks)
    given = {reader.clip_pass: features, reader.dino_pass: held_sums(1, image), reader.regions_pass: regions}
    labels = reader.read(given, names)
    assert labels.shape == image.shape[:2] and set(np.unique(labels)) <= {NO_CLASS, 0, 1, 2}
    for number in np.unique(regions)[1:]:
        assert len(np.unique(np.asarray(labels)[regions == number])) == 1
    plain = CorrCLIP(**AS_SHOWN, vote=False)
    assert plain.read(given, names).shape == (4, *held_sums(1, image).grid)
