"""Prompts: forms, token positions, and names that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.contracts import ModelError
from methods.diffusion.prompts import joiner_for, joint_prompts, single_prompts

TEMPLATE = "a photo of a {}"


@pytest.fixture(scope="module")
def tokenizer(small_model: str):  # type: ignore[no-untyped-def]
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(Path(small_model) / "tokenizer")


@pytest.fixture(scope="module")
def tokenize(tokenizer):  # type: ignore[no-untyped-def]
    return lambda text: tokenizer(text, return_offsets_mapping=True)["offset_mapping"]


def held(tokenizer, prompt, position: int) -> str:  # type: ignore[no-untyped-def]
    """What the tokens of a class say, without blanks."""
    ids = tokenizer(prompt.text)["input_ids"]
    (places,) = [places for one, places in prompt.places if one == position]
    return str(tokenizer.decode([ids[place] for place in places])).replace(" ", "")


def test_names_are_found_where_they_stand(tokenizer, tokenize) -> None:  # type: ignore[no-untyped-def]
    names = ["cat", "Traffic Light", "T-shirt", "crème brûlée", "dining-table", "photo", "cat", "a"]
    (prompt,) = joint_prompts(names, TEMPLATE, tokenize, 200)
    assert prompt.text == "a photo of a " + " and a ".join(names)
    assert [held(tokenizer, prompt, place) for place in range(len(names))] == [
        name.lower().replace(" ", "") for name in names
    ]
    taken = [place for _, places in prompt.places for place in places]
    assert len(taken) == len(set(taken))
    assert 2 not in taken  # the template's own "photo"
    (first, *_) = single_prompts(names, "{} in a photo", tokenize, 200)
    assert first.text == "cat in a photo"
    assert first.places == ((0, (1,)),)


def test_joiners() -> None:
    assert joiner_for("a photo of a {}") == " and a "
    assert joiner_for("an {} in the wild") == " and an "
    assert joiner_for("a photograph of {}") == " and "
    assert joiner_for("{}") == " and "


def test_a_long_list_is_split_in_order(tokenize) -> None:  # type: ignore[no-untyped-def]
    names = ["cat", "dog", "car", "cat", "wall", "dog"]
    prompts = joint_prompts(names, TEMPLATE, tokenize, 12)
    assert [prompt.text for prompt in prompts] == [
        "a photo of a cat and a dog",
        "a photo of a car and a cat",
        "a photo of a wall",
        "a photo of a dog",
    ]
    assert [[one for one, _ in prompt.places] for prompt in prompts] == [[0, 1], [2, 3], [4], [5]]
    assert all(len(tokenize(prompt.text)) <= 12 for prompt in prompts)
    assert [prompt.text for prompt in joint_prompts(["cat", "dog"], "{}", tokenize, 30, ", ")] == ["cat, dog"]


def test_what_does_not_fit_is_said(tokenize) -> None:  # type: ignore[no-untyped-def]
    for names in (["wolverine"], ["cat", "wolverine"]):
        with pytest.raises(ModelError, match="'wolverine' does not fit into the 12 token positions"):
            joint_prompts(names, TEMPLATE, tokenize, 12)
        with pytest.raises(ModelError, match="'wolverine' does not fit"):
            single_prompts(names, TEMPLATE, tokenize, 12)
    with pytest.raises(ModelError, match="' ' has no tokens"):
        joint_prompts(["cat", " "], TEMPLATE, tokenize, 12)
    with pytest.raises(ModelError, match=r"exactly one \{\}"):
        joint_prompts(["cat"], "a {} and a {}", tokenize, 12)


def test_no_names_ask_for_the_empty_prompt(tokenize) -> None:  # type: ignore[no-untyped-def]
    assert [prompt.text for prompt in joint_prompts([], TEMPLATE, tokenize, 12)] == [""]
    assert single_prompts([], TEMPLATE, tokenize, 12) == ()
