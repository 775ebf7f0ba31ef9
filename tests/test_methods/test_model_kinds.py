"""Checkpoints of other kinds and forms: each is read rightly, or refused in one sentence before any image is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import ModelError
from methods.clip import Clip
from methods.clip.pixels import CLIP_MEAN, Normalisation
from methods.diffusion import Diffusion
from methods.diffusion.configuration import Configuration
from methods.maskclip import MaskCLIP
from methods.stableseg import StableSeg

SHAPES = Path(__file__).parents[2] / "methods" / "pretrained" / "shapes"


@pytest.fixture
def diffusion(tmp_path: Path) -> Path:
    """A copy of the shipped diffusion model that may be spoilt; its weights are links."""
    return copied(SHAPES / "diffusion", tmp_path / "diffusion")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A copy of the shipped CLIP that may be spoilt; its weights are links."""
    return copied(SHAPES / "clip", tmp_path / "clip")


def copied(source: Path, target: Path) -> Path:
    def copy(one: str, other: str) -> None:
        Path(other).symlink_to(one) if one.endswith(".safetensors") else shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=copy)
    return target


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


REFUSED = [
    ("unet/config.json", {"in_channels": 9}, r"The unet in .* takes 9 channels and its vae gives 4, as inpainting"),
    (
        "unet/config.json",
        {"addition_embed_type": "text_time"},
        r"The unet .* more conditions .*\(addition_embed_type\)",
    ),
    ("unet/config.json", {"sample_size": None}, r"The unet in .* does not say its size: give `size` in pixels"),
    ("unet/config.json", {"_class_name": "SD3Transformer2DModel"}, r"The unet in .* is a SD3Transformer2DModel"),
    ("unet/config.json", {"cross_attention_dim": 20}, r"The unet .* width 20, and its text encoder gives 64"),
    ("vae/config.json", {"_class_name": "AutoencoderTiny"}, r"The vae in .* is a AutoencoderTiny, not a AutoencoderKL"),
    ("vae/config.json", {"latent_channels": 16}, r"The unet in .* takes 4 channels and its vae gives 16"),
]


@pytest.mark.parametrize(("file", "changes", "message"), REFUSED)
def test_models_of_other_kinds_are_refused_with_part_and_cure(
    file: str, changes: dict[str, Any], message: str, diffusion: Path
) -> None:
    edit(diffusion / file, **changes)
    for refuse in (Diffusion(str(diffusion)).open_models, lambda: planned(StableSeg(model=str(diffusion)))):
        with pytest.raises(ModelError, match=message) as caught:
            refuse()
        assert ": give" in str(caught.value) or "; give" in str(caught.value)


def test_a_model_with_two_text_encoders_is_refused(diffusion: Path) -> None:
    (diffusion / "text_encoder_2").mkdir()
    with pytest.raises(ModelError, match=r"has two text encoders \(SDXL"):
        Diffusion(str(diffusion)).open_models()


def test_a_size_makes_up_for_one_that_the_model_does_not_say(diffusion: Path) -> None:
    edit(diffusion / "unet/config.json", sample_size=None)
    assert Configuration.of_folder(diffusion).pixels((48, 64)) == (48, 64)


def test_weights_that_could_carry_code_are_refused(diffusion: Path, clip: Path) -> None:
    for folder, name, opened in (
        (diffusion / "unet", "diffusion_pytorch_model", Diffusion(str(diffusion))),
        (clip, "model", Clip(str(clip))),
    ):
        (folder / f"{name}.safetensors").rename(folder / f"{name}.bin")
        with pytest.raises(ModelError, match=rf"The weights in .* are there as {name}.bin only, .* save them anew"):
            opened.open_models()
        (folder / f"{name}.bin").unlink()
        with pytest.raises(ModelError, match=r"There are no weights in .* not whole, fetch it again"):
            opened.open_models()


def test_half_precision_variants_are_read_and_stand_in_the_id(diffusion: Path, clip: Path) -> None:
    for folder, kind, paths in (
        (diffusion, Diffusion, ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")),
        (clip, Clip, ("model",)),
    ):
        before = kind(str(folder)).fingerprint()
        for path in paths:
            (folder / f"{path}.safetensors").rename(folder / f"{path}.fp16.safetensors")
        assert kind(str(folder)).fingerprint() != before
        kind(str(folder)).open_models()


def planned(method: Any) -> None:
    """What the plan asks of the backbones of a method."""
    for request in method.passes():
        Diffusion(**request.backbone.as_dict()).check_passes(method.passes())


IMPOSSIBLE = [
    ({"timestep": 5000}, "The timestep is 5000; this model knows 0 to 999"),
    ({"timestep": -1}, "The timestep is -1; this model knows 0 to 999"),
    ({"layers": "99"}, "There is no layer '99'"),
    ({"layers": "1/64"}, "There is no layer '1/64'"),
    ({"refine": "sar", "refine_resolution": "1/64"}, "There is no layer '1/64'"),
    ({"size": 97}, "The size is 97; height and width must be multiples of 4"),
]


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE)
def test_what_the_model_can_never_do_is_refused_without_opening_it(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Diffusion, "open_models", None)
    with pytest.raises(ModelError, match=message):
        planned(StableSeg(model="shapes", **settings))
    planned(StableSeg(model="shapes"))


