"""A call of a plug-in flows in; its answer flows out, or a sentence that says what it raised or what it left behind.

Before every call the common generators are set; afterwards the process is looked at and put back. What is dear to look
at (functions that were replaced) is looked at once a batch; a batch that left such a trace is done again, with a full
look after every call, so that the one who left it is known. Until the first module of a stranger's is imported, ours
are alone, whose code our tests hold: then all of it is looked at once a batch, and functions not at all.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.foreign import chance, interrupts, python_names, strays
from harness.foreign.company import alone, first_turn, is_strange
from harness.foreign.complaints import left_trace, warn
from harness.foreign.contexts import in_own_context
from harness.foreign.elsewhere import Elsewhere
from harness.foreign.lending import Lent
from harness.foreign.opened import Marks, hush, listen
from harness.foreign.replaced import Functions
from harness.foreign.shared import CLAUSE, Shared
from harness.foreign.watch import Trace, Watched, differing
from harness.foreign.watched import all_watched

T = TypeVar("T")
_functions = Functions()  # one a process: it costs a tenth of a second to find them all
_imports: dict[str, list[Trace]] = {}  # module -> what importing it left, which happens once a process
_opened: dict[str, dict[str, None]] = {}  # by plug-in of others: files that it opened for reading, in order
_depth = threading.local()  # calls of this thread that a guard looks after


@dataclass(frozen=True)
class Outcome:
    """What came of a call: an answer or an error, and what was left, in clauses."""

    answer: Any
    error: Exception | None
    left: tuple[str, ...]


class Guard:
    """Makes the calls of one thread. `settle` comes before the first one and after code that is not ours had its turn.

    elsewhere: a thread that calls plug-ins at the same time. careful: look at everything after every call. own: this
    process is one method's own, so what it changes is no trace: it finds that again at its next call, and ours never.
    """

    def __init__(self, elsewhere: Elsewhere | None = None, careful: bool = False, own: bool = False) -> None:
        self._elsewhere = elsewhere or Elsewhere()
        self._cheap: tuple[Watched, ...] = ()
        self._rare: tuple[Watched, ...] = ()
        self._generators: tuple[Any, ...] | None = None
        self._clean = 0  # calls elsewhere when the last look found nothing
        self._sure = False  # nobody had a turn since functions were looked at
        self._own, self._theirs, self._early = own, list[Trace](), list[Trace]()
        self._turns = False  # whether a stranger had one since everything was looked at
        self._undecided = list[str]()  # what such a look found at another's call
        self.careful = careful or own
        self.shared: Shared | None = None  # what is open, where it is to be looked after
        self.found: list[Trace] = []  # by the last look that found something

    def settle(self, wholly: bool = True) -> None:
        """Remember the process as it is now: how it is to be after every call. wholly: with what is dear to look at."""
        python_names.settle()
        strays.settle_strays()
        watched = all_watched()
        self._cheap = tuple([one for one in watched if not one.rare])
        self._rare = tuple([one for one in watched if one.rare and wholly])
        self._were = [one.look() for one in self._cheap]
        self._rarely_were = [one.look() for one in self._rare]
        if wholly:
            self._generators = chance.keep()
            if self.careful or not alone():
                _functions.settle(self._sure)
                self._sure = True
            self._turns = False
            self._undecided.clear()
        self._clean = self._elsewhere.calls

    def leave(self) -> None:
        """The generators as they were when we settled; code that is not the plug-ins' goes on."""
        if self._generators is not None:
            chance.put_back(self._generators)

    def call(
        self,
        who: str,
        words: Sequence[str],
        function: Callable[[], T],
        lent: Sequence[Lent] = (),
        opening: bool = False,
        within: bool = False,
        then: Callable[[], object] = lambda: None,
    ) -> T:
        """What the function of plug-in `who` (its address) gives, asked under generators that `words` stand for.

        lent: what it may look at. opening: it makes or opens something, which may change the environment, logging and
        warnings; so may a call that imports. within: a stranger's code is called by it, if it is ours. then: done as
        soon as it has answered. Raises what it raised, as an Exception; LeftTrace where it left a trace.
        """
        outcome = self.ask(who, words, function, lent, opening, within, then)
        if outcome.left:
            raise left_trace(outcome.left, outcome.error) from outcome.error
        if outcome.error is not None:
            raise outcome.error
        answer: T = outcome.answer
        return answer

    def ask(
        self,
        who: str,
        words: Sequence[str],
        function: Callable[[], Any],
        lent: Sequence[Lent] = (),
        opening: bool = False,
        within: bool = False,
        then: Callable[[], object] = lambda: None,
    ) -> Outcome:
        """The same, whatever came of it."""
        if not (within or is_strange(who)):
            return self._asked(who, words, function, lent, opening, then, strange=False)
        if alone():
            _functions.settle()  # the first of them: until now nobody had compared functions
        if first_turn(who):
            _functions.meet(who)
        _functions.variables.begins(who)
        try:
            return in_own_context(who, lambda: self._asked(who, words, function, lent, opening, then, strange=True))
        finally:
            _functions.variables.ends(who)

    def _asked(
        self,
        who: str,
        words: Sequence[str],
        function: Callable[[], Any],
        lent: Sequence[Lent],
        opening: bool,
        then: Callable[[], object],
        strange: bool,
    ) -> Outcome:
        loaded, process, self._sure = len(sys.modules), os.getpid(), False
        if words:
            chance.seed(*words)
        answer, error, swapped = None, None, tuple[Trace, ...]()
        _depth.calls = _calls() + 1
        for trace in self._theirs:
            _quietly(trace.put_on)
        heard = listen() if strange else None
        try:
            try:
                answer = function()
            finally:
                swapped = _mend()  # before anything else: the rest is written with Python's own names
                then()
        except BaseException as raised:
            error = self._foreign(raised)
        finally:
            _depth.calls -= 1
            if heard:
                _overheard(who, *heard)
        if os.getpid() != process:
            os._exit(1)  # the call forked, and a child came back that would do all our work a second time
        if interrupts.pending():
            self._look(who, True, swapped)
            raise KeyboardInterrupt
        opening |= len(sys.modules) != loaded
        later = alone() and not (opening or swapped or self.careful)
        clauses = [] if later else self._look(who, opening, swapped)
        clauses += [one.clause for one in lent if one.written()]
        if self.careful and self.shared is not None:
            if not strange:
                self.shared.own(who)
            elif self.shared.changed(who):
                clauses.append(CLAUSE)
        if clauses:
            self._elsewhere.traces += 1
        return Outcome(answer, error, tuple(clauses))

    def charge(self, module: str) -> None:
        """What importing a module left is its plug-ins' from then on. LeftTrace in a process that others share."""
        left = _imports.get(module, [])
        if self._own:
            self._theirs = [*self._theirs, *(trace for trace in left if trace not in self._theirs)]
        elif left:
            raise left_trace([f"{trace.clause} when it was imported" for trace in left])

    def rare_traces(self) -> list[str]:
        """Look at what is dear to look at, and put it back; what was not as it was, in clauses."""
        found = [*_mend(), *self._found(self._all_of_batch)]
        self._put_back(found)
        left = [*self._undecided, *(trace.clause for trace in found if not trace.gentle)]
        self._elsewhere.traces += bool(left)
        return left

    def _foreign(self, raised: BaseException) -> Exception:
        try:
            return interrupts.foreign(raised)
        except KeyboardInterrupt:
            self._put_back(differing(self._cheap, self._were))
            raise

    def _look(self, who: str, opening: bool, swapped: Sequence[Trace]) -> list[str]:
        """What the call left, in clauses; put back. swapped: of Python's own names, which are back already."""
        wholly = self.careful or opening
        unsure = wholly and self._turns
        self._turns = not wholly and (self._turns or is_strange(who))

        def find() -> list[Trace]:
            return [*(self._all() if wholly else self._often()), *_functions.variables.traces(who, wholly)]

        if not find() and not swapped:
            self._clean, self._theirs = self._elsewhere.calls, []
            return []
        with self._elsewhere.lock:  # what a call elsewhere changes for a moment is nobody's trace
            found = [*swapped, *self._found(find)]
            if unsure:  # one that came before may have left it, and others may have counted on it
                often = {trace.clause for trace in self._often()}
                self._undecided += [one.clause for one in found if not one.gentle and one.clause not in often]
            self._put_back(found)
        strays.lay_to(who)
        self._theirs = found if self._own else []
        if self._own:
            return []
        if opening:
            forgiven = [trace.clause for trace in found if trace.gentle]
            found = [trace for trace in found if not trace.gentle]
            warn(who, forgiven)
        self.found, clauses = found, [trace.clause for trace in found]
        if clauses and self._elsewhere.calls != self._clean:
            self._elsewhere.blamed = True
            clauses[-1] += " (or the benchmark did, which was read meanwhile; from now on it is read alone)"
        if clauses:
            clauses[-1] += strays.suspicion(who)
        self._clean = self._elsewhere.calls
        return clauses

    def _often(self) -> list[Trace]:
        try:
            return differing(self._cheap, self._were)
        except Exception:  # what looks was replaced itself
            return self._all()

    def _all(self) -> list[Trace]:
        compared = self.careful or not alone()
        replaced = _functions.traces() if compared else []
        self._sure = compared and not replaced
        try:
            return [*self._rest(), *replaced]
        except Exception:  # what looks is made of functions too: they have to be back before it can
            self._put_back(replaced)
            self._early += replaced
            return [*self._rest(), *replaced]

    def _all_of_batch(self) -> list[Trace]:
        return self._all() if alone() else [*self._all(), *_functions.variables.traces(None, wholly=True)]

    def _rest(self) -> list[Trace]:
        return [*differing(self._cheap, self._were), *differing(self._rare, self._rarely_were)]

    def _found(self, find: Callable[[], list[Trace]]) -> list[Trace]:
        """All that differs, also what had to be put back while it was looked for."""
        found = find()
        early, self._early = [trace for trace in self._early if trace not in found], []
        return [*early, *found]

    def _put_back(self, found: Sequence[Trace]) -> None:
        for trace in found:
            _quietly(trace.put_back)


