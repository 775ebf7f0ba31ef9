"""Clauses that say what a plug-in left flow in; the sentence of its rows, or one line on stderr, flows out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.errors import MethodError, bounded, in_words
from harness.foreign.company import is_strange
from harness.foreign.variables import STAYS

SHOWN = 4  # clauses of one sentence
CURE = "it is put back; work on copies, put back what you change, or say `process: own` in the grid"
_said: set[str] = set()  # warnings, each once a process


class LeftTrace(MethodError):
    """A plug-in left the process, or what it was lent, other than it was."""


def left_trace(clauses: Sequence[str], error: Exception | None = None) -> LeftTrace:
    """What a plug-in's rows say of what it left. error: what it raised besides."""
    shown = "; ".join(clauses[:SHOWN]) + (f"; and {len(clauses) - SHOWN} more" if len(clauses) > SHOWN else "")
    begin = f"{in_words(error)}; and it left" if error is not None else "it left"
    cure = CURE.removeprefix("it is put back; ") if STAYS in shown else CURE
    return LeftTrace(f"{begin} {bounded(shown)}: {cure}")


def warn(who: str, clauses: Sequence[str]) -> None:
    """One line a plug-in and process on stderr; of our own plug-ins none: what their libraries do is no news."""
    if not clauses or who in _said or not is_strange(who):
        return
    _said.add(who)
    print(f"{bounded(who)}: when it was opened, {bounded('; '.join(clauses))}; this was put back", file=sys.stderr)
