"""A learner flows in; what it says of its lessons and of its cost flows out, checked before anybody works for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from harness.contracts import LabelRule, Words
from harness.errors import GridError, SettingsError, bounded
from harness.recipes import loading

MOST = 2**63  # of images, or of bytes: more than any disk has
TOLD = {  # what a learner may say: the least, and what it stands for
    "crops": (0, "images or crops that it trains on"),
    "asks": (0, "images or crops that it asks its teacher about"),
    "gathered_bytes": (0, "bytes gathered of an image"),
    "artefact_bytes": (0, "bytes of its artefact"),
    "workers": (1, "processes that can share its fit"),
    "gpus": (1, "GPUs that can share its fit"),
}


def check_learner(learner: object, called: str) -> None:
    """SettingsError for a rule that is none, and for numbers that are none, which a fit or a plan would come upon."""
    rule_of(learner, called)
    may_fail(learner, called)
    for what in ("workers", "gpus"):
        _number(learner, called, what)
    cost_of(learner, called, names=2)


def rule_of(learner: Any, called: str) -> LabelRule:
    """How the teacher's answers become its lessons."""
    rule: object = loading.ask(learner, "rule", lambda: learner.rule)
    if not isinstance(rule, LabelRule):
        raise SettingsError(f"{called}: its rule is {_kind(rule)}; a learner's is a harness.contracts.LabelRule")
    return rule


def cost_of(learner: object, called: str, names: int) -> dict[str, int | None]:
    """By name: images that a network of its own sees, those that its teacher is asked about, bytes for so many names.

    None where it does not say.
    """
    shown = {what: _number(learner, called, what) for what in ("crops", "asks")}
    return shown | {what: _number(learner, called, what, names) for what in ("gathered_bytes", "artefact_bytes")}


def may_fail(learner: object, called: str) -> float:
    """The share of the train images on which its teacher may fail."""
    share: Any = loading.ask(learner, "teacher_may_fail", lambda: getattr(learner, "teacher_may_fail", 0.0))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share < 1.0:
        raise SettingsError(f"{called}: teacher_may_fail is a share from 0 to below 1, not {_kind(share)}")
    return float(share)


def check_names(method: str, benchmark: str, classes: Sequence[str], names: Words) -> None:
    """GridError where two classes have one usual name, by which a learner knows them: it would learn one of the two."""
    usual = [words[0] for words in names]
    doubled = next((word for word, count in Counter(usual).items() if count > 1), None)
    if doubled is not None:
        first, second, *_ = [name for name, word in zip(classes, usual, strict=True) if word == doubled]
        raise GridError(
            f"{method} on {benchmark}: the classes {first!r} and {second!r} are both called {doubled!r} first, and a "
            "learner knows a class by the first of its words; put another word first, give `names:` of your own, or "
            "leave the method out"
        )


def check_train_classes(method: str, benchmark: str, scored: Sequence[str], train: Sequence[str]) -> None:
    """GridError where the train split tells other classes apart than what is scored, or in another order."""
    if tuple(scored) == tuple(train):
        return
    if len(scored) != len(train):
        differ = f"it has {len(train)} classes, and what is scored {len(scored)}"
    else:
        place = next(place for place, pair in enumerate(zip(scored, train, strict=True)) if pair[0] != pair[1])
        differ = f"class {place + 1} is {train[place]!r} there, and {scored[place]!r} where it is scored"
    raise GridError(
        f"{method} on {benchmark}: its train split has other classes than what is scored ({differ}); give `train:` "
        "settings under which the classes are the same, in the same order"
    )


def _number(learner: object, called: str, what: str, *given: int) -> int | None:
    """What a learner says of one of these; None where it says nothing."""
    told: Any = loading.ask(learner, what, partial(getattr, learner, what, None))
    if given:
        told = loading.ask(learner, what, partial(told, *given)) if callable(told) else None
    if told is None:
        return None
    least, stands_for = TOLD[what]
    number = told.__index__() if isinstance(told, int | np.integer) and not isinstance(told, bool) else -1
    if not least <= number < MOST:
        raise SettingsError(
            f"{called}: its {what}{'()' if given else ''}, the {stands_for}, should be a whole number from {least} on, "
            f"or None, not {_kind(told)}"
        )
    return number


def _kind(told: object) -> str:
    """A number or text as it is, cut where it is long; of anything else what it is: its own words may be anything."""
    return bounded(repr(told)) if told is None or type(told) in (int, float, str, bool) else f"a {type(told).__name__}"
