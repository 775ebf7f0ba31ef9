"""One batch, as its runs are shown it, flows in; what all who are asked about it share flows out: judges, images.

Images are compared before anybody is shown them who comes after a stranger, and before the batch's rows are given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from harness.contracts import Query, Recipe, Run, Vocabulary
from harness.foreign.calls import Guard
from harness.foreign.lending import Lent, LentImage, LentValue
from harness.recipes.code_stamp import strange
from harness.work.batch_reading import bare_answer
from harness.work.judge import Judge
from harness.work.later import Bundle, Later
from harness.work.rounds import Round, Sight
from harness.work.slots import Slot


@dataclass
class Sitting:
    """slots: by run, the places of the batch as its protocol has them. judges: by run and place. blank: the query of a
    place that holds no image. later: who counts what was answered, if that is not to be done at once.

    unsure: a stranger may have written to images since they were compared. spoiled: somebody did.
    """

    guard: Guard
    slots: Mapping[str, Sequence[Slot]]
    judges: Mapping[tuple[str, int], Judge]
    blank: Query
    later: Later | None = None
    unsure: bool = False
    spoiled: bool = False

    @property
    def places(self) -> int:
        """How many images a call of a network is shown."""
        return len(next(iter(self.slots.values()), ()))

    def seen(self, run: Run, one: Round) -> dict[int, Sight]:
        """What a run has to see in a round, by position."""
        return one.shown(self.slots[run.run_id])

    def judge(self, run: Run, one: Round, position: int) -> Judge:
        """Who judges a run on the image of which a window is at a position."""
        return self.judges[run.run_id, one.windows[position].place]

    def fail(self, run: Run, error: Exception) -> None:
        """Give up all images of a run that are not done."""
        for (run_id, _), judge in self.judges.items():
            if run_id == run.run_id:
                judge.fail(error)

    @contextmanager
    def counted_together(self) -> Iterator[Bundle | None]:
        """What is answered meanwhile is counted by who counts, if anybody does, who is not told of each by itself."""
        together = None if self.later is None else Bundle(self.later)
        try:
            yield together
        finally:
            if together is not None:
                together.begin()

    def ask(
        self, run: Run, shown: Sight, verb: Callable[[Vocabulary], object], lent: Sequence[Lent] = ()
    ) -> Callable[[], object]:
        """A question to a method about one window of an image, as a guarded call; it is given the vocabulary."""
        words = run.run_id, shown.query.image_id
        names = LentValue(shown.query.vocabulary, "vocabulary")
        ask = partial(verb, names.value)
        foreign = strange(run.method)
        if foreign:
            ask = partial(bare_answer, ask)
        # one may keep an earlier image, and write to it now
        everywhere = self.slots[run.run_id] if foreign and self.guard.careful else ()
        images = self.closely([one for other in everywhere for one in other.lent] or shown.lent)
        return partial(self.guard.call, run.method.use, words, ask, (*images, names, *lent), within=foreign)

    def closely(self, images: Sequence[LentImage]) -> Sequence[LentImage]:
        """The images that are compared after a call: before somebody else is shown them, and before a batch's rows are
        given out, all are compared, and only a batch that is done again asks which call writes to them."""
        return images if self.guard.careful else ()

    def begins(self, whose: Recipe, shown: bool) -> None:
        """The turn of a plug-in begins. shown: it is shown images: it is to see them as they are, and to answer for
        itself. Who reads features alone needs no look before, which are compared by themselves."""
        if shown and self.unsure:
            self.compare()
        self.unsure |= strange(whose) and not self.guard.careful

    def compare(self) -> None:
        """Images that somebody wrote to are put back, and it is noted."""
        lent = {id(one): one for slots in self.slots.values() for slot in slots for one in slot.lent}
        self.spoiled |= any([one.written() for one in lent.values()])
        self.unsure = False
