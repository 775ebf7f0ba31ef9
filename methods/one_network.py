"""Settings flow in; what backbones that hold one network of transformers have in common flows out, no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

from methods.cards import check_card, remarks_here, remarks_on
from methods.checkpoints import model_fingerprint, model_to_fetch

DTYPES = ("float32", "bfloat16", "float16")
Network = TypeVar("Network")


@dataclass(frozen=True)
class OneNetwork(ABC, Generic[Network]):
    """The ground plan: one model, by folder or hub id, opened at first use, on a GPU when there is one. kind: of the
    model, see methods.checkpoints. card: how a GPU computes it, see methods.cards; not_of_cards: which words of it are
    refused, and why.

    ModelError for a model that is missing, of another kind or incomplete.
    """

    kind: ClassVar[str]
    not_of_cards: ClassVar[Mapping[str, str]]
    any_company: ClassVar[bool] = True  # see harness.work.rounds

    model: str
    revision: str | None = None
    dtype: str = "float32"
    card: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_card(self.card, self.not_of_cards)
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")

    @property
    def idle(self) -> Sequence[str]:
        """The setting of cards where it is as it was before there was a choice."""
        return () if self.card else ("card",)

    def models_to_fetch(self) -> Sequence[str]:
        """The model, if it is not on this machine."""
        return model_to_fetch(self.model, self.kind, self.revision)

    def remarks_here(self) -> Sequence[str]:
        """What is to be said where this machine, which plans, computes too."""
        return remarks_here(self.card)

    def open_models(self) -> Sequence[str]:
        """Open the network; what is to be said of the machine that computes it."""
        _ = self.network
        return remarks_on(self.card)

    @cached_property
    def network(self) -> Network:
        """The opened model."""
        return self.opened()

    @abstractmethod
    def opened(self) -> Network:
        """Open it."""

    def fingerprint(self) -> str:
        """Stands for the weights, see methods.checkpoints.model_fingerprint."""
        return model_fingerprint(self.model, self.kind, self.revision)
