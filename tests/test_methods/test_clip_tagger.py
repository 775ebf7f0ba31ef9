"""The tagger on CLIP: its numbers against the library's own, its rule by hand, and what it sees on drawn shapes."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from benchmarks.shapes import Shapes
from harness.contracts import ModelError, Tagger, Vocabulary
from methods.checkpoints import SHIPPED
from methods.clip.pixels import Normalisation, normalised
from methods.clip_tagger import ClipTagger

VOCABULARY = Vocabulary((("cat",), ("dog", "hound"), ("car",), ("tree",)), templates=("a photo of a {}", "the {}"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with random weights, a 32-pixel square and a tokenizer of single letters."""
    place = tmp_path_factory.mktemp("tagger")
    tokens = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(place, model_max_length=32).save_pretrained(place)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = size | {"bos_token_id": 52, "eos_token_id": 53, "vocab_size": 54, "max_position_embeddings": 32}
    config = CLIPConfig(text_config=text, vision_config=size | {"image_size": 32, "patch_size": 8}, projection_dim=16)
    model = CLIPModel(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.logit_scale.data.fill_(1.5)
    model.save_pretrained(place)
    return place


@pytest.fixture
def image(lots: np.random.Generator) -> np.ndarray:
    return lots.integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [None, 20.0])
def test_shares_are_a_softmax_over_cosines_of_whole_image_and_texts(
    tiny: Path, image: np.ndarray, scale: float | None
) -> None:
    model, tokenizer = CLIPModel.from_pretrained(tiny).eval(), CLIPTokenizer.from_pretrained(tiny)
    cosines = []
    with torch.no_grad():
        pixels = torch.from_numpy(normalised(image, (32, 32), Normalisation()))[None]
        for names in VOCABULARY.names:
            each = []
            for name in names:
                vectors = []
                for template in VOCABULARY.templates:
                    tokens = tokenizer(template.format(name), return_tensors="pt").input_ids
                    out = model(input_ids=tokens, pixel_values=pixels)
                    vectors.append(out.text_embeds[0].double())
                    seen = out.image_embeds[0].double()
                mean = torch.stack(vectors).mean(0)
                each.append(float(seen @ mean / mean.norm()))
            cosines.append(max(each))
    powers = np.exp((np.exp(1.5) if scale is None else scale) * np.array(cosines))
    shares = ClipTagger(str(tiny), logit_scale=scale).shares(image, VOCABULARY).numpy()
    assert np.abs(shares - powers / powers.sum()).max() < 1e-5


def test_classes_above_the_threshold_are_taken_the_best_always_and_not_more_than_wanted(
    tiny: Path, image: np.ndarray
) -> None:
    shares = ClipTagger(str(tiny)).shares(image, VOCABULARY).tolist()
    ranked = sorted(range(4), key=lambda place: -shares[place])
    between = (shares[ranked[1]] + shares[ranked[2]]) / 2
    tagger = ClipTagger(str(tiny), threshold=between)
    assert isinstance(tagger, Tagger)
    assert tagger.tags(image, VOCABULARY) == ranked[:2]
    assert ClipTagger(str(tiny), threshold=between, top_k=1).tags(image, VOCABULARY) == ranked[:1]
    assert ClipTagger(str(tiny), threshold=1.0).tags(image, VOCABULARY) == ranked[:1]
    assert ClipTagger(str(tiny), threshold=0.0, top_k=3).tags(image, VOCABULARY) == ranked[:3]


@pytest.mark.parametrize(
    ("settings", "words"), [({"threshold": 1.5}, "threshold is 1.5"), ({"top_k": -1}, "top_k is -1"),
                            ({"dtype": "half"}, "dtype is 'half'")]
)  # fmt: skip
def test_settings_that_make_no_sense_get_a_sentence(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClipTagger(**settings)  # type: ignore[arg-type]


def test_the_fingerprint_stands_for_the_weights_and_a_missing_model_is_named(tiny: Path, tmp_path: Path) -> None:
    before = ClipTagger(str(tiny)).fingerprint()
    assert before == ClipTagger(str(tiny), threshold=0.5).fingerprint()
    with pytest.raises(ModelError, match="There is no model"):
        ClipTagger(str(tmp_path / "nowhere")).fingerprint()
    with pytest.raises(ModelError, match="There is no model"):
        ClipTagger(str(tmp_path / "nowhere")).tags(np.zeros((4, 5, 3), np.uint8), VOCABULARY)


@pytest.mark.skipif(not (SHIPPED / "shapes" / "clip").is_dir(), reason="the small CLIP is not trained: make models")
def test_it_finds_the_shapes_that_are_drawn() -> None:
    shapes = Shapes("val", images=12)
    vocabulary = Vocabulary(tuple((name,) for name in shapes.classes))
    tagger, right, given, there = ClipTagger("shapes"), 0, 0, 0
    for image_id in shapes.ids():
        sample = shapes.load(image_id)
        drawn = {place for place in range(len(shapes.classes)) if (sample.truth == place + 1).any()}
        tags = set(tagger.tags(sample.image, vocabulary))
        right, given, there = right + len(tags & drawn), given + len(tags), there + len(drawn)
    assert right / given > 0.8 and right / there > 0.6
