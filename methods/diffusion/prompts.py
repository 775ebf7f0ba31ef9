"""Class names and a tokenizer flow in; prompts that fit, with the token positions of every class, flow out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TypeAlias

from harness.contracts import ModelError, Vocabulary

Offsets: TypeAlias = Sequence[tuple[int, int]]
Tokenize: TypeAlias = Callable[[str], Offsets]  # characters [start, end) that every token stands for, marks included
SLOT = "{}"


@dataclass(frozen=True)
class Prompt:
    """A text, and for each class in it (position in the vocabulary) the positions of its tokens."""

    text: str
    places: tuple[tuple[int, tuple[int, ...]], ...]


def joiner_for(template: str) -> str:
    """What stands between names of a joint prompt: the article before the slot is repeated (`a cat and a dog`)."""
    article = re.search(r"(?:^|\s)(an?|the) \{\}", template)
    return f" and {article[1]} " if article else " and "


def joint_prompts(
    words: Sequence[str], template: str, tokenize: Tokenize, limit: int, joiner: str | None = None
) -> tuple[Prompt, ...]:
    """All names in one prompt; in as few as fit, filled in order, where one has too few positions. Never truncated.

    limit: token positions of the text encoder, both end marks included. Without names: the empty prompt.
    ModelError when a single name does not fit.
    """
    between = joiner_for(template) if joiner is None else joiner
    build = partial(_build, template=template, joiner=between, tokenize=tokenize)
    prompts: list[Prompt] = []
    held: list[int] = []
    best = Prompt("", ())
    for position in range(len(words)):
        longer = build([(one, words[one]) for one in [*held, position]], limit=limit)
        if longer is None:
            prompts.append(best)
            held = []
            longer = build([(position, words[position])], limit=limit)
        if longer is None:
            raise _too_long(words[position], template, limit)
        held, best = [*held, position], longer
    return (*prompts, best) if held or not prompts else tuple(prompts)


def single_prompts(words: Sequence[str], template: str, tokenize: Tokenize, limit: int) -> tuple[Prompt, ...]:
    """One prompt a class, in order. ModelError when a name does not fit."""
    prompts = []
    for position, word in enumerate(words):
        prompt = _build([(position, word)], limit, template, "", tokenize)
        if prompt is None:
            raise _too_long(word, template, limit)
        prompts.append(prompt)
    return tuple(prompts)


def other_words(vocabulary: Vocabulary, image_id: str, seed: int) -> tuple[str, ...]:
    """As many wrong names as there are right ones: classes not offered, in an order that image id and seed decide.

    With fewer classes left over than offered, the offered names are turned round by at least one position instead.
    """
    words = vocabulary.words
    spare = sorted({synonyms[0] for synonyms in vocabulary.others} - set(words), key=partial(_lot, image_id, seed))
    if len(spare) >= len(words):
        return tuple(spare[: len(words)])
    turn = 1 + int.from_bytes(_lot(image_id, seed, ""), "big") % max(1, len(words) - 1)
    return words[turn:] + words[:turn]


def _lot(image_id: str, seed: int, word: str) -> bytes:
    return blake2b(f"{seed}\0{image_id}\0{word}".encode(), digest_size=8).digest()


def _build(
    named: Sequence[tuple[int, str]], limit: int, template: str, joiner: str, tokenize: Tokenize
) -> Prompt | None:
    """The prompt for these (position, name) pairs, or None when it has more tokens than positions."""
    if template.count(SLOT) != 1:
        raise ModelError(f"The template {template!r} needs exactly one {SLOT} for the class name.")
    before, after = template.split(SLOT)
    text, spans = before, []
    for place, (_, word) in enumerate(named):
        text += joiner if place else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    text += after
    offsets = tokenize(text)
    if len(offsets) > limit:
        return None
    pairs = zip(named, spans, strict=True)
    return Prompt(text, tuple((position, _tokens_in(span, offsets, word)) for (position, word), span in pairs))


def _tokens_in(span: tuple[int, int], offsets: Offsets, word: str) -> tuple[int, ...]:
    found = tuple(place for place, (start, end) in enumerate(offsets) if start < span[1] and end > span[0])
    if not found:
        raise ModelError(f"The class name {word!r} has no tokens: give every class a name that says something.")
    return found


def _too_long(word: str, template: str, limit: int) -> ModelError:
    return ModelError(
        f"The class name {word!r} does not fit into the {limit} token positions of the text encoder with the template "
        f"{template!r}: use a shorter name or template."
    )
