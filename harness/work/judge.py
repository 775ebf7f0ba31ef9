"""What one method answers for one image, window by window, flows in; the image's row flows out, whatever happens.

What is answered is decided and counted in a thread of its own, if there is one, while networks go on. An answer that is
on no CPU is decided and counted where it is; nobody waits for that before the whole batch is done.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from harness.contracts import (
    WIDE_IGNORED,
    Asked,
    Features,
    Finisher,
    Gatherer,
    Gathering,
    Labelling,
    MethodError,
    Pass,
    Purpose,
    Reader,
    Row,
    Run,
    Sample,
    Scores,
    Scoring,
    Vocabulary,
    WideTruth,
)
from harness.errors import in_words, of_host
from harness.foreign import interrupts
from harness.foreign.company import alone
from harness.protocol.decision import (
    NOT_FINITE,
    all_finite,
    checked_answer,
    decided_positions,
    gives_planes_a_word,
    merged_planes,
    nothing_offered,
    numbered,
)
from harness.protocol.offering import Offer
from harness.protocol.planes import Answer
from harness.protocol.views import Cut, Window, resized_image
from harness.work import boundaries, lesson_masks, pictures
from harness.work.boundaries import BoundariesThere
from harness.work.later import Bundle, Later
from harness.work.scoring import Overlaps, TruthThere
from harness.work.slots import Slot

if TYPE_CHECKING:
    from torch import Tensor


class Judge:
    """One run that predicts, on one image. keep: whether its label map is wanted as a picture. truth: what is counted
    against, if the image could be read. bounds: its boundaries, if they are counted too.

    left: what lies on a device still, of an image that is decided; `receive` takes it, once it was brought home.
    """

    def __init__(
        self, run: Run, slot: Slot, keep: bool, lessons: Mapping[str, bytes], truth: TruthThere | None = None,
        bounds: BoundariesThere | None = None,
    ) -> None:  # fmt: skip
        assert slot.image_id is not None
        self._run, self._slot, self._image_id, self._keep = run, slot, slot.image_id, keep
        self._lessons, self._truth, self._bounds = lessons, truth, bounds
        self._answers: list[Answer] = []
        self._edges: list[Tensor] = []  # of scores that are on a device
        self._count: Callable[[], Row | None] | None = None  # once all windows are answered for
        self._counting: Future[None] | Bundle | None = None
        self.left: list[Tensor] = []
        self._plane_a_word = False
        self._merged: Cut | None = None  # of an image that the method answers for as a whole, or finished
        self._seconds = 0.0
        self._row: Row | None = None

    def question(self, reader: Asked, features: Mapping[Pass, Features]) -> Callable[[Vocabulary], object]:
        """What a reader of passes is asked about one window, for the vocabulary that it is lent."""
        return partial(self._read, cast(Reader, reader), features)

    def _read(self, reader: Reader, features: Mapping[Pass, Features], vocabulary: Vocabulary) -> object:
        self._plane_a_word = gives_planes_a_word(reader)
        _, _, cut = self._parts()
        if cut.is_whole(self._size) or not isinstance(reader, Finisher):
            return reader.read(features, vocabulary)
        answer = reader.unfinished(features, vocabulary)
        return answer if len(self._answers) + 1 < len(cut.boxes) else self._finished(reader, answer)

    def _finished(self, reader: Finisher, last: object) -> Scores:
        """The scores of the whole image, merged and worked on."""
        sample, offered, cut = self._parts()
        answers = [*self._answers, self._checked(last, cut)]
        scores = merged_planes(answers, cut, offered.planes(self._plane_a_word), self._size)
        self._answers = []
        self.expect_whole()
        return reader.finish(scores, resized_image(sample.image, cut.size, self._run.protocol.resampling))

    def expect_whole(self) -> None:
        """The next answer is for the image as it is, whatever windows the protocol cuts."""
        self._merged = Cut(self._size, (Window(0, 0, *self._size),))

    def hear(self, answer: Callable[[], object], seconds: float, later: Later | Bundle | None = None) -> None:
        """Ask for the answer for the next window; with the last one the row is made, by `later` if it is given. After a
        failure nothing is asked.

        seconds: what the passes behind it cost.
        """
        if self._row is not None or self._count is not None:
            return
        started = time.perf_counter()
        try:
            self._count = self._heard(answer(), kept=later is not None)
        except BaseException as error:  # an answer is foreign too: an array's class may raise anything
            self.fail(interrupts.foreign(error))
        finally:
            self._seconds += seconds + time.perf_counter() - started
        if self._count is not None and later is not None and not self._edges:
            self._counting = later.submit(self._make)
        elif self._count is not None:
            self._make()

    def _make(self) -> None:
        """Decide and count."""
        assert self._count is not None
        started = time.perf_counter()
        try:
            self._row = self._count()
        except BaseException as error:
            self.fail(interrupts.foreign(error))
        finally:
            self._seconds += time.perf_counter() - started

    def again(self) -> None:
        """Decide and count again what was counted meanwhile: somebody may have disturbed it."""
        if self._counting is not None:
            self._counting.result()
            self._row = None
            self._make()

    def fail(self, error: Exception) -> None:
        """Give the image up, if it is not done."""
        if self._row is None:
            told = in_words(error), of_host(error)
            self._row = Row(self._run.run_id, self._image_id, "failed", 0.0, told[0], elsewhere=told[1])
            self._answers, self.left = [], []

    def spoil(self, error: Exception) -> None:
        """Give the image up, even if it is done."""
        self._wait()
        self._row = self._counting = None
        self.fail(error)

    def row(self) -> Row:
        """The row; of an image that could not be read, or has no class to tell apart, without asking anybody."""
        self._wait()
        row = self._row or self._unasked()  # before its seconds are read
        origin = self._slot.origin
        return replace(row, seconds=self._seconds, sample=None if origin is None else origin.sample)

    def _wait(self) -> None:
        if self._counting is not None:
            self._counting.result()

    def _unasked(self) -> Row:
        if self._slot.error is not None:
            error, elsewhere = self._slot.error, self._slot.elsewhere
            return Row(self._run.run_id, self._image_id, "failed", 0.0, error, elsewhere=elsewhere)
        started = time.perf_counter()
        row = self._of_nothing()
        self._seconds = time.perf_counter() - started
        return row

    def _heard(self, answer: object, kept: bool) -> Callable[[], Row | None] | None:
        """What makes the row, if this was the answer for the last window. kept: it is made later."""
        _, offered, cut = self._parts()
        cut = self._merged or cut
        found = self._checked(answer, cut)
        # A method may write its next answer into the same memory.
        kept = (kept and not alone()) or len(cut.boxes) > 1
        self._answers.append(found.clone() if kept and not isinstance(found, np.ndarray) else found)
        if len(self._answers) < len(cut.boxes):
            return None
        answers, self._answers = self._answers, []
        return partial(self._counted, answers, cut, offered)

    def _checked(self, answer: object, cut: Cut) -> Answer:
        """The answer for the next window."""
        _, offered, _ = self._parts()
        box = cut.boxes[len(self._answers)]
        planes = offered.planes(self._plane_a_word)
        size = box.height, box.width
        return checked_answer(answer, len(offered.vocabulary), size, sum(planes), self._edges)

    def _of_nothing(self) -> Row:
        """The row of an image without classes to tell apart."""
        return self._of_map(nothing_offered(self._size, self._run.protocol))

    def _counted(self, answers: Sequence[Answer], cut: Cut, offered: Offer) -> Row | None:
        """The row of an image whose windows were all answered for; none where what it holds is not at home yet."""
        planes, rules = offered.planes(self._plane_a_word), self._run.protocol
        positions = decided_positions(answers, cut, offered, self._size, rules, planes)
        table = self._told.table(positions, len(offered.numbers))
        if table is None:
            self._wait_for_edges()
            return self._of_map(numbered(positions.cpu().numpy(), offered, rules))
        bounds = None if self._bounds is None else self._bounds.table(positions, offered, rules)
        if table.device.type == "cpu":
            kept = positions.numpy() if self._keep else None
            return self._of_table(table.numpy(), kept, None if bounds is None else bounds.numpy())
        self.left = [table, *self._edges, *([] if bounds is None else [bounds]), *([positions] if self._keep else [])]
        return None

    def _wait_for_edges(self) -> None:
        """MethodError where scores on a device are not finite: for what waits for that device anyway."""
        if not all_finite([float(edge) for edge in self._edges]):
            raise MethodError(NOT_FINITE)

    def receive(self, numbers: Sequence[NDArray[Any]]) -> None:
        """What was left, in that order, flat; the row is made of it."""
        table, *rest = numbers
        kept = rest.pop() if self._keep else None
        bounds = rest.pop() if self._bounds is not None else None
        self.left = []
        if all_finite([float(edge) for edges in rest for edge in edges]):
            self._row = self._of_table(table, kept, bounds)
        else:
            self.fail(MethodError(NOT_FINITE))

    @property
    def _size(self) -> tuple[int, int]:
        sample, _, _ = self._parts()
        height, width = sample.truth.shape
        return height, width

    def _of_table(self, table: NDArray[Any], positions: NDArray[Any] | None, bounds: NDArray[Any] | None) -> Row:
        """The row of what was counted. positions: every pixel's, where the label map is wanted. bounds: of boundaries,
        where they are."""
        _, offered, _ = self._parts()
        rules = self._run.protocol
        kept = None if positions is None else numbered(positions.reshape(self._size), offered, rules)
        found = None if bounds is None else boundaries.by_class(bounds)
        return self._ok(self._told.overlaps(table, offered, rules), kept, found)

    def _of_map(self, predicted: WideTruth) -> Row:
        """The row of a predicted map that is at home."""
        rules, kept = self._run.protocol, predicted if self._keep else None
        found = None if self._bounds is None else self._bounds.of_map(predicted, rules)
        return self._ok(self._told.overlaps_of(predicted, rules), kept, found)

    def _ok(self, counts: Overlaps, kept: WideTruth | None, bounds: NDArray[np.int64] | None) -> Row:
        label_map = None if kept is None else pictures.encode_map(kept)
        return Row(self._run.run_id, self._image_id, "ok", 0.0, None, *counts, label_map=label_map, boundaries=bounds)

    @property
    def _told(self) -> TruthThere:
        assert self._truth is not None
        return self._truth

    def _parts(self) -> tuple[Sample, Offer, Cut]:
        slot = self._slot
        assert slot.sample is not None and slot.offered is not None and slot.cut is not None
        return slot.sample, slot.offered, slot.cut


class LabelJudge(Judge):
    """A teacher's run: what it predicts is a pseudo mask, by the rule of its lessons."""

    def _counted(self, answers: Sequence[Answer], cut: Cut, offered: Offer) -> Row | None:
        assert isinstance(self._run.purpose, Labelling)
        rule, (sample, _, _) = self._run.purpose.rule, self._parts()
        planes = offered.planes(self._plane_a_word)
        self._wait_for_edges()
        mask = lesson_masks.lesson(answers, cut, offered, self._size, self._run.protocol, rule, planes=planes)
        return self._of_map(lesson_masks.on_foreground(mask, sample.truth) if rule.foreground else mask)

    def _of_nothing(self) -> Row:
        return self._of_map(np.full(self._size, WIDE_IGNORED, np.uint16))


