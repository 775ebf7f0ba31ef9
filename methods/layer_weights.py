"""A wish for layer weights flows in; one number a chosen layer flows out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from harness.contracts import MethodError
from methods.diffusion.layers import Layer

Weights: TypeAlias = "str | tuple[float, ...]"


def layer_weights(wish: Weights, layers: Sequence[Layer]) -> list[float]:
    """Weights of layers in network order.

    wish: `uniform` (they sum to 1); one number a layer; `1/8:.3, 1/4:.5` shares of a side's weight equally among its
    layers (sides not named get 0); or a `.json` file that holds such a list of numbers. MethodError otherwise.
    """
    if wish == "uniform":
        return [1.0 / len(layers)] * len(layers)
    if isinstance(wish, str) and ":" in wish and not wish.endswith(".json"):
        return _by_side(wish, layers)
    numbers = _read(wish) if isinstance(wish, str) else tuple(float(one) for one in wish)
    if len(numbers) != len(layers):
        raise MethodError(f"There are {len(numbers)} layer weights for {len(layers)} layers: give one number a layer.")
    return list(numbers)


def weights_stamp(wish: Weights) -> str:
    """The content of a file of weights as a hash, an empty text for other wishes."""
    if isinstance(wish, str) and wish.endswith(".json"):
        return blake2b(repr(_read(wish)).encode(), digest_size=8).hexdigest()
    return ""


def _by_side(wish: str, layers: Sequence[Layer]) -> list[float]:
    shares: dict[int, float] = {}
    for piece in wish.split(","):
        match = re.fullmatch(r"\s*1/(\d+)\s*:\s*([\d.eE+-]+)\s*", piece)
        if match is None:
            raise MethodError(f"Among the layer weights, {piece.strip()!r} is not of the form 1/4:.5 (side, weight).")
        shares[int(match[1])] = float(match[2])
    count = {side: sum(layer.factor == side for layer in layers) for side in shares}
    if missing := [side for side, found in count.items() if not found]:
        raise MethodError(f"There is a layer weight for the side 1/{missing[0]}, and no chosen layer of that side.")
    return [shares.get(layer.factor, 0.0) / max(1, count.get(layer.factor, 1)) for layer in layers]


@lru_cache(maxsize=32)
def _read(name: str) -> tuple[float, ...]:
    path = Path(name)
    if path.suffix != ".json":
        raise MethodError(f"Layer weights are 'uniform', numbers, sides ('1/8:.3'), or a .json file, not {name!r}.")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return tuple(float(one) for one in held)
    except (OSError, ValueError, TypeError) as problem:
        raise MethodError(f"The layer weights in {name!r} cannot be read as a list of numbers: {problem}.") from problem
