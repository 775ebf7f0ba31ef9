"""A call of a plug-in flows in; its answer flows out, or a sentence that says what it raised or what it left behind.

Before every call the common generators are set; afterwards the process is looked at and put back. What is dear to look
at (functions that were replaced) is looked at once a batch; a batch that left such a trace is done again, with a full
look after every call, so that the one who left it is known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from harness.errors import MethodError, bounded, in_words
from harness.foreign import chance, interrupts
from harness.foreign.lending import Lent
from harness.foreign.replaced import OURS, Functions
from harness.foreign.torch_watch import torch_things
from harness.foreign.watch import Trace, Watched, differing, things

T = TypeVar("T")
SHOWN = 4  # clauses of one sentence
CURE = "it is put back; work on copies, put back what you change, or say `process: own` in the grid"
_functions = Functions()  # one a process: it costs a tenth of a second to find them all
_said: set[str] = set()  # warnings, each once a process


class LeftTrace(MethodError):
    """A plug-in left the process, or what it was lent, other than it was."""


@dataclass
class Elsewhere:
    """What another thread of this process does meanwhile: lock is held during each of its calls, calls counts them."""

    lock: Lock = field(default_factory=Lock)
    calls: int = 0
    blamed: bool = False  # one of its calls, or one here, left something: from now on they must not overlap


class Guard:
    """Makes the calls of one thread. `settle` comes before the first one and after code that is not ours had its turn.

    elsewhere: a thread that calls plug-ins at the same time.
    """

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self._elsewhere = elsewhere or Elsewhere()
        self._cheap: tuple[Watched, ...] = ()
        self._rare: tuple[Watched, ...] = ()
        self._generators: tuple[Any, ...] | None = None
        self._clean = 0  # calls elsewhere when the last look found nothing
        self._opened: set[str] = set()
        self.careful = False

    def settle(self) -> None:
        """Remember the process as it is now: how it is to be after every call."""
        watched = (*things(), *torch_things())
        self._cheap = tuple(one for one in watched if not one.rare)
        self._rare = tuple(one for one in watched if one.rare)
        self._were = [one.look() for one in self._cheap]
        self._rarely_were = [one.look() for one in self._rare]
        _functions.settle()
        self._generators = chance.keep()
        self._clean = self._elsewhere.calls

    def leave(self) -> None:
        """The generators as they were when we settled; code that is not the plug-ins' goes on."""
        if self._generators is not None:
            chance.put(self._generators)

    def call(self, who: str, words: Sequence[str], function: Callable[[], T], lent: Sequence[Lent] = ()) -> T:
        """What the function of plug-in `who` (its address) gives, asked under generators that `words` stand for.

        Raises what it raised, as an Exception; LeftTrace where it left a trace.
        """
        first, loaded = who not in self._opened, len(sys.modules)
        self._opened.add(who)
        chance.seed(*words)
        error: Exception | None = None
        try:
            answer = function()
        except BaseException as raised:
            error = self._foreign(raised)
        if interrupts.pending():
            self._look(who, gently=True)
            raise KeyboardInterrupt
        clauses = self._look(who, gently=first or len(sys.modules) != loaded)
        clauses += [one.clause for one in lent if one.written()]
        if clauses:
            raise LeftTrace(_sentence(clauses, error)) from error
        if error is not None:
            raise error
        return answer

    def rare_traces(self) -> bool:
        """Look at what is dear to look at, and put it back; whether anything was not as it was."""
        found = self._all()
        for trace in found:
            _quietly(trace.put_back)
        return bool([trace for trace in found if not trace.gentle])

    def _foreign(self, raised: BaseException) -> Exception:
        try:
            return interrupts.foreign(raised)
        except KeyboardInterrupt:
            self._put_back(differing(self._cheap, self._were))
            raise

    def _look(self, who: str, gently: bool) -> list[str]:
        """What the call left, in clauses; put back."""
        find = self._all if self.careful else self._often
        if not find():
            self._clean = self._elsewhere.calls
            return []
        with self._elsewhere.lock:  # what a call elsewhere changes for a moment is nobody's trace
            found = find()
            self._put_back(found)
        if gently:
            forgiven = [trace.clause for trace in found if trace.gentle]
            found = [trace for trace in found if not trace.gentle]
            _warn(who, forgiven)
        clauses = [trace.clause for trace in found]
        if clauses and self._elsewhere.calls != self._clean:
            self._elsewhere.blamed = True
            clauses[-1] += " (or the benchmark did, which was read meanwhile; from now on it is read alone)"
        self._clean = self._elsewhere.calls
        return clauses

    def _often(self) -> list[Trace]:
        return differing(self._cheap, self._were)

    def _all(self) -> list[Trace]:
        rare = differing(self._rare, self._rarely_were)
        return [*self._often(), *rare, *_functions.traces()]

    def _put_back(self, found: Sequence[Trace]) -> None:
        for trace in found:
            _quietly(trace.put_back)


def _quietly(put_back: Callable[[], object]) -> None:
    with suppress(Exception):  # what cannot be put back was told all the same
        put_back()


def _sentence(clauses: Sequence[str], error: Exception | None) -> str:
    shown = "; ".join(clauses[:SHOWN]) + (f"; and {len(clauses) - SHOWN} more" if len(clauses) > SHOWN else "")
    begin = f"{in_words(error)}; and it left" if error is not None else "it left"
    return f"{begin} {bounded(shown)}: {CURE}"


def _warn(who: str, clauses: Sequence[str]) -> None:
    """One line a plug-in and process on stderr; of our own plug-ins none: what their libraries do is no news."""
    if not clauses or who in _said or who.partition(".")[0] in OURS:
        return
    _said.add(who)
    print(f"{bounded(who)}: when it was opened, {bounded('; '.join(clauses))}; this was put back", file=sys.stderr)
