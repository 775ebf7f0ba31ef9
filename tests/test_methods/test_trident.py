"""Trident and the SAM that it looks through, against the authors' own program, and as a method of the house."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from published import arrays, clip_network, images, write_dino, write_sam
from torch import Tensor
from transformers.models.sam.modeling_sam import SamVisionAttention

from harness.checks.__main__ import main
from harness.contracts import MethodError, ModelError, ProtocolSettings, Query, Vocabulary
from harness.recipes.loading import build
from methods.clip.pixels import Tiling, whole_sides
from methods.sam import Sam
from methods.sam.network import SamFeatures, SamPiece, open_sam
from methods.trident import Trident, spliced
from methods.vision.network import VitFeatures

CLOSE = 2e-6  # of a unit embedding, between two programs in single precision


@dataclass(frozen=True, eq=False)
class Held(SamPiece):
    """SAM's attention as the authors' program had it."""

    held: Tensor

    def attention(self) -> Iterator[Tensor]:
        yield from self.held


def held_piece(name: str) -> Held:
    attention, values = (
        torch.from_numpy(arrays(name)[f"sam_{one}0"].astype(np.float32)) for one in ("attention", "values")
    )
    nothing = torch.zeros(0)
    return Held(tuple(values.shape[1:3]), values.flatten(1, 2), nothing, nothing, nothing, nothing, attention)


@pytest.mark.parametrize("name", ["trident", "trident_voc20"])
def test_windows_are_spliced_and_gathered_by_sam(name: str) -> None:
    held, (image,) = arrays(name), images(name)
    reader = Trident(resize="shown", window=112, stride=16, positions="authors", cos_fac=float(held["cos_fac"]))
    (features,) = clip_network().features([image], reader.clip_pass, 1)
    corners = tuple((int(top) * 16, int(left) * 16) for top, left, _, _ in held["windows0"])
    assert features.tiling.corners == corners and len(corners) == 2
    tokens = torch.from_numpy(held["dino0"].astype(np.float32)).flatten(1, 2)
    (found,) = reader.embeddings(features, VitFeatures(tokens, features.tiling, image), SamFeatures([held_piece(name)]))
    np.testing.assert_allclose(found.numpy(), held["embedding0"], rtol=0, atol=CLOSE)
    apart = reader.mixed(features, VitFeatures(tokens, features.tiling, image))
    together = reader.mixed(features, VitFeatures(tokens, features.tiling, image), together=True)
    assert not torch.allclose(apart, together, atol=1e-5)  # the mean likeness is that of all windows


def test_what_is_kept_of_sams_attention_by_a_plain_formula(rng: np.random.Generator) -> None:
    """In double precision, pixel by pixel; thresholds above 0.9 and below 0 among them."""
    grid, heads = (3, 4), 2
    attention = rng.random((heads, 12, 12))
    mean = np.zeros(12)
    while not mean.min() < -0.01 < 0.11 < mean.max():
        values = rng.normal(size=(heads, 12, 5))
        values[:, :3] = values[:, :1] + 0.01 * rng.normal(size=(heads, 3, 5))
        values[:, 3:6] -= 2 * values.mean(axis=1, keepdims=True)
        unit = values / np.linalg.norm(values, axis=-1, keepdims=True)
        mean = np.einsum("hrd,hkd->r", unit, unit) / (heads * 12)
    nothing = torch.zeros(0)
    tokens = rng.normal(size=(12, 6))
    piece = Held(grid, torch.tensor(values), nothing, nothing, nothing, nothing, torch.tensor(attention))
    for refine, factor in ((True, 1.2), (False, 1.2), (True, 9.0)):
        found = Trident(cos_fac=factor, refine_neg=refine).gathered(piece, torch.tensor(tokens)).numpy()
        limits = []
        for row in range(12):
            cosines = [
                [np.dot(v[row], v[key]) / np.linalg.norm(v[row]) / np.linalg.norm(v[key]) for key in range(12)]
                for v in values
            ]
            limit = factor * np.mean(cosines)
            limits.append(limit)
            limit = min(0.6 if limit < 0 and not refine else limit, 0.9)
            weights = np.mean(
                [
                    [a[row, key] * (c[key] > limit) for key in range(12)]
                    for a, c in zip(attention, cosines, strict=True)
                ],
                axis=0,
            )
            np.testing.assert_allclose(found[row], weights @ tokens / weights.sum(), rtol=0, atol=1e-12)
        assert min(limits) < 0 and max(limits) > (0.9 if factor == 9.0 else 0)


@pytest.mark.parametrize("side", [(40, 64), (64, 33)])
def test_sams_last_block_is_read_as_transformers_computes_it(
    side: tuple[int, int], tmp_path: Path, rng: np.random.Generator
) -> None:
    """The shares that go to the margin are left out, and nothing else; relative positions are in them."""
    network = open_sam(str(write_sam(tmp_path)), None, "float32")
    image = rng.integers(0, 256, (*side, 3), dtype=np.uint8)
    size = network.fitted(whole_sides(side, 8))
    with torch.no_grad():
        block = network.model.vision_encoder.layers[-1].attn
        _, shares = SamVisionAttention.forward(block, network.entering(image, size))
    (piece,) = network.features(image, halves=False).pieces
    rows, columns = piece.grid
    assert (rows, columns) == (size[0] // 8, size[1] // 8) and rows != columns
    whole = shares.reshape(3, 8, 8, 8, 8)[:, :rows, :columns, :rows, :columns]
    for own, theirs in zip(piece.attention(), whole, strict=True):
        np.testing.assert_allclose(own.numpy(), theirs.reshape(rows * columns, -1).numpy(), rtol=0, atol=1e-6)
        assert own.sum(dim=-1).min() < 0.5, "nothing goes to the margin"  # of some patches; others give it all but none


def test_halves_are_seen_one_by_one(tmp_path: Path, rng: np.random.Generator) -> None:
    network = open_sam(str(write_sam(tmp_path)), None, "float32")
    image = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    left, right = network.features(image, halves=True).pieces
    (alone,) = network.features(image[:, 32:], halves=False).pieces
    assert left.grid == right.grid == (8, 8) and torch.equal(right.values, alone.values)


def test_windows_on_patches_are_averaged_and_others_are_refused() -> None:
    tokens = torch.arange(8.0).reshape(2, 4, 1)
    found = spliced(tokens, Tiling((32, 48), (32, 32), ((0, 0), (0, 16)), 16))
    assert found[..., 0].tolist() == [[0, 2.5, 5], [2, 4.5, 7]]
    with pytest.raises(MethodError, match=r"start at \(0, 12\) of \(32, 44\) pixels, which are no whole patches of 16"):
        spliced(tokens, Tiling((32, 44), (32, 32), ((0, 0), (0, 12)), 16))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((336, 448), (336, 448)),
        ((448, 597), (464, 608)),
        ((597, 448), (608, 464)),
        ((336, 1000), (352, 1008)),
        ((100, 700), (336, 704)),
    ],
)
def test_sides_become_whole_patches(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert whole_sides(size, 16, 336) == wanted


def test_a_protocol_resizes_and_the_method_cuts() -> None:
    method = Trident()
    assert method.resolved(ProtocolSettings()) == {"resize": 448, "window": 336, "stride": 224}
    shown = method.resolved(ProtocolSettings(resize="short", size=448))
    assert shown == {"resize": "shown", "window": 336, "stride": 224}
    with pytest.raises(
        MethodError, match="joins windows before it scores, and the protocol cuts windows of 224 pixels"
    ):
        method.resolved(ProtocolSettings(window=224, stride=112))
    with pytest.raises(MethodError, match="an image would be cut twice"):
        Trident(resize=336).resolved(ProtocolSettings(resize="short", size=448))


def test_it_reads_an_image_of_any_shape(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    names = Vocabulary((("cat",), ("dog", "hound")))
    dino, sam = write_dino(tmp_path / "dino", 16, 112), write_sam(tmp_path / "sam")
    method = Trident(model="shapes", dino=str(dino), sam=str(sam), resize=64, window=48, stride=16)
    features = {}
    for request, parts in method.passes().items():
        ((_, (held,)),) = build(request.backbone).run([Query("one", image, names)], {request: parts})
        features[request] = held
    found = method.read(features, names)
    assert features[method.clip_pass].tiling.size == (80, 112) and found.shape == (
        3,
        *features[method.sam_pass].pieces[0].grid,
    )
    assert torch.isfinite(found).all()


def test_it_keeps_every_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dino, sam = write_dino(tmp_path / "dino", 16, 112), write_sam(tmp_path / "sam")
    words = ("model=shapes", f"dino={dino}", f"sam={sam}", "resize=96", "window=64", "stride=32")
    code = main(["method", "methods.trident:Trident", "--with", *words])
    told = " ".join(capsys.readouterr().out.split())
    assert (code, "All 11 promises are kept" in told) == (0, True), told


def test_a_sam_that_is_none_or_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was asked for a sam model and holds vit"):
        Sam(str(write_dino(tmp_path / "dino", 8, 56))).fingerprint()
    folder = write_sam(tmp_path / "sam")
    assert Sam(str(folder)).fingerprint() != Sam(str(write_sam(tmp_path / "other", seed=6))).fingerprint()
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("vision_encoder.layers.2.attn.qkv.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights, vision_encoder.layers.2.attn.qkv.weight first"):
        _ = Sam(str(folder)).network
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="There are no weights in"):
        _ = Sam(str(folder)).network
