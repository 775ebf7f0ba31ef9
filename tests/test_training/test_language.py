"""Tokenizer and captions of the Shapes training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.shapes_world import CLASSES
from training.captions import OPENINGS, caption, some
from training.settings import POSITIONS, TEMPLATE
from training.tokenizer import WORDS, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_every_listed_word_is_one_token(tokenizer) -> None:
    for word in WORDS:
        assert tokenizer.tokenize(word) == [f"{word}</w>"]


def test_text_comes_back_after_saving_and_loading(tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again.model_max_length == POSITIONS
    for text in ("a photo of a circle and a moon", "zebra crescent", "a drawing of the leaf, with no background."):
        tokens = tokenizer(text).input_ids
        assert again(text).input_ids == tokens
        assert tokenizer.decode(tokens, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_unknown_words_fall_back_to_bytes_and_the_end_mark_pads(tokenizer) -> None:
    assert len(tokenizer.tokenize("zebra")) > 1
    row = tokenizer("a moon", padding="max_length", max_length=POSITIONS).input_ids
    assert row[0] == tokenizer.bos_token_id
    assert set(row[3:]) == {tokenizer.eos_token_id} == {len(tokenizer) - 1}


def test_all_ten_names_fit_into_one_prompt(tokenizer) -> None:
    assert len(tokenizer(TEMPLATE.format(" and a ".join(CLASSES))).input_ids) <= POSITIONS


def test_captions_name_exactly_the_classes_given() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = {caption(["star", "ring"], generator) for _ in range(100)}
    assert seen == {
        f"{opening} a {x} and a {y}" for opening in OPENINGS for x, y in (("star", "ring"), ("ring", "star"))
    }
    assert caption([], generator) == ""


def test_some_keeps_a_proper_part_in_the_share_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [some([2, 5, 7], 0.3, generator) for _ in range(1000)]
    parts = [draw for draw in draws if len(draw) < 3]
    assert 250 < len(parts) < 350
    assert all(draw and set(draw) < {2, 5, 7} and len(set(draw)) == len(draw) for draw in parts)
    assert some([4], 1.0, generator) == [4]