def test_windows_and_blocks_that_a_clip_does_not_have_are_refused_without_opening_it() -> None:
    method = MaskCLIP(model="shapes", resize=128, window=60)
    with pytest.raises(ModelError, match="A window of 60 pixels does not fit patches of 8"):
        method.backbone.check_passes(method.passes())
    method = MaskCLIP(model="shapes")
    with pytest.raises(ModelError, match="The last 5 blocks were asked of a CLIP that has 4"):
        method.backbone.check_passes({method.clip_pass: frozenset({"input:5"})})
    method.backbone.check_passes(method.passes())


def test_the_layers_of_a_configuration_are_those_of_the_network(
    small_model: str, stable_diffusion_1: dict[str, Any]
) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    from methods.diffusion.attention import layers_of

    for folder, size in ((SHAPES / "diffusion", (96, 64)), (Path(small_model), (30, 22))):
        configuration = Configuration.of_folder(folder)
        network = UNet2DConditionModel.from_config({**configuration.unet})
        latent = (size[0] // configuration.factor, size[1] // configuration.factor)
        assert configuration.layers(size) == layers_of(network, latent)
    with torch.device("meta"):
        network = UNet2DConditionModel(**stable_diffusion_1)
    real = Configuration(Path(), stable_diffusion_1, {"block_out_channels": (1,) * 4}, {}, {})
    assert real.layers((512, 768)) == layers_of(network, (64, 96))
    assert (
        Configuration(Path(), {**stable_diffusion_1, "down_block_types": ("Other",)}, {}, {}, {}).layers((8, 8)) is None
    )


# -- CLIP


SENTENCES = ["a red circle", "a photo of the blue square", "x"]


def test_texts_are_read_at_the_tokenizers_end_mark_whatever_the_configuration_says(clip: Path) -> None:
    """Where the configuration names another mark, or the 2 of old ones, the library reads at another place."""
    import torch

    expected = Clip("shapes").network.encode(SENTENCES)
    for mark in (598, 2, 49407, 0):
        config = json.loads((clip / "config.json").read_text())
        edit(clip / "config.json", text_config=config["text_config"] | {"eos_token_id": mark})
        assert torch.equal(Clip(str(clip)).network.encode(SENTENCES), expected), mark


def test_a_tokenizer_whose_end_mark_the_text_encoder_does_not_know_is_refused(clip: Path) -> None:
    text = (clip / "tokenizer.json").read_text().replace("<|endoftext|>", "<|theend|>")
    (clip / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"ends a text with a mark .* take both from one checkpoint"):
        Clip(str(clip)).open_models()


def test_the_normalisation_is_read_where_either_version_of_the_library_writes_it(clip: Path) -> None:
    rule = Normalisation.of_folder(clip)
    assert rule is not None and rule.mean == (0.5, 0.5, 0.5)
    held = json.loads((clip / "preprocessor_config.json").read_text())
    (clip / "preprocessor_config.json").unlink()
    nesting = clip / "processor_config.json"
    nesting.write_text(json.dumps({"image_processor": held, "processor_class": "CLIPProcessor"}))
    assert Normalisation.of_folder(clip) == rule
    nesting.write_text(json.dumps({"image_processor": held | {"image_mean": [0.1, 0.2, 0.3]}}))
    (clip / "preprocessor_config.json").write_text(json.dumps(held))
    nested = Normalisation.of_folder(clip)
    assert nested is not None and nested.mean == (0.1, 0.2, 0.3), "the nested form counts first, as in transformers"


def test_where_no_file_says_the_normalisation_the_numbers_are_told(clip: Path) -> None:
    assert Clip("shapes").open_models() == ()
    (clip / "preprocessor_config.json").unlink()
    opened = Clip(str(clip))
    (remark,) = opened.open_models()
    assert str(CLIP_MEAN) in remark and "neither processor_config.json nor preprocessor_config.json" in remark
    assert opened.network.rule == Normalisation()
