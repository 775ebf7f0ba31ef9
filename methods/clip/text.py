"""Names and templates flow in; one unit vector a name flows out, encoded once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from harness.contracts import Vocabulary


class TextBank:
    """Text embeddings by (name, templates).

    Each rendered sentence is encoded and normalised, the vectors averaged, the mean normalised again (CLIP's prompt
    ensemble, arXiv 2103.00020 section 3.1.4). The sentences of one name go through the encoder together and nothing
    else with them, so that a vector does not depend on the rest of the vocabulary.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]):
        """encode: sentences to projected text features (sentences, width), not yet normalised."""
        self._encode = encode
        self._kept: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    def vector(self, name: str, templates: tuple[str, ...]) -> Tensor:
        """The unit vector (width) of one name, float32."""
        key = (name.strip(), templates)
        if key not in self._kept:
            each = F.normalize(self._encode([template.replace("{}", key[0]) for template in templates]).float(), dim=-1)
            self._kept[key] = F.normalize(each.mean(dim=0), dim=-1)
        return self._kept[key]

    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        """Products (positions, ...) of embeddings (..., width) with each position's best name, or with every name of
        every position in order."""
        planes = []
        for names in vocabulary.names:
            products = [embeddings @ self.vector(name, vocabulary.templates) for name in names]
            planes += products if plane_a_word or len(products) == 1 else [_largest(products)]
        return _stacked(planes, embeddings)


def _largest(planes: list[Tensor]) -> Tensor:
    largest = planes[0]
    for plane in planes[1:]:
        largest = largest.maximum(plane)
    return largest


def _stacked(planes: list[Tensor], embeddings: Tensor) -> Tensor:
    """(planes, ...), also for a vocabulary that is empty."""
    stacked = embeddings.new_empty((len(planes), *embeddings.shape[:-1]))
    for place, plane in enumerate(planes):
        stacked[place] = plane
    return stacked
