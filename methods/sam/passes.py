"""What is asked of a SAM, or of a folder of regions, for one image, as frozen values with their parts; no torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from harness.contracts import Parts, Recipe

SAM, SAM2 = "facebook/sam-vit-base", "facebook/sam2-hiera-large"
ATTENTION: Parts = frozenset({"attention"})
REGIONS: Parts = frozenset({"regions"})


@dataclass(frozen=True)
class SamPass:
    """One run of SAM's image encoder; its one part is what the last block attends with.

    halves: the left and the right half of the image go through the encoder one by one.
    """

    encodes_words: ClassVar[bool] = False
    backbone: Recipe
    halves: bool = False

    @property
    def encoding(self) -> Hashable:
        """The image as it is shown to the encoder."""
        return self.halves


@dataclass(frozen=True)
class RegionsPass:
    """The automatic masks of an image by a SAM, the first or the second, painted into one map; its part is that map.

    points: prompts a side, on a grid. least_iou, least_stability: masks that SAM itself thinks less of, or that change
    more between logits of -1 and 1 (as intersection over union), are left out.
    """

    encodes_words: ClassVar[bool] = False
    backbone: Recipe
    points: int = 8
    least_iou: float = 0.4
    least_stability: float = 0.4

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"points is {self.points}; give how many prompts a side there are, 1 or more.")

    @property
    def encoding(self) -> Hashable:
        """The whole image, whatever is asked of it."""
        return "whole"


@dataclass(frozen=True)
class StoredPass:
    """Regions that another program stored, see methods.stored_regions; its one part is the map."""

    encodes_words: ClassVar[bool] = False
    backbone: Recipe

    @property
    def encoding(self) -> Hashable:
        """No image is looked at."""
        return None
