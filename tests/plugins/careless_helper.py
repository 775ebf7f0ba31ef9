"""A method whose answers rest on variables of its module, and what its own functions do to some of them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from harness.contracts import Vocabulary

VALUE = 0.5
TABLE = {"share": 0.25, "deep": {"share": 0.125}}
SHARES = [0.5, 0.25]
WEIGHTS = np.full(3, 0.25)
MODE: ContextVar[float] = ContextVar("mode", default=0.0)
BANK, LONG = np.zeros(20_000), [0.0] * 3001  # too large to be compared wholly after every call
TENSOR, NETWORK = torch.full((3,), 0.125), torch.nn.Linear(40, 60)
COUNT, CACHE, LAZY, SEEN = 0, {"kept": 0.0}, None, [0]


torch.nn.init.constant_(NETWORK.weight, 1 / 2400)


@dataclass
class Configuration:
    share: float = 0.25


CONFIGURATION = Configuration()


class Outer:
    class Inner:
        share = 0.125


def keep(image: Any) -> None:
    """What a module does to its own variables."""
    global COUNT, LAZY
    COUNT, LAZY = COUNT + 1, 1.0
    CACHE["kept"] = float(image.mean())
    SEEN.append(image.shape[0])


@dataclass(frozen=True)
class Tabled:
    version: ClassVar[int] = 1

    def segment(self, image: Any, vocabulary: Vocabulary) -> Any:
        keep(image)
        shares = VALUE + TABLE["share"] + TABLE["deep"]["share"] + sum(SHARES) + WEIGHTS.sum() + CONFIGURATION.share
        shares += BANK.sum() + sum(LONG) + float(TENSOR.sum()) + float(NETWORK.weight.detach().sum() + NETWORK.training)
        labels = np.zeros(image.shape[:2], np.int16)
        labels[: int((shares + Outer.Inner.share + MODE.get()) / 8 * len(labels))] = len(vocabulary) - 1
        return labels
