"""A UNet flows in; its attention layers in network order, and what their queries and keys hold in a forward, flow out.

Queries and keys are read by hooks on the projections `to_q` and `to_k`, so the forward itself is the library's own,
with its fused kernels, to the last bit. The hooks are taken out again whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import ModelError
from methods.diffusion.layers import Layer

Take = Callable[[str, int, Tensor, Tensor], None]  # kind, layer index, queries and keys (rows, heads, positions, width)


@dataclass(frozen=True)
class Wanted:
    """Layer indices by what is read of them: class maps, self-attention of all prompts, of the first prompt only."""

    cross: frozenset[int]
    own: frozenset[int]
    own_first: frozenset[int]
    heads: bool = False

    @property
    def projections(self) -> tuple[tuple[int, str], ...]:
        """(layer, `attn1` | `attn2`) of all that is read, in the order in which a forward reaches them."""
        own = {(index, "attn1") for index in self.own | self.own_first}
        return tuple(sorted(own | {(index, "attn2") for index in self.cross}))


class Enough(Exception):
    """No error: raised after the last layer that is read, to end the forward, and caught by `reading`."""


def blocks_in_order(unet: nn.Module) -> list[tuple[str, int, nn.Module]]:
    """(path, factor below the latent, transformer block) from the input to the output: down, mid, up.

    Modules are addressed by path: the UNet registers its middle block last.
    """
    found: list[tuple[str, int, nn.Module]] = []
    factor = 1
    for place, block in enumerate(_children(unet, "down_blocks")):
        found += _transformers(block, f"down_blocks.{place}", factor)
        factor *= 2 if getattr(block, "downsamplers", None) else 1
    middle = getattr(unet, "mid_block", None)
    if middle is not None:
        found += _transformers(middle, "mid_block", factor)
    for place, block in enumerate(_children(unet, "up_blocks")):
        found += _transformers(block, f"up_blocks.{place}", factor)
        factor //= 2 if getattr(block, "upsamplers", None) else 1
    return found


def layers_of(unet: nn.Module, latent: tuple[int, int]) -> tuple[Layer, ...]:
    """The attention layers of a UNet for latents of (height, width); halving rounds up, as the network's does."""
    layers = tuple(
        Layer(index, path, factor, (-(-latent[0] // factor), -(-latent[1] // factor)))
        for index, (path, factor, _) in enumerate(blocks_in_order(unet))
    )
    if not layers:
        raise ModelError(f"{type(unet).__name__} has no transformer blocks with self- and cross-attention to read.")
    return layers


@contextmanager
def reading(unet: nn.Module, wanted: Wanted, take: Take) -> Iterator[None]:
    """While it is open, `take` gets queries and keys of what is wanted; the forward ends after the last of them."""
    blocks = blocks_in_order(unet)
    projections = wanted.projections
    handles = []
    try:
        for index, name in projections:
            attention = getattr(blocks[index][2], name)
            queries: list[Tensor] = []
            handles.append(attention.to_q.register_forward_hook(partial(_remember, queries)))
            last = (index, name) == projections[-1]
            hand_over = partial(_hand_over, attention, name, index, queries, take, last)
            handles.append(attention.to_k.register_forward_hook(hand_over))
        yield
    except Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mean over heads of softmax(Q K^T / sqrt(width)) V, in float32; the matrix of all pairs exists nowhere.

    queries, keys: (rows, heads, positions, width). values: (rows, positions, columns), the same for all heads -> the
    same shape. V is cut into slices exactly as wide as Q and K: only then does the fused kernel run on a CPU, and no
    column depends on how many others there are.
    """
    queries, keys = queries.float(), keys.float()
    heads, width, columns = queries.shape[1], queries.shape[-1], values.shape[-1]
    done = [
        F.scaled_dot_product_attention(queries, keys, part[:, None].expand(-1, heads, -1, -1)).mean(dim=1)
        for part in torch.split(filled_up(values, width), width, dim=-1)
    ]
    return (done[0] if len(done) == 1 else torch.cat(done, dim=-1))[..., :columns] if columns else values.float()


def filled_up(values: Tensor, width: int) -> Tensor:
    """Values (rows, positions, columns) in float32, in one piece, with columns of zeros up to a multiple of a width."""
    missing = -values.shape[-1] % width
    return F.pad(values.float(), (0, missing)) if missing else values.float().contiguous()


def probabilities(queries: Tensor, keys: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(width)) in float32: (heads, positions, width) twice -> (heads, positions, keys)."""
    logits = queries.float() @ keys.float().transpose(-1, -2)
    return logits.mul_(queries.shape[-1] ** -0.5).softmax(dim=-1)


def by_token(queries: Tensor, keys: Tensor) -> Tensor:
    """The same of several rows at once, keys before queries: (rows, heads, positions, width) and (rows, heads, keys,
    width) -> (rows, heads, keys, positions), so that what a token is seen by lies in one piece."""
    logits = keys.float() @ queries.float().transpose(-1, -2)
    return logits.mul_(queries.shape[-1] ** -0.5).softmax(dim=-2)


def _children(unet: nn.Module, name: str) -> list[nn.Module]:
    return list(getattr(unet, name, None) or [])


def _transformers(block: nn.Module, path: str, factor: int) -> list[tuple[str, int, nn.Module]]:
    found: list[tuple[str, int, nn.Module]] = []
    for place, attention in enumerate(_children(block, "attentions")):
        for depth, inner in enumerate(_children(attention, "transformer_blocks")):
            if getattr(inner, "attn1", None) is not None and getattr(inner, "attn2", None) is not None:
                found.append((f"{path}.attentions.{place}.transformer_blocks.{depth}", factor, inner))
    return found


def _remember(queries: list[Tensor], module: nn.Module, inputs: Any, output: Tensor) -> None:
    queries.append(output)


def _hand_over(
    attention: Any,
    name: str,
    index: int,
    queries: list[Tensor],
    take: Take,
    last: bool,
    module: nn.Module,
    inputs: Any,
    output: Tensor,
) -> None:
    query, key = (_by_heads(flat, attention.heads) for flat in (queries.pop(), output))
    norm_query, norm_key = getattr(attention, "norm_q", None), getattr(attention, "norm_k", None)
    query = query if norm_query is None else norm_query(query)
    key = key if norm_key is None else norm_key(key)
    take(name, index, query, key)
    if last:
        raise Enough


def _by_heads(flat: Tensor, heads: int) -> Tensor:
    """(rows, positions, heads * width) -> (rows, heads, positions, width), a view."""
    return flat.view(*flat.shape[:2], heads, -1).transpose(1, 2)