class GatherJudge(Judge):
    """A learner's run: what it takes of an image and its lesson becomes a file."""

    def question(self, reader: Asked, features: Mapping[Pass, Features]) -> Callable[[Vocabulary], object]:
        return partial(self._gather, cast(Gatherer, reader), features)

    def _gather(
        self, learner: Gatherer, features: Mapping[Pass, Features], vocabulary: Vocabulary
    ) -> Mapping[str, NDArray[Any]]:
        _, offered, _ = self._parts()
        lesson = lesson_masks.positions(pictures.decode_map(self._lessons[self._image_id]), offered)
        return learner.gather(features, vocabulary, lesson)

    def _heard(self, answer: object, kept: bool) -> Callable[[], Row | None]:
        _, _, cut = self._parts()
        if len(cut.boxes) > 1:
            raise MethodError("a learner gathers from whole images; leave the protocol's window out")
        row = self._kept(cast(Mapping[str, NDArray[Any]], answer))
        return lambda: row

    def _of_nothing(self) -> Row:
        return self._kept({})

    def _kept(self, arrays: Mapping[str, NDArray[Any]]) -> Row:
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return Row(self._run.run_id, self._image_id, "ok", 0.0, gathered=file.getvalue())


_JUDGES: Mapping[type[Purpose], type[Judge]] = {Scoring: Judge, Labelling: LabelJudge, Gathering: GatherJudge}


def judge_of(
    run: Run, slot: Slot, keep: bool, lessons: Mapping[str, bytes], truth: TruthThere | None,
    bounds: BoundariesThere | None,
) -> Judge:  # fmt: skip
    """Who judges a run on an image: what the run is for decides."""
    bounds = bounds if isinstance(run.purpose, Scoring) else None
    return _JUDGES[type(run.purpose)](run, slot, keep, lessons, truth, bounds)
