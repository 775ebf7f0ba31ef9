"""The CLIP pass and backbone: opening, text, windows, batches, and the sentences of what can go wrong."""

from __future__ import annotations

import json
import pickle
import shutil
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import enlarged
from safetensors.torch import load_file, save_file
from seeds import seed_of
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from harness.contracts import Image, ModelError, Query, Reader, Recipe, Vocabulary
from methods.clip import Clip, ClipPass, block_inputs
from methods.clip.features import ClipFeatures
from methods.clip.pixels import Normalisation, target_size, tile
from methods.maskclip import MaskCLIP

NAMES = (("cat",), ("dog", "puppy"), ("fire truck",))
VOCABULARY = Vocabulary(NAMES, templates=("a photo of a {}", "the {}"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two small towers with a genuine tokenizer of single letters, saved as transformers saves it."""
    place = tmp_path_factory.mktemp("clip")
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens = [*letters, "<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(place, model_max_length=32).save_pretrained(place)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    marks = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    text = size | marks | {"vocab_size": 54, "max_position_embeddings": 32}
    config = CLIPConfig(text_config=text, vision_config=size | {"image_size": 32, "patch_size": 8}, projection_dim=16)
    torch.manual_seed(seed_of("clip"))
    model = CLIPModel(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(place)
    return place


def picture(height: int, width: int) -> Image:
    return np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)


def look(clip: Clip, asked: ClipPass, *images: Image) -> list[ClipFeatures]:
    queries = [Query(f"image-{place}", image, VOCABULARY) for place, image in enumerate(images)]
    ((served, features),) = clip.run(queries, {asked: block_inputs(2)})
    assert served == asked
    return list(features)


def asked(resize: int | str = "native", window: int | None = None, stride: int | None = None) -> ClipPass:
    return ClipPass(Recipe.of("methods.clip:Clip"), resize, window, stride)


def value_path(features: ClipFeatures) -> torch.Tensor:
    return features.embeddings(lambda block: block.values, residual=False, feedforward=False)


def test_a_reader_declares_one_pass_that_is_a_value(folder: Path) -> None:
    reader = MaskCLIP(model=str(folder), resize=40, window=24)
    assert isinstance(reader, Reader)
    ((wanted, parts),) = reader.passes().items()
    assert wanted == pickle.loads(pickle.dumps(wanted)) and hash(wanted) == hash(reader.clip_pass)
    assert parts == {"input:1"} and wanted.encoding == (40, 24, None, "library", 0)
    assert wanted.backbone.use == "methods.clip:Clip" and wanted.backbone.as_dict()["model"] == str(folder)


def test_planning_needs_no_torch() -> None:
    modules = "clip, maskclip, sclip, clearclip, naclip, gem, plain_clip, text_templates, openclip_resnet"
    code = f"import sys; from methods import {modules}; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_texts_are_the_normalised_mean_over_templates(folder: Path) -> None:
    clip = Clip(model=str(folder))
    (features,) = look(clip, asked(), picture(40, 56))
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    for names, found in zip(NAMES, features.text(VOCABULARY), strict=True):
        for name, vector in zip(names, found, strict=True):
            total = torch.zeros(16, dtype=torch.float64)
            for template in VOCABULARY.templates:
                tokens = tokenizer(template.format(name), padding="max_length", return_tensors="pt")
                single = model.get_text_features(**tokens).pooler_output[0].detach().double()
                total += single / single.norm()
            assert torch.allclose(vector.double(), total / total.norm(), atol=1e-5)


def test_of_a_class_with_several_names_the_best_counts(folder: Path) -> None:
    (features,) = look(Clip(model=str(folder)), asked(), picture(40, 56))
    embeddings = value_path(features)
    (found,) = features.scores(embeddings, VOCABULARY)
    alone = [features.scores(embeddings, Vocabulary(((name,),), templates=VOCABULARY.templates))[0, 0]
             for name in ("cat", "dog", "puppy", "fire truck")]  # fmt: skip
    assert found.shape == (3, 4, 4) and found.dtype == torch.float32
    best = torch.stack([alone[0], alone[1].maximum(alone[2]), alone[3]])
    torch.testing.assert_close(found, best, rtol=0, atol=1e-6)  # one product with all words
    assert (alone[1] > alone[2]).any() or (alone[2] > alone[1]).any()
    order = Vocabulary((NAMES[2], NAMES[0], NAMES[1]), templates=VOCABULARY.templates)
    assert torch.equal(features.scores(embeddings, order)[0], found[[2, 0, 1]])


def test_a_name_is_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Clip(model=str(folder)).network
    calls: list[list[str]] = []
    encode = network.encode
    monkeypatch.setattr(network.text, "_encode", lambda sentences: calls.append(list(sentences)) or encode(sentences))
    first = network.text.vector("cat", VOCABULARY.templates)
    assert network.text.vector("cat", VOCABULARY.templates) is first
    network.text.vector("cat", ("{}",))
    assert calls == [["a photo of a cat", "the cat"], ["cat"]]


@pytest.mark.parametrize("rule", [asked(), asked(40), asked(48, 24, 16)])
def test_an_image_does_not_feel_its_neighbours(rule: ClipPass, folder: Path) -> None:
    clip = Clip(model=str(folder))
    images = [picture(40, 56), picture(61, 33), picture(40, 56)]
    together = [value_path(features) for features in look(clip, rule, *images)]
    for image, found in zip(images, together, strict=True):
        alone = value_path(look(clip, rule, image)[0])
        assert torch.equal(alone, found) if rule.resize != "native" else torch.allclose(alone, found, atol=1e-5)
    again = look(Clip(model=str(folder)), rule, *images)
    assert all(torch.equal(value_path(features), found) for features, found in zip(again, together, strict=True))


def test_windows_are_averaged_where_they_overlap(folder: Path) -> None:
    """40 x 57 pixels, windows of 24 with stride 15: 3 x 4 windows off the patch grid, the last ones at the edge."""
    clip, image, reader = Clip(model=str(folder)), picture(40, 57), MaskCLIP(model=str(folder), form="value")
    windowed = replace(reader, resize=40, window=24, stride=15)
    (whole,) = look(clip, windowed.clip_pass, image)
    total, count = np.zeros((4, 40, 57)), np.zeros((40, 57))
    for top in (0, 15, 16):
        for left in (0, 15, 30, 33):
            crop = np.ascontiguousarray(image[top : top + 24, left : left + 24])
            (alone,) = look(clip, asked(24), crop)
            (scores,) = alone.scores(value_path(alone), VOCABULARY, plane_a_word=True)
            inside = slice(top, top + 24), slice(left, left + 24)
            total[:, *inside] += enlarged(scores.double().numpy(), (24, 24))
            count[inside] += 1
    found = windowed.read({windowed.clip_pass: whole}, VOCABULARY).numpy()
    assert count.max() == 9 and np.allclose(found, total / count, atol=1e-5)


def test_one_window_over_all_is_the_whole_image(folder: Path) -> None:
    clip, image = Clip(model=str(folder)), picture(40, 56)
    whole, window = look(clip, asked(40), image)[0], look(clip, asked(40, 64, 32), image)[0]
    assert whole.grid == window.grid == (5, 7) and torch.equal(value_path(whole), value_path(window))


def test_sizes_and_windows() -> None:
    image = np.zeros((333, 500, 3), np.uint8)
    assert target_size(image, 336, 16, 224) == (336, 505) and target_size(image, "native", 16, 224) == (224, 224)
    assert target_size(image, "shown", 16, 224) == (333, 500)
    assert target_size(np.zeros((3, 900, 3), np.uint8), 20, 16, 224) == (20, 6000)
    assert target_size(np.zeros((3, 900, 3), np.uint8), "shown", 16, 224) == (16, 900)
    tiling = tile((336, 505), 224, 112, 16)
    assert tiling.grid == (14, 14) and tiling.window == (224, 224)
    assert tiling.corners == tuple((top, left) for top in (0, 112) for left in (0, 112, 224, 281))
    assert tile((336, 505), 448, 224, 16).window == (336, 448)


def test_colours_and_filter_are_the_folders_own(folder: Path, tmp_path: Path) -> None:
    assert Normalisation.of_folder(tmp_path) is None
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3], "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert Normalisation.of_folder(tmp_path) == Normalisation((0.5, 0.4, 0.3), (0.1, 0.2, 0.3), 2)
    (tmp_path / "preprocessor_config.json").write_text('{"resample": 77}')
    with pytest.raises(ModelError, match="is no image processor's configuration"):
        Normalisation.of_folder(tmp_path)


def test_the_official_port_differs_in_colours_activation_and_eps(folder: Path) -> None:
    clean, official = MaskCLIP(model=str(folder)), MaskCLIP(model=str(folder), port="official")
    assert clean.clip_pass.backbone != official.clip_pass.backbone
    network = Clip(**official.clip_pass.backbone.as_dict()).network
    block, text = network.tower.encoder.layers[0], network.model.text_model.encoder.layers[0]
    number = torch.tensor([-0.3])
    assert torch.equal(block.mlp.activation_fn(number), torch.nn.functional.gelu(number))
    assert torch.allclose(text.mlp.activation_fn(number), number * torch.sigmoid(1.702 * number))
    assert block.layer_norm1.eps == network.tower.post_layernorm.eps == 1e-6 and text.layer_norm1.eps == 1e-5
    assert network.rule == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    image = picture(40, 56)
    found, usual = (value_path(look(each.backbone, each.clip_pass, image)[0]) for each in (official, clean))
    assert (found - usual).abs().max() > 1e-5  # rounding is below 1e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_float32_scores_near_the_full_ones(dtype: str, folder: Path) -> None:
    image = picture(40, 56)
    full, half = (look(Clip(model=str(folder), dtype=each), asked(), image)[0] for each in ("float32", dtype))
    assert half.network.dtype == getattr(torch, dtype)
    scores = half.scores(value_path(half), VOCABULARY)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, full.scores(value_path(full), VOCABULARY), atol=0.03)


def test_a_prompt_that_is_too_long_is_a_sentence(folder: Path) -> None:
    (features,) = look(Clip(model=str(folder)), asked(), picture(40, 56))
    with pytest.raises(ModelError, match=r"prompt 'a photo of a x{40}' has 51 tokens and this CLIP takes 32"):
        features.scores(value_path(features), Vocabulary((("x" * 40,),)))


def test_a_window_off_the_patch_grid_is_a_sentence(folder: Path) -> None:
    with pytest.raises(ModelError, match="window of 30 pixels does not fit patches of 8 pixels"):
        look(Clip(model=str(folder)), asked(40, 30), picture(40, 56))


def test_more_blocks_than_there_are_is_a_sentence(folder: Path) -> None:
    query = Query("one", picture(40, 56), VOCABULARY)
    with pytest.raises(ModelError, match="last 7 blocks were asked of a CLIP that has 3"):
        next(Clip(model=str(folder)).run([query], {asked(): block_inputs(7)}))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dtype": "float8"}, "dtype is 'float8'"), ({"resize": "big"}, "resize is 'big'"),
        ({"resize": 0}, "resize is 0"), ({"window": 0}, "window is 0"), ({"stride": 8}, "stride of 8 needs a window"),
        ({"window": 8, "stride": 16}, "stride of 16 needs a window at least as wide"),
        ({"port": "mine"}, "port is 'mine'"), ({"form": "worth"}, "form is 'worth'"),
        ({"ks_norm": "row"}, "ks_norm is 'row'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_sentences(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MaskCLIP(**settings)  # type: ignore[arg-type]


def opened(model: object) -> None:
    _ = Clip(model=str(model)).network


def test_what_cannot_be_opened_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model 'nowhere'"):
        opened("nowhere")
    with pytest.raises(ModelError, match="holds no model"):
        opened(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="asked for a clip model and holds vit"):
        opened(other)
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match=r"cannot be opened from .*broken"):
        opened(broken)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights, visual_projection\.weight first"):
        opened(broken)
    mute = Path(shutil.copytree(folder, tmp_path / "mute", ignore=shutil.ignore_patterns("vocab*", "merges*", "tok*")))
    with pytest.raises(ModelError, match=r"mute has no tokenizer: it needs tokenizer\.json"):
        opened(mute)


def test_the_fingerprint_follows_the_weights(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert MaskCLIP(model=str(copy)).fingerprint() == Clip(model=str(folder)).fingerprint()
    weights = load_file(copy / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert MaskCLIP(model=str(copy)).fingerprint() != Clip(model=str(folder)).fingerprint()
