"""The UNet rows of a batch flow in; the calls in which they go through the network, each of a fixed shape, flow out.

How many rows a call has depends on the batch's size and on what the protocol offers: never on an image or neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from methods.diffusion.prompts import Prompt

SIDE_BY_SIDE = {"cpu": 1}  # prompts of an image in one call, at most, by kind of device
ON_A_CARD = 16  # a launch costs a card's host the same whatever its size


class UNetRow(NamedTuple):
    """One row of a UNet call: which image of the batch, which of its prompts."""

    image: int
    place: int
    prompt: Prompt


class UNetCall(NamedTuple):
    """rows: the last `copies` of them fill the call up."""

    rows: tuple[UNetRow, ...]
    copies: int

    @property
    def asked(self) -> tuple[UNetRow, ...]:
        """Those that are read."""
        return self.rows[: len(self.rows) - self.copies]


def rows_of_a_call(images: int, prompts: int, everywhere: bool, device: str) -> int:
    """As many as there are images; on a card as many as all of them have, where every image is offered the same
    (everywhere), in so many prompts.

    Where each image is offered its own, most have one prompt, and calls as large as the few others would need were
    filled with copies: so prompts of all images go one after the other, whosever they are, through calls of one size.
    """
    most = SIDE_BY_SIDE.get(device, ON_A_CARD) if everywhere else 1
    calls = max(1, -(-prompts // most))
    return images * max(1, -(-prompts // calls))


def calls_of(rows: Sequence[Sequence[UNetRow]], sizes: Sequence[int]) -> list[UNetCall]:
    """Calls of the rows of every image, in the order of images for those whose calls are equally large. sizes: of a
    call, by image. A call that is not full is filled up with copies of its first row."""
    found = []
    for size in dict.fromkeys(sizes):
        own = [row for image, one in zip(rows, sizes, strict=True) if one == size for row in image]
        for start in range(0, len(own), size):
            part = own[start : start + size]
            copies = size - len(part)
            found.append(UNetCall((*part, *part[:1] * copies), copies))
    return found
