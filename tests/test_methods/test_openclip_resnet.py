"""MaskCLIP on a CLIP ResNet of open_clip, small and random, against the convolutions of the published form."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from seeds import seed_of
from tiny_resnet import write_resnet

from harness.contracts import ModelError, Query, Reader, Vocabulary
from methods.maskclip import smoothed
from methods.openclip_resnet import ClipResNet, MaskCLIPResNet
from methods.text_templates import SCENE, templates

VOCABULARY = Vocabulary((("cat",), ("dog", "puppy")), templates=("a photo of a {}", "the {}"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    return write_resnet(tmp_path_factory.mktemp("resnet"), seed_of("openclip resnet"))


def read(reader: MaskCLIPResNet, *images: np.ndarray) -> list[torch.Tensor]:
    backbone = ClipResNet(**reader.clip_pass.backbone.as_dict())
    queries = [Query(str(place), image, VOCABULARY) for place, image in enumerate(images)]
    ((asked, features),) = backbone.run(queries, reader.passes())
    found = [reader.read({asked: left}, VOCABULARY) for left in features]
    assert {len(scores) for scores in found} == {3 if reader.plane_a_word else 2}
    return [torch.stack([scores[0], scores[1:].amax(dim=0)]) for scores in found]


def picture(height: int, width: int) -> np.ndarray:
    """Cells of 16 pixels of one colour each: noise alone would give every position nearly the same features."""
    cells = np.random.randint(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return np.ascontiguousarray(cells.repeat(16, axis=0).repeat(16, axis=1)[:height, :width])


def expected(folder: Path, image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines of the pool's value path as two 1 x 1 convolutions, and its keys, in double precision."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}").double().eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    colours = torch.from_numpy(image).double() / 255
    pixels = ((colours - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.3, 0.2, 0.1])).permute(2, 0, 1)[None]
    with torch.no_grad():
        hidden = model.visual.forward_intermediates(pixels, intermediates_only=True)["image_intermediates"][-1]
        pool, keys = model.visual.attnpool, None
        for linear in (pool.k_proj, pool.v_proj, pool.c_proj):
            mapped = torch.nn.functional.conv2d(hidden, linear.weight[:, :, None, None], linear.bias)
            keys, hidden = (mapped, hidden) if keys is None else (keys, mapped)
        vectors = []
        for name in ("cat", "dog", "puppy"):
            each = model.encode_text(tokenizer([template.format(name) for template in VOCABULARY.templates]))
            mean = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
            vectors.append(mean / mean.norm())
    unit = hidden[0] / hidden[0].norm(dim=0, keepdim=True)
    cat, dog, puppy = (torch.einsum("dhw,d->hw", unit, vector) for vector in vectors)
    assert keys is not None
    return torch.stack([cat, dog.maximum(puppy)]), keys[0].permute(1, 2, 0)


def test_scores_are_those_of_two_convolutions(folder: Path) -> None:
    image = picture(96, 160)
    reader = MaskCLIPResNet(model=str(folder), resize=96)
    assert isinstance(reader, Reader)
    (found,) = read(reader, image)
    wanted, keys = expected(folder, image)
    spread = wanted.std(dim=(1, 2)).min()  # random weights leave little between the places, so that sets the scale
    assert found.shape == (2, 3, 5) and spread > 1e-5 and (found - wanted).abs().max() < 0.02 * spread
    (smooth,) = read(MaskCLIPResNet(model=str(folder), resize=96, key_smoothing=True), image)
    # from the scores that were found: a share that is 1 in single precision only is not smoothed
    assert torch.allclose(smooth, smoothed(found, keys.float(), "channel", 1.0), rtol=1e-3, atol=1e-3)


def test_neighbours_do_not_matter_and_windows_are_averaged(folder: Path) -> None:
    images = [picture(96, 160), picture(70, 90)]
    for settings in ({}, {"resize": 96, "window": 64, "stride": 32}):
        reader = MaskCLIPResNet(model=str(folder), **settings)
        for image, together in zip(images, read(reader, *images), strict=True):
            assert torch.allclose(read(reader, image)[0], together, atol=1e-5)
    windows = read(MaskCLIPResNet(model=str(folder), resize=64, window=64, stride=32), images[0][:64, :96].copy())[0]
    left, right = (expected(folder, images[0][:64, start : start + 64].copy())[0] for start in (0, 32))
    large = [torch.nn.functional.interpolate(one[None], size=(64, 64), mode="bilinear")[0] for one in (left, right)]
    wanted = torch.zeros(2, 64, 96, dtype=torch.float64)
    for start, one in zip((0, 32), large, strict=True):
        wanted[:, :, start : start + 64] += one
    wanted[:, :, 32:64] /= 2
    assert (windows - wanted).abs().max() < 0.02 * wanted.std(dim=(1, 2)).min()


def test_what_cannot_be_opened_is_a_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"lacks open_clip_config\.json and open_clip_model\.safetensors"):
        _ = ClipResNet(model=str(tmp_path)).network
    with pytest.raises(ModelError, match="no 'RN50' with the tag 'mine'; its tags are openai"):
        _ = ClipResNet(model="RN50", pretrained="mine").network
    with pytest.raises(ModelError, match="it knows no model of that name"):
        _ = ClipResNet(model="RN7").network
    network = ClipResNet(model=str(folder)).network
    with pytest.raises(ModelError, match=r"prompt 'a .* tokens and this CLIP takes 20"):
        network.encode(["a " * 30])
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    transformer = sys.modules["open_clip"].CLIP(**config["model_cfg"]).state_dict()
    weights = {name: value.contiguous() for name, value in transformer.items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="has no ResNet tower"):
        _ = ClipResNet(model=str(tmp_path)).network
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ModelError, match="cannot be opened by open_clip"):
        _ = ClipResNet(model=str(tmp_path)).network

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("methods.openclip_resnet.version", absent)
    with pytest.raises(ModelError, match=r"not installed: install the extra with pip install 'stableseg-harness\[open"):
        _ = ClipResNet(model=str(folder)).network


def test_the_fingerprint_follows_folder_and_tag(folder: Path) -> None:
    prints = {
        MaskCLIPResNet(model=str(folder)).fingerprint(), MaskCLIPResNet().fingerprint(),
        MaskCLIPResNet(pretrained="cc12m").fingerprint(),
    }  # fmt: skip
    assert len(prints) == 3


def test_template_sets() -> None:
    assert templates("photo") == ("a photo of a {}",) and templates("bare") == ("{}",) and len(templates("scene")) == 5
    with pytest.raises(ValueError, match="no template set 'imagenet'; there are photo"):
        templates("imagenet")


def test_the_imagenet_sets_are_open_clips() -> None:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    eighty = templates("imagenet80")
    assert len(eighty) == 80 and len(set(eighty)) == 80 and all(sentence.count("{}") == 1 for sentence in eighty)
    assert templates("imagenet85") == (*eighty, *SCENE) and len(templates("imagenet7")) == 7
    digest = blake2b("\n".join(eighty).encode(), digest_size=8).hexdigest()
    assert digest == "c6cc9a274b44bcdb"  # of open_clip 3.3.0: another one means other sentences


def test_without_open_clip_the_sets_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match="comes from open_clip, which is not installed"):
        templates("imagenet80")
