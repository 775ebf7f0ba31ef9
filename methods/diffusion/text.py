"""Names and a request flow in; prompts with token positions, and the text encoder's states for them, flow out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from harness.contracts import Query
from methods.diffusion.passes import DiffusionPass
from methods.diffusion.places import Places, places_of
from methods.diffusion.prompts import Prompt, joint_prompts, other_words, single_prompts

Key = TypeVar("Key")
Value = TypeVar("Value")
CACHED = 512  # prompts whose states are kept: 120 MB for Stable Diffusion in float32


class TextSide:
    """A tokenizer and a text encoder that answer each prompt once."""

    def __init__(self, tokenizer: Any, encoder: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder
        self.device, self.dtype = device, dtype
        self.positions: int = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        self._states: dict[str, Tensor] = {}
        self._places: dict[tuple[Prompt, ...], Places] = {}
        self._prompts: dict[tuple[tuple[str, ...], str, str, str | None], tuple[Prompt, ...]] = {}

    def prompts(self, query: Query, request: DiffusionPass) -> tuple[Prompt, ...]:
        """The prompts of one image, in order. ModelError when a name does not fit."""
        vocabulary = query.vocabulary
        wrong = request.whose_names == "others"
        words = other_words(vocabulary, query.image_id, request.seed) if wrong else vocabulary.words
        template = vocabulary.templates[0] if request.template is None else request.template
        asked = (words, request.prompt, template, request.joiner)
        return _kept(self._prompts, asked, lambda: self._write(*asked))

    def states(self, text: str) -> Tensor:
        """States (1, positions, width) of one prompt, alone in its call, so that they depend on nothing else."""
        return _kept(self._states, text, lambda: self._encode(text))

    def places(self, prompts: tuple[Prompt, ...]) -> Places:
        """Where the tokens of the classes of one image stand in its prompts, on the device."""
        return _kept(self._places, prompts, lambda: places_of(prompts, self.positions, self.device))

    def _write(self, words: tuple[str, ...], mode: str, template: str, joiner: str | None) -> tuple[Prompt, ...]:
        if mode == "per_class":
            return single_prompts(words, template, self._offsets, self.positions)
        return joint_prompts(words, template, self._offsets, self.positions, joiner)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self.tokenizer(text, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        return found

    @torch.no_grad()
    def _encode(self, text: str) -> Tensor:
        given = self.tokenizer(text, padding="max_length", max_length=self.positions)
        tokens = torch.tensor([given["input_ids"]], dtype=torch.int64, device=self.device)
        states: Tensor = self.encoder(input_ids=tokens)[0]
        return states.to(self.dtype)


def _kept(cache: dict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """The value of a key, made when it is not there yet; the oldest one goes when there are too many."""
    if key not in cache:
        value = make()
        if len(cache) >= CACHED:
            del cache[next(iter(cache))]
        cache[key] = value
    return cache[key]
