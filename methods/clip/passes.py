"""What is asked of a CLIP's vision tower for one image, as a frozen value with its parts; no torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from harness.contracts import ModelError, Parts, Recipe

AS_IT_IS = ("shown", "window")


def block_inputs(depth: int) -> Parts:
    """The parts `input:1` (what enters the last block) to `input:depth` (that of the depth-th block from the end)."""
    return frozenset(f"input:{place}" for place in range(1, depth + 1))


@dataclass(frozen=True)
class ClipPass:
    """One run of the vision tower over an image, whole or in windows.

    resize: "native" stretches to the model's own square; a number is the short side in pixels, aspect kept; "shown"
    takes the image as it is given, and so does "window", of windows that a protocol cut. The last pixels of a side that
    is not whole patches are not seen. window, stride: pixels; None is the whole image, and half a window. positions:
    how the position table is brought to another grid, see `methods.clip.positions`. multiple: sides are made multiples
    of so many pixels, see `methods.clip.pixels.whole_sides`; 0 leaves them. Its parts are those of `block_inputs`.
    """

    encodes_words: ClassVar[bool] = False
    backbone: Recipe
    resize: int | str = "native"
    window: int | None = None
    stride: int | None = None
    positions: str = "library"
    multiple: int = 0

    def __post_init__(self) -> None:
        if self.resize not in ("native", *AS_IT_IS) and (isinstance(self.resize, str) or self.resize < 1):
            raise ValueError(f"resize is {self.resize!r}; give 'native', 'shown' or the short side in pixels.")
        for name, value in (("window", self.window), ("stride", self.stride)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give a number of pixels of 1 or more.")
        if self.stride is not None and (self.window is None or self.stride > self.window):
            raise ValueError(f"A stride of {self.stride} needs a window at least as wide; the window is {self.window}.")

    @property
    def encoding(self) -> Hashable:
        """The tower's input and its position table; it is also all that the tower depends on."""
        return (self.resize, self.window, self.stride, self.positions, self.multiple)

    @property
    def batched(self) -> bool:
        """Whether images of any size become inputs of one shape, so that they can go through the tower together."""
        return self.resize == "native" and self.window is None

    @property
    def of_few_shapes(self) -> bool:
        """Whether images, or their windows, have one shape but for a few: then they go through the tower together. A
        whole image of its own size goes alone, since a call of its shape would be filled up with copies of it."""
        return self.resize in ("native", "window") or self.window is not None


def check_depth(depth: int, blocks: int) -> None:
    """ModelError when more of the last blocks are asked for than there are."""
    if depth > blocks:
        raise ModelError(f"The last {depth} blocks were asked of a CLIP that has {blocks}; ask for fewer.")
