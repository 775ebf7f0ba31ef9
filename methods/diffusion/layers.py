"""A wish such as `1/2` or `4-8` and the attention layers of a network flow in; the indices that are meant flow out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.contracts import ModelError

Spec: TypeAlias = "str | int | tuple[str | int, ...]"

ALL, CROSS, SELF, SELF_FIRST, HEADS = "all", "cross:", "self:", "self-first:", "heads"


@dataclass(frozen=True)
class Layer:
    """One transformer block: its index in network order (down, mid, up), its path, and its side below the latent's.

    factor: how often the latent's height and width are halved, as a divisor (1, 2, 4, 8).
    resolution: (height, width) of its maps.
    """

    index: int
    path: str
    factor: int
    resolution: tuple[int, int]


def tokens(spec: Spec) -> tuple[str, ...]:
    """The parts of a wish: `"1/2, 4-8"`, `"1/2+4-8"`, `("1/2", 4)` and `7` all become texts."""
    parts = spec if isinstance(spec, tuple | list) else (spec,)
    return tuple(piece.strip() for part in parts for piece in re.split("[,+]", str(part)) if piece.strip())


def canonical(spec: Spec) -> str:
    """One text for a wish, to be part of a request."""
    return ",".join(tokens(spec))


def select(spec: Spec, layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices that a wish names, in network order.

    A wish is a list of: `all`; an index `7` or a span `4-8`; a side as a share of the latent's (`1/1`, `1/2` ...);
    `largest`, `second` or `smallest` side; and each of these on the way down or up only (`up:1/2`). ModelError when
    it names nothing, with the layers there are.
    """
    chosen = {index for token in tokens(spec) for index in _matching(token, layers)}
    if not chosen:
        raise ModelError(f"The layers {canonical(spec)!r} name nothing; {describe(layers)}.")
    return tuple(sorted(chosen))


def describe(layers: Sequence[Layer]) -> str:
    """The layers of a network in words, for messages."""
    sides = sorted({layer.factor for layer in layers})
    held = {side: ", ".join(str(one.index) for one in layers if one.factor == side) for side in sides}
    listed = "; ".join(f"1/{side}: {indices}" for side, indices in held.items())
    return f"this network has {len(layers)} attention layers, by side ({listed})"


def own_part(spec: Spec, rows: str) -> str:
    """The part of a pass that `propagate` and `self_attention` read, from all prompts (`mean`) or the `first`."""
    if rows not in ("mean", "first"):
        raise ModelError(f"Self-attention is read from the prompts by 'mean' or 'first', not by {rows!r}.")
    return (SELF if rows == "mean" else SELF_FIRST) + canonical(spec)


def _matching(token: str, layers: Sequence[Layer]) -> list[int]:
    if way := re.fullmatch(r"(down|mid|up):(.+)", token):
        return [index for index in _matching(way[2], layers) if layers[index].path.startswith(way[1])]
    sides = sorted({layer.factor for layer in layers})
    named = {"largest": sides[:1], "second": sides[1:2], "smallest": sides[-1:], ALL: sides}
    if token in named:
        wanted = named[token]
        return [layer.index for layer in layers if layer.factor in wanted]
    if share := re.fullmatch(r"1/(\d+)", token):
        found = [layer.index for layer in layers if layer.factor == int(share[1])]
    elif span := re.fullmatch(r"(\d+)(?:-(\d+))?", token):
        ends = range(int(span[1]), int(span[2] or span[1]) + 1)
        found = [layer.index for layer in layers if layer.index in ends] if len(ends) <= len(layers) else []
        found = found if len(found) == len(ends) else []
    else:
        found = []
    if not found:
        raise ModelError(
            f"There is no layer {token!r}: a wish is `all`, an index, a span such as 4-8, a side such as 1/2, or "
            f"largest, second, smallest; {describe(layers)}."
        )
    return found