_mend = python_names.mend


def take_opened() -> dict[str, list[str]]:
    """By address, the files that plug-ins of others opened for reading since the last time, in order."""
    return {who: [*_opened.pop(who)] for who in list(_opened)}


def _overheard(who: str, before: Marks | None, marks: Marks) -> None:
    hush(before, marks)
    if marks:
        _opened.setdefault(who, {}).update(dict.fromkeys(marks))


def _calls() -> int:
    depth: int = getattr(_depth, "calls", 0)
    return depth


@contextmanager
def keeping_functions() -> Iterator[None]:
    """While a plan is made: functions that constructors replace are put back at its end, dear to look at for each."""
    _functions.settle()  # what whoever calls us replaced before is theirs
    try:
        yield
    finally:
        for trace in _functions.traces():
            _quietly(trace.put_back)


def looked_after(who: str, function: Callable[[], T], imports: str | None = None, within: bool = False) -> T:
    """What a plug-in's import or constructor gives, the process put back, wherever it is called.

    imports: the module that it imports; what that leaves is kept for `Guard.charge`. What a constructor leaves while a
    plan is made is put back without a word: the worker that builds it again will tell. within: see `Guard.call`.
    """
    if not (within or is_strange(who)) or (imports is None and _calls()):
        return function()
    guard, raised = Guard(careful=imports is not None), list[BaseException]()

    def caught() -> T:
        try:
            return function()
        except BaseException as error:
            raised.append(error)
            raise

    guard.settle(wholly=imports is not None)
    outcome = guard.ask(who, (who,) if imports else (), caught, opening=imports is not None, within=within)
    guard.leave()
    if imports is not None and guard.found:
        _imports[imports] = guard.found
    if imports is not None and is_strange(who):
        _functions.settle(sure=True)  # what was imported is looked at from now on
    if raised:
        raise raised[0]
    answer: T = outcome.answer
    return answer


def _quietly(put_back: Callable[[], object]) -> None:
    with suppress(Exception):  # what cannot be put back was told all the same
        put_back()
