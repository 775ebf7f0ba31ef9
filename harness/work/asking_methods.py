"""A method that is given images, and a round of windows, flow in; its answers flow to those who judge them.

A method with a batch form is asked about all places at once, every other about window by window.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from harness.contracts import BatchMethod, Method, Run
from harness.foreign.lending import LentValue
from harness.protocol.offering import segmented, segments_together
from harness.recipes.code_stamp import strange
from harness.work.batch_reading import answer_at, filled, segmented_together
from harness.work.room import asked_with_room, out_of_memory, too_large
from harness.work.rounds import Round, Sight
from harness.work.sitting import Sitting


def segment_round(sitting: Sitting, run: Run, method: Method, one: Round) -> None:
    """Ask a method about the windows of a round; one that wants whole images, in the first round alone."""
    whole = getattr(type(method), "whole_image", False) is True
    if whole and one.number > 0:
        return
    sitting.begins(run.method, shown=True)
    if run.purpose.learned is None and segments_together(method):
        return _together(sitting, run, method, one)
    for place, shown in sitting.seen(run, one).items():
        judge = sitting.judges[run.run_id, place]
        (image,) = shown.slot.lent[:1] if whole else shown.lent
        if whole:
            judge.expect_whole()
        verb = partial(segmented, method, image.image, shown.slot.image_id or "")
        lent = sitting.closely((image,) if whole else ())
        judge.hear(sitting.ask(run, shown, verb, lent), 0.0, sitting.later)


def _together(sitting: Sitting, run: Run, method: BatchMethod, one: Round) -> None:
    """Ask about all places at once; where that fails, about each alone, in the same shape, which is of no use where
    memory ran out."""
    seen = sitting.seen(run, one)
    if not seen:
        return
    started = time.perf_counter()
    try:
        given = _answered(sitting, run, method, one, seen)
    except Exception as error:
        if out_of_memory(error):
            return sitting.fail(run, too_large(error, sitting.places))
        given = {}
    seconds = (time.perf_counter() - started) / len(seen)
    for place, shown in seen.items():
        alone_there = partial(_answered, sitting, run, method, one, {place: shown})
        answered = partial(asked_with_room, sitting.places, alone_there)
        ask = partial(answer_at, place, given, answered)
        sitting.judges[run.run_id, place].hear(ask, seconds, sitting.later)


def _answered(
    sitting: Sitting, run: Run, method: BatchMethod, one: Round, seen: Mapping[int, Sight]
) -> dict[int, object]:
    """What a method answers about some places, all others blank."""
    queries = filled({place: shown.query for place, shown in seen.items()}, sitting.places, sitting.blank)
    names, foreign = LentValue([query.vocabulary for query in queries], "vocabulary"), strange(run.method)
    slots = sitting.slots[run.run_id] if foreign else [shown.slot for shown in seen.values()]
    lent = sitting.closely([image for slot in slots for image in slot.lent])
    ask = partial(segmented_together, method, [query.image for query in queries], names.value, foreign)
    words = run.run_id, str(one.number)
    found = sitting.guard.call(run.method.use, words, ask, (*lent, names), within=foreign)
    return {place: found[place] for place in seen}
