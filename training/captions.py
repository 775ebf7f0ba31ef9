"""The class names of an image flow in; a caption flows out: the only supervision there is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

OPENINGS = ("a photo of", "a picture of", "a drawing of", "an image of")


def caption(names: Sequence[str], generator: torch.Generator) -> str:
    """`a photo of a X and a Y`: opening and order at random, always "a" before a name; empty without names."""
    if not names:
        return ""
    opening = OPENINGS[int(torch.randint(len(OPENINGS), (), generator=generator))]
    order = torch.randperm(len(names), generator=generator).tolist()
    return f"{opening} " + " and ".join(f"a {names[place]}" for place in order)


def some(classes: Sequence[int], share: float, generator: torch.Generator) -> list[int]:
    """With probability `share` a random proper part of the classes (one or more), otherwise all of them."""
    if len(classes) < 2 or float(torch.rand((), generator=generator)) >= share:
        return list(classes)
    keep = 1 + int(torch.randint(len(classes) - 1, (), generator=generator))
    order = torch.randperm(len(classes), generator=generator)[:keep]
    return [classes[place] for place in order.tolist()]
