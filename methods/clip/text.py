"""Names and templates flow in; one unit vector a name flows out, encoded once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import Vocabulary

KEPT = 512  # vocabularies whose vectors are joined: 157 MB for 150 names of 512 numbers


class TextBank:
    """Text embeddings by (name, templates).

    Each rendered sentence is encoded and normalised, the vectors averaged, the mean normalised again (CLIP's prompt
    ensemble, arXiv 2103.00020 section 3.1.4). The sentences of one name go through the encoder together and nothing
    else with them, so that a vector does not depend on the rest of the vocabulary.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]):
        """encode: sentences to projected text features (sentences, width), not yet normalised."""
        self._encode = encode
        self._joined: dict[tuple[tuple[tuple[str, ...], ...], tuple[str, ...]], Tensor] = {}
        self._kept: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    def vector(self, name: str, templates: tuple[str, ...]) -> Tensor:
        """The unit vector (width) of one name, float32."""
        key = (name.strip(), templates)
        if key not in self._kept:
            each = F.normalize(self._encode([template.replace("{}", key[0]) for template in templates]).float(), dim=-1)
            self._kept[key] = F.normalize(each.mean(dim=0), dim=-1)
        return self._kept[key]

    def vectors(self, vocabulary: Vocabulary) -> Tensor:
        """The unit vectors (names, width) of every name of every position in order, joined once a vocabulary."""
        key = (vocabulary.names, vocabulary.templates)
        if key not in self._joined:
            found = torch.stack([self.vector(name, key[1]) for names in key[0] for name in names])
            if len(self._joined) >= KEPT:
                del self._joined[next(iter(self._joined))]
            self._joined[key] = found
        return self._joined[key]

    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        """Products (positions, ...) of embeddings (..., width) with each position's best name, or with every name of
        every position in order."""
        if not len(vocabulary):
            return embeddings.new_empty((0, *embeddings.shape[:-1]))
        flat = embeddings.reshape(-1, embeddings.shape[-1])
        products = self.vectors(vocabulary) @ flat.T
        counts = [len(names) for names in vocabulary.names]
        if not plane_a_word and max(counts) > 1:
            products = torch.stack([planes.amax(dim=0) for planes in torch.split(products, counts)])
        return products.view(-1, *embeddings.shape[:-1])
