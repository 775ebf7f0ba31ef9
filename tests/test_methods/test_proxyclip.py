"""ProxyCLIP and the DINO that it looks at, against the authors' own programs, and as a method of the house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import arrays, clip_network, images, write_dino

from harness.checks.__main__ import main
from harness.contracts import ModelError, Query, Vocabulary
from harness.recipes.loading import build
from methods.clip import Clip
from methods.clip.pixels import Tiling
from methods.proxyclip import ProxyCLIP
from methods.vision import Vit
from methods.vision.network import VitFeatures, open_vit

AS_SHOWN: dict[str, Any] = {"resize": "shown", "window": None, "stride": None, "positions": "authors"}
COMPARED = [("proxyclip", 0), ("proxyclip", 1), ("proxyclip_dino16", 0)]
CLOSE = 2e-6  # of a unit embedding, between two programs in single precision
HALF = 2e-3  # of a DINO token, which the comparison keeps in half precision


def held_tokens(name: str, place: int, image: np.ndarray) -> VitFeatures:
    """DINO's tokens as the authors' program had them."""
    tokens = torch.from_numpy(arrays(name)[f"dino{place}"].astype(np.float32))
    patch = image.shape[0] // tokens.shape[0]
    return VitFeatures(tokens.flatten(0, 1)[None], Tiling(image.shape[:2], image.shape[:2], ((0, 0),), patch), image)


@pytest.mark.parametrize(("name", "place"), COMPARED)
def test_clips_values_under_dinos_likeness(name: str, place: int) -> None:
    reader, image = ProxyCLIP(**AS_SHOWN), images(name)[place]
    (features,) = clip_network().features([image], reader.clip_pass, reader.blocks)
    (found,) = reader.embeddings(features, held_tokens(name, place, image))
    np.testing.assert_allclose(found.numpy(), arrays(name)[f"embedding{place}"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("name", "place"), COMPARED)
def test_the_tokens_of_dino_read_from_files_of_the_hub(name: str, place: int, tmp_path: Path) -> None:
    """Of patches of 8 pixels the position table is enlarged, as DINO's authors do; of 16 it is not."""
    patch = 16 if name.endswith("16") else 8
    image, folder = images(name)[place], write_dino(tmp_path, patch, 7 * patch)
    reader = ProxyCLIP(dino=str(folder), **AS_SHOWN)
    found = open_vit(str(folder), None, "float32").features(image, reader.dino_pass)
    wanted = held_tokens(name, place, image).tokens
    assert found.grid == (image.shape[0] // patch, image.shape[1] // patch)
    np.testing.assert_allclose(found.tokens.numpy(), wanted.numpy(), rtol=0, atol=HALF)


def test_both_networks_see_the_same_windows(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (70, 110, 3), dtype=np.uint8)
    names = Vocabulary((("cat",), ("dog", "hound")))
    method = ProxyCLIP(model="shapes", dino=str(write_dino(tmp_path, 8, 56)), resize=64, window=48, stride=16)
    features = {}
    for request, parts in method.passes().items():
        ((_, (held,)),) = build(request.backbone).run([Query("one", image, names)], {request: parts})
        features[request] = held
    clip, dino = features[method.clip_pass], features[method.dino_pass]
    assert clip.tiling.corners == dino.tiling.corners and len(dino.tokens) == len(clip.tiling.corners) == 10
    found = method.read(features, names)
    assert found.shape == (3, 64, 101) and torch.isfinite(found).all()
    alone = method.embeddings(clip)  # no proxy: every patch keeps its own value
    assert not torch.allclose(method.embeddings(clip, dino), alone, atol=1e-3)
    with pytest.raises(ValueError, match="two networks need one: give both"):
        ProxyCLIP(window=48)


def test_it_keeps_every_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dino = write_dino(tmp_path, 8, 56)
    words = ("model=shapes", f"dino={dino}", "resize=96", "window=64", "stride=32")
    code = main(["method", "methods.proxyclip:ProxyCLIP", "--with", *words])
    told = " ".join(capsys.readouterr().out.split())
    assert (code, "All 11 promises are kept" in told) == (0, True), told


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was asked for a clip model and holds vit"):
        Clip(str(write_dino(tmp_path / "dino", 8, 56))).fingerprint()
    with pytest.raises(ModelError, match="The vit model 'shapes' is not in"):
        Vit("shapes").fingerprint()
    (tmp_path / "dino" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="There are no weights in"):
        _ = Vit(str(tmp_path / "dino")).network
