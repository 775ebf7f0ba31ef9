"""The generators that a process has in common (random, numpy, torch): kept, set from a few words, and put back.

The functions are taken by name when this is loaded: a plug-in may have put others in their modules.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from random import getstate, setstate
from random import seed as seed_python
from typing import Any

from numpy.random import get_state, set_state
from numpy.random import seed as seed_numpy


def keep() -> tuple[Any, ...]:
    """The states of all generators, on GPUs that are in use too."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "default_generator"):
        return getstate(), get_state(), None, []
    return getstate(), get_state(), torch.get_rng_state(), [one.get_state() for one in _on_gpus(torch)]


def put_back(kept: tuple[Any, ...]) -> None:
    """Make them as they were kept."""
    python, numpys, torchs, gpus = kept
    setstate(python)
    set_state(numpys)
    if torchs is not None:
        torch = sys.modules["torch"]
        torch.set_rng_state(torchs)
        for generator, state in zip(_on_gpus(torch), gpus, strict=False):
            generator.set_state(state)


def seed(*words: str) -> None:
    """Set all of them to what these words stand for: equal words, equal draws, in any process."""
    number = int.from_bytes(blake2b("\n".join(words).encode(errors="replace"), digest_size=8).digest(), "big") >> 1
    seed_python(number)
    seed_numpy(number & 0xFFFFFFFF)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(number)
        for generator in _on_gpus(torch):
            generator.manual_seed(number)


def drawn(kept: tuple[Any, ...]) -> bool:
    """Whether anybody has drawn from random, numpy or torch since they were kept."""
    now = keep()
    same = now[0] == kept[0] and now[1][2] == kept[1][2] and bool((now[1][1] == kept[1][1]).all())
    return not (same and (now[2] is None or kept[2] is None or bool((now[2] == kept[2]).all())))


def _on_gpus(torch: Any) -> tuple[Any, ...]:
    """The generators of GPUs, once one of them is in use; before that torch seeds them by itself when it begins."""
    return tuple(torch.cuda.default_generators) if torch.cuda.is_initialized() else ()
