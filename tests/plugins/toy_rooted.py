"""A benchmark with a folder of its own, which need not be there, and a method whose model is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from toy_world import Boxes, Flat

from harness.contracts import DataError, ModelError


@dataclass(frozen=True)
class Rooted(Boxes):
    places: ClassVar[tuple[str, ...]] = ("root",)
    images: int = 4
    root: str = ""

    def ids(self) -> Sequence[str]:
        if not Path(self.root).is_dir():
            raise DataError(f"{self.root!r} is not a folder of boxes.")
        if (Path(self.root) / "broken").exists():
            raise DataError(f"{self.root!r} has no list.")
        return super().ids()


@dataclass(frozen=True)
class Modelled(Flat):
    model: str = "owner/net"

    def fingerprint(self) -> str:
        if self.model == "here":
            return "weights"
        raise ModelError(f"The model {self.model!r} has no pinned revision.")
