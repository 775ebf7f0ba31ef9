"""What enters a tower's last blocks flows in; what every method makes of it, with verbs that finish those blocks, flows
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import Image, Vocabulary
from harness.contracts.sending import sent
from methods.clip.pixels import Tiling
from methods.clip.text import TextBank


@dataclass(frozen=True, eq=False)
class Projected:
    """What one block's attention works on.

    queries, keys, values: (windows, heads, 1 + patches, head width), class token first. norm: mean length of the
    normalised tokens they come from, (windows, 1, 1, 1). grid: (rows, columns) of a window.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    norm: Tensor
    grid: tuple[int, int]


Attention: TypeAlias = Callable[[Projected], Tensor]  # to mixed values, shaped as the values


def attend_by_head(
    one: Tensor, other: Tensor, values: Tensor, *, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """softmax(one otherᵀ · scale + bias) values, the matrix never built; scale is 1 / sqrt(head width) unless given."""
    return F.scaled_dot_product_attention(one, other, values, attn_mask=bias, scale=scale)


class Tower(Protocol):
    """What features need of the network that left them."""

    model: Any
    tower: Any
    text: TextBank
    patch: int
    heads: int

    def windows(self, image: Image, tiling: Tiling) -> Tensor: ...


class ClipFeatures:
    """What the pass leaves of one image, window by window; `inputs` as `block_inputs` gives.

    grid: the (rows, columns) of a window in patches. image: what was looked at, as the query gave it.
    """

    def __init__(self, network: Tower, inputs: Sequence[Tensor], tiling: Tiling, image: Image):
        self.network, self.inputs, self.tiling, self.grid, self.image = network, inputs, tiling, tiling.grid, image

    @torch.no_grad()
    def embeddings(
        self, attention: Attention, *, residual: bool = True, feedforward: bool = True, blocks: int = 1
    ) -> Tensor:
        """Unit embeddings (windows, rows, columns, width), float32, with the last blocks' attention replaced.

        With x_l what enters block l, y = LN1(x_l), and (q, k, v) its projections:
        u <- u + W_o attention(q, k, v), then u <- u + MLP(LN2(u)) if feedforward, over the last `blocks` blocks, from
        u = x of the first of them if residual, else 0. Every block reads the tower's own x_l. Then LN_post, projection,
        unit length; the class token is dropped.
        """
        mixed = self.inputs[blocks - 1] if residual else torch.zeros_like(self.inputs[0])
        for place in range(blocks - 1, -1, -1):
            block = self.network.tower.encoder.layers[-1 - place]
            mixed = mixed + self.attended(self.inputs[place], attention, place)
            if feedforward:
                mixed = mixed + block.mlp(block.layer_norm2(mixed))
        return self.projected(mixed[:, 1:])

    @torch.no_grad()
    def attended(self, tokens: Tensor, attention: Attention, place: int = 0) -> Tensor:
        """W_o attention(q, k, v) of a block, the last one or `place` before it, for tokens (windows, tokens, width)."""
        return self.output(attention(self.heads_of(tokens, place)).transpose(1, 2).flatten(2), place)

    @torch.no_grad()
    def output(self, values: Tensor, place: int = 0) -> Tensor:
        """W_o of a block's mixed values (windows, tokens, width), heads side by side."""
        mixed: Tensor = self.network.tower.encoder.layers[-1 - place].self_attn.out_proj(values)
        return mixed

    @torch.no_grad()
    def projected(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Tokens at the tower's end, of the patches or of another grid, to unit embeddings (windows, rows, columns,
        width), float32."""
        return self._on_grid(F.normalize(self.ended(tokens), dim=-1), grid)

    @torch.no_grad()
    def ended(self, tokens: Tensor) -> Tensor:
        """Tokens (windows, tokens, width) at the tower's end, to float32 in the space of the texts, of any length."""
        found: Tensor = self.network.model.visual_projection(self.network.tower.post_layernorm(tokens))
        return found.float()

    @torch.no_grad()
    def normed(self, place: int) -> Tensor:
        """LN1 of a block's input, the last one's or of `place` blocks before it: (windows, 1 + patches, width)."""
        found: Tensor = self.network.tower.encoder.layers[-1 - place].layer_norm1(self.inputs[place])
        return found

    def project(self, place: int = 0) -> Projected:
        """Queries, keys and values of the last block (0), of the one before (1), and so on."""
        return self.heads_of(self.inputs[place], place)

    def heads_of(self, tokens: Tensor, place: int = 0) -> Projected:
        """Queries, keys and values that a block makes of tokens (windows, tokens, width)."""
        block = self.network.tower.encoder.layers[-1 - place]
        normed = block.layer_norm1(tokens)
        heads = [
            layer(normed).reshape(*normed.shape[:2], self.network.heads, -1).transpose(1, 2)
            for layer in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
        ]
        norm = normed.norm(dim=-1).mean(dim=-1)[:, None, None, None]
        return Projected(heads[0], heads[1], heads[2], norm, self.grid)

    @torch.no_grad()
    def keys(self) -> Tensor:
        """Output-projected keys W_o(k) of the last block (windows, rows, columns, width), float32."""
        attention = self.network.tower.encoder.layers[-1].self_attn
        keys = attention.out_proj(self.project().keys.transpose(1, 2).flatten(2))
        return self._on_grid(keys[:, 1:].float())

    def patch_pixels(self) -> Tensor:
        """What the tower saw of every window (windows, 3, height, width), without what is no whole patch."""
        rows, columns = (count * self.network.patch for count in self.grid)
        shown = self.network.windows(self.image, self.tiling)
        return sent(shown[:, :, :rows, :columns], self.inputs[0].device)

    def text(self, vocabulary: Vocabulary) -> list[Tensor]:
        """Unit vectors (names, width) of every position."""
        return [
            torch.stack([self.network.text.vector(name, vocabulary.templates) for name in names])
            for names in vocabulary.names
        ]

    @torch.no_grad()
    def scores(self, embeddings: Tensor, vocabulary: Vocabulary, plane_a_word: bool = False) -> Tensor:
        """Cosines (windows, positions, rows, columns) of embeddings (windows, rows, columns, width): of a class's best
        name, or of every name of every class in order."""
        return self.network.text.scores(embeddings, vocabulary, plane_a_word).transpose(0, 1)

    def _on_grid(self, values: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(windows, patches, width) to (windows, rows, columns, width)."""
        return values.reshape(len(values), *(grid or self.grid), -1)


class JointFeatures(ClipFeatures):
    """Features of a batch that is one call; what every method of the family asks of the last block is made once."""

    @cached_property
    def _last(self) -> Projected:
        return super().project()

    def project(self, place: int = 0) -> Projected:
        """As ClipFeatures'; of the last block, which all methods read, made once."""
        return super().project(place) if place else self._last
