"""A reader, a round of windows and what passes left of them flow in; its answers flow to those who judge them.

While it reads, what it reads is lent; who wrote into what others read after it is told, and its answers are given up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias

from harness.contracts import Asked, BatchReader, Finisher, Gathering, Parts, Pass, Run
from harness.foreign.company import alone
from harness.foreign.complaints import LeftTrace, left_trace
from harness.foreign.lending import LentBatch, LentFeatures, LentValue
from harness.recipes.code_stamp import strange
from harness.work.batch_reading import answers, in_batches, of_one_place
from harness.work.later import Bundle
from harness.work.room import asked_with_room
from harness.work.rounds import Round
from harness.work.showing import Source, Sources
from harness.work.sitting import Sitting

Waiting: TypeAlias = tuple[Run, Asked, Mapping[Pass, Parts]]
Left: TypeAlias = dict[Source, tuple[LentBatch, float]]  # features of every position, a reader's seconds for one


def read_round(sitting: Sitting, who: Waiting, sources: Sources, left: Left, one: Round) -> Sequence[int] | None:
    """Let a reader read; where it wrote into what it reads, the positions that it has not come to, else None."""
    sitting.begins(who[0].method, shown=isinstance(who[1], Finisher))  # who finishes is shown the image at the end
    with sitting.counted_together() as later:
        return _read(sitting, who, sources, left, one, later)


def _read(
    sitting: Sitting, who: Waiting, sources: Sources, left: Left, one: Round, later: Bundle | None
) -> Sequence[int] | None:
    run, reader, needs = who
    seen, closely = sitting.seen(run, one), strange(run.method)
    everything = [held for features, _ in left.values() for held in features] if closely else []
    for held in everything:
        held.remember()
    asked = LentValue(needs, "pass")
    if in_batches(reader) and not isinstance(run.purpose, Gathering):
        unread = _read_together(sitting, run, reader, asked, sources, left, one, later)
    else:
        unread = dict.fromkeys(sources, reader)
    for number, (position, form) in enumerate(unread.items()):
        lent = [left[source][0][position] for source in sources[position]]
        seconds = sum(left[source][1] for source in sources[position])
        features = dict(zip(asked.value, (held.features for held in lent), strict=True))
        judge = sitting.judge(run, one, position)
        verb = judge.question(form, features)
        with ExitStack() as loan:
            for held in lent:
                loan.enter_context(held.lent(closely))
            ask = sitting.ask(run, seen[position], verb, (asked, *lent))
            judge.hear(partial(asked_with_room, sitting.places, ask), seconds, later)
        if any(held.damaged for held in lent):
            return list(unread)[number + 1 :]
    if any([held.changed() for held in everything]):
        _spoil(sitting, run, one, left_trace([f"{LentFeatures.clause} (those of other images or passes)"]))
        return ()
    return None


def _read_together(
    sitting: Sitting, run: Run, reader: BatchReader, asked: LentValue, sources: Sources, left: Left, one: Round,
    later: Bundle | None,
) -> dict[int, Asked]:
    """Let a reader read all windows that come from the same passes at once. By position of those that it gave no
    answer for, how it is asked about that one alone."""
    unread: dict[int, Asked] = {}
    seen, strict = sitting.seen(run, one), not alone()
    for own in dict.fromkeys(tuple(every) for every in sources.values()):
        mine = [position for position, every in sources.items() if tuple(every) == own]
        names = [seen[position].query.vocabulary for position in mine]
        batches = dict(zip(asked.value, [left[source][0].whole for source in own], strict=True))
        lent = [held for source in own for held in left[source][0]] if strict else []
        shown, seconds = LentValue(names, "vocabulary"), sum(left[source][1] for source in own)
        look = partial(
            sitting.guard.call, run.method.use, (run.run_id, str(one.number)), lent=(asked, shown, *lent),
            within=strange(run.method),
        )  # fmt: skip
        started = time.perf_counter()
        with ExitStack() as loan:
            for held in lent:
                loan.enter_context(held.lent(strange(run.method)))
            given = answers(reader, batches, dict(zip(mine, shown.value, strict=True)), look, strange(run.method))
        seconds += (time.perf_counter() - started) / len(mine)
        for position, words in zip(mine, names, strict=True):
            if position not in given:
                unread[position] = of_one_place(reader, batches, position)
            else:
                judge = sitting.judge(run, one, position)
                judge.hear(partial(judge.question(given[position], {}), words), seconds, later)
    return unread


def _spoil(sitting: Sitting, run: Run, one: Round, error: LeftTrace) -> None:
    """Which of its answers wrote past what it was lent is not known: all of them are given up."""
    for position in sitting.seen(run, one):
        sitting.judge(run, one, position).spoil(error)
