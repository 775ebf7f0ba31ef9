"""What one method answers for one image, window by window, flows in; the image's row flows out, whatever happens."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import IGNORED, MethodError, Row, Run, Sample
from harness.errors import in_words
from harness.foreign import interrupts
from harness.protocol.decision import checked, nothing_offered, predict_views
from harness.protocol.offering import Offer, scored_truth
from harness.protocol.views import Tiling
from harness.work import lesson_masks, pictures
from harness.work.scoring import overlaps
from harness.work.slots import Slot


class Judge:
    """One run on one image. keep: whether its label map is wanted as a picture."""

    def __init__(self, run: Run, slot: Slot, keep: bool) -> None:
        assert slot.image_id is not None
        self._run, self._slot, self._image_id, self._keep = run, slot, slot.image_id, keep
        self._answers: list[Any] = []
        self._seconds = 0.0
        self._row: Row | None = None

    def hear(self, answer: Callable[[], Any], seconds: float) -> None:
        """Ask for the answer for the next window; with the last one the row is made. After a failure nothing is asked.

        seconds: what the passes behind it cost.
        """
        if self._row is not None:
            return
        sample, offered, cut = self._parts()
        started = time.perf_counter()
        try:
            if self._run.gathers:
                self._row = self._gather(answer(), len(cut.boxes))
                return
            box = cut.boxes[len(self._answers)]
            found = checked(answer(), len(offered.vocabulary), (box.height, box.width))
            # A method may write its next answer into the same memory.
            self._answers.append(found.clone() if len(cut.boxes) > 1 and found.ndim == 3 else found)
            if len(self._answers) == len(cut.boxes):
                height, width = sample.truth.shape
                rules = cut, offered, (height, width), self._run.protocol
                if self._run.rule is None:
                    predicted = predict_views(self._answers, *rules)
                else:
                    predicted = lesson_masks.lesson(self._answers, *rules, self._run.rule)
                self._row = self._count(predicted)
                self._answers = []
        except BaseException as error:  # an answer is foreign too: an array's class may raise anything
            self.fail(interrupts.foreign(error))
        finally:
            self._seconds += seconds + time.perf_counter() - started

    def fail(self, error: Exception) -> None:
        """Give the image up, if it is not done."""
        if self._row is None:
            self._row = Row(self._run.run_id, self._image_id, "failed", 0.0, in_words(error))
            self._answers = []

    def row(self) -> Row:
        """The row; of an image that could not be read, or has no class to tell apart, without asking anybody."""
        row = self._row or self._unasked()  # before its seconds are read
        origin = self._slot.origin
        return replace(row, seconds=self._seconds, sample=None if origin is None else origin.sample)

    def _unasked(self) -> Row:
        if self._slot.error is not None:
            return Row(self._run.run_id, self._image_id, "failed", 0.0, self._slot.error)
        sample, _, _ = self._parts()
        started = time.perf_counter()
        if self._run.gathers:
            return self._gather({}, 1)
        height, width = sample.truth.shape
        nothing = nothing_offered((height, width), self._run.protocol)
        row = self._count(nothing if self._run.rule is None else np.full_like(nothing, IGNORED))
        self._seconds = time.perf_counter() - started
        return row

    def _gather(self, arrays: Mapping[str, NDArray[Any]], windows: int) -> Row:
        if windows > 1:
            raise MethodError("a learner gathers from whole images; leave the protocol's window out")
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return Row(self._run.run_id, self._image_id, "ok", 0.0, gathered=file.getvalue())

    def _count(self, predicted: NDArray[Any]) -> Row:
        sample, _, _ = self._parts()
        counts = overlaps(scored_truth(sample.truth, self._run.protocol), predicted)
        label_map = pictures.encode_map(predicted) if self._keep else None
        return Row(self._run.run_id, self._image_id, "ok", 0.0, None, *counts, label_map=label_map)

    def _parts(self) -> tuple[Sample, Offer, Tiling]:
        slot = self._slot
        assert slot.sample is not None and slot.offered is not None and slot.cut is not None
        return slot.sample, slot.offered, slot.cut
