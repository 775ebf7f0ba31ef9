"""What every learner's settings say of its lessons: the teacher, and when the teacher's answer counts as unsure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from harness.contracts import LabelRule


@dataclass(frozen=True, kw_only=True)
class Taught:
    """teacher: a method of the same grid, by name. teacher_may_fail: see harness.contracts.Learner; in no id.

    The others: harness.contracts.LabelRule.
    """

    teacher: str
    label_low: float = 0.0
    label_high: float = 0.0
    label_scale: str = "minmax"
    label_below: str = "ignored"
    label_unsure: float = 0.0
    label_foreground: bool = False
    label_best: str = "scaled"
    teacher_may_fail: float = 0.0

    @property
    def rule(self) -> LabelRule:
        """How the teacher's answers become pseudo masks."""
        return LabelRule(
            self.label_low, self.label_high, self.label_scale, self.label_below, self.label_unsure,
            self.label_foreground, self.label_best,
        )  # fmt: skip

    @property
    def idle(self) -> Collection[str]:
        """The settings that change no pixel as they stand: those that came later, as it was before."""
        later = {"label_foreground": False, "label_best": "scaled"}
        own = {name for name, value in later.items() if getattr(self, name) == value}
        return {*getattr(super(), "idle", ()), *own}
