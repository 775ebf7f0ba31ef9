"""Fits whose lessons are stored flow in; artefacts with their cards flow into a results folder; part of the door.

A fit that cannot be done is said and left out with all that depends on it; the rest goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.contracts import Labelling
from harness.errors import StoreError, in_words
from harness.executors.seam import Executor
from harness.learning import fitting
from harness.learning.fit_progress import FitProgress
from harness.learning.fitting import FitJob
from harness.learning.lessons import LessonBook
from harness.planning.data_now import behind
from harness.planning.plan import PlannedFit
from results.folder import artefacts, keepsakes
from results.folder.store import Store


@dataclass(frozen=True)
class Fits:
    """What a results folder holds of lessons and of what was learned, and the fits that add to it.

    folder: that of the grid. around: versions and commit, for cards. errors: by run, the last error of an image, to be
    told when a fit cannot be done for want of it. opened: by artefact, whether it is as it was learned. waiting: the
    artefacts that the next plan learns, from the images that are there. digests: of artefacts, as they stand in rows.
    begun: the artefacts whose lessons are written down.
    """

    store: Store
    executor: Executor
    console: Console
    folder: str
    around: Mapping[str, Any]
    errors: dict[str, str] = field(default_factory=dict)
    opened: dict[str, bool] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    digests: dict[str, str | None] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    def begin(self, fit: PlannedFit) -> None:
        """Write down which lessons a fit, or what is gathered for it, rests on, before there is any of it."""
        if fit.artefact_id not in self.begun:
            self.begun.add(fit.artefact_id)
            artefacts.begin_with(self.store.folder, fit.artefact_id, self._lessons(fit))

    def do(self, fits: Sequence[PlannedFit]) -> None:
        """Do fits that do not depend on each other, as many at once as there is room, and write their cards."""
        jobs = [job for fit in fits if (job := self._job(fit)) is not None]
        planned = {fit.artefact_id: fit for fit in fits}
        watched: dict[str, FitProgress] = {}

        def begin(job: FitJob) -> None:
            fit = planned[job.artefact_id]
            self.store.event({"event": "fit begun", "artefact": fit.artefact_id, "method": fit.named})
            watched[fit.artefact_id] = FitProgress(fit, self.console)
            watched[fit.artefact_id].begin()

        try:
            for job, error in self.executor.fit(jobs, begin):
                if (progress := watched.pop(job.artefact_id, None)) is not None:
                    progress.end(error is None)
                self._finish(planned[job.artefact_id], job, error)
        finally:
            for progress in watched.values():
                progress.end(False)

    def has_learned(self, fit: PlannedFit) -> bool:
        """Whether an artefact is there, with the bytes that were learned; one that is damaged is told of once."""
        if not artefacts.has_artefact(self.store.folder, fit.artefact_id):
            return False
        if fit.artefact_id not in self.opened:
            reason = artefacts.artefact_damage(self.store.folder, fit.artefact_id)
            self.opened[fit.artefact_id] = not reason
            if reason:
                self.give_up(fit, reason, "cannot be used")
        return self.opened[fit.artefact_id]

    def digest(self, fit: PlannedFit) -> str | None:
        """What stands for an artefact in the rows that are computed with it."""
        if fit.artefact_id not in self.digests:
            self.digests[fit.artefact_id] = artefacts.artefact_digest(self.store.folder, fit.artefact_id)
        return self.digests[fit.artefact_id]

    def lacking(self, fit: PlannedFit) -> int:
        """How many label maps of the teacher are not there, or damaged."""
        masks = self._masks(fit)
        return len(masks) - len(self._usable(fit.labels.run.run_id, masks))

    def mask(self, run_id: str) -> Callable[[str], Path]:
        """Where a teacher's mask of an image lies."""
        return partial(keepsakes.label_map_path, self.store.folder.absolute(), run_id)

    def give_up(self, fit: PlannedFit, reason: str, what: str = "cannot be fitted") -> None:
        """Say why a fit, and what needs it, is left out."""
        print(f"{fit.named} {what}, and what needs it is left out: {reason}", file=sys.stderr)
        self.store.event({"event": "fit failed", "artefact": fit.artefact_id, "error": reason})

    def _job(self, fit: PlannedFit) -> FitJob | None:
        """The work of a fit; None where it waits for the next plan, which leaves images out, or cannot be done."""
        masks, gathered = self._masks(fit), self._gathered(fit)
        looked_at = self._usable(fit.labels.run.run_id, masks) | self._usable(fit.artefact_id, gathered)
        lacking = len(masks) + len(gathered) - len(looked_at)
        if reason := self._without_teacher(fit, lacking):
            self.give_up(fit, reason)
            return None
        if lacking and (fit.artefact_id in self.waiting or self._may_be_left_out(fit)):
            return None
        if lacking:
            self.give_up(fit, self._lacks(fit, lacking))
            return None
        self.begin(fit)
        book = LessonBook(fit.labels.run, masks, gathered, self.folder, looked_at)
        return FitJob(fit.artefact_id, fit.learner, book, fit.folder, fit.planned)

    def _without_teacher(self, fit: PlannedFit, lacking: int) -> str:
        """Why a fit cannot be done, where its teacher has not learned; it waits where the teacher waits."""
        taught = fit.labels.fit
        if taught is None:
            return ""
        if artefacts.has_artefact(self.store.folder, taught.artefact_id):
            return "" if self.has_learned(taught) else "what its teacher had learned is damaged"
        if lacking and taught.artefact_id in self.waiting:
            self.waiting.add(fit.artefact_id)
        return f"its teacher {taught.named} is not fitted" if lacking and fit.artefact_id not in self.waiting else ""

    def _lacks(self, fit: PlannedFit, lacking: int) -> str:
        """Which results are not there, and why."""
        every, run_id = len(fit.labels.image_ids), fit.labels.run.run_id
        error = self.errors.get(fit.artefact_id) or self.errors.get(run_id)
        reason = f" (the last one: {error})" if error else ""
        allows = f"; teacher_may_fail: {fit.may_fail:g} allows {fit.may_lack} of {every}" if fit.may_fail else ""
        return f"{lacking} results on the train images failed, are missing or damaged{reason}{allows}"

    def _finish(self, fit: PlannedFit, job: FitJob, error: Exception | None) -> None:
        """The card of a fit that ended; without a card there is no artefact."""
        try:
            if error is not None:
                raise error
            told = fitting.told_by_fit(job)
        except Exception as failure:
            self.give_up(fit, in_words(failure))
            return
        content = {**card_of_fit(fit), **self._lessons(fit), **self.around, **told}
        artefacts.finish(self.store.folder, fit.artefact_id, content)
        name = {"method": fit.method_name, "seconds": told["seconds"]}
        self.store.event({"event": "fit", "artefact": fit.artefact_id, **name})

    def _lessons(self, fit: PlannedFit) -> dict[str, str | None]:
        """What stands for the images and the teacher that a fit learns from."""
        samples = behind(self.store.held().samples(fit.labels.run.run_id), fit.image_ids)
        taught = {} if fit.labels.fit is None else {artefacts.TEACHER: self.digest(fit.labels.fit)}
        return {"samples": samples, **taught}

    def _may_be_left_out(self, fit: PlannedFit) -> bool:
        """Whether the learner goes on without the train images that lack a label map, which is said once."""
        absent = sum(not Path(path).exists() for path in self._masks(fit).values())
        if not absent or absent + len(fit.left_out) > fit.may_lack:
            return False
        every = len(fit.image_ids)
        print(
            f"{fit.named} leaves out {absent} of {every} train images, on which {fit.teacher} failed", file=sys.stderr
        )
        self.store.event({"event": "left out", "artefact": fit.artefact_id, "images": absent})
        self.waiting.add(fit.artefact_id)
        return True

    def _usable(self, run_id: str, paths: Mapping[str, str]) -> dict[str, str]:
        """The digests of those files that are there as they were written."""
        usable: dict[str, str] = {}
        for path in paths.values():
            try:
                usable[path] = keepsakes.looked_at(Path(path))
            except StoreError as error:
                if Path(path).exists():
                    self.errors[run_id] = str(error)
        return usable

    def _masks(self, fit: PlannedFit) -> dict[str, str]:
        return self._paths(fit, self.mask(fit.labels.run.run_id))

    def _gathered(self, fit: PlannedFit) -> dict[str, str]:
        if fit.gathers is None:
            return {}
        return self._paths(fit, partial(artefacts.gathered_path, self.store.folder.absolute(), fit.artefact_id))

    def _paths(self, fit: PlannedFit, path: Callable[[str], Path]) -> dict[str, str]:
        return {image_id: str(path(image_id)) for image_id in fit.image_ids}


def card_of_fit(fit: PlannedFit) -> dict[str, Any]:
    """What an artefact's card says besides what its learner tells."""
    labels, settings, purpose = fit.labels, fit.record["learner"].get("settings", {}), fit.labels.run.purpose
    rule = purpose.rule.facts() if isinstance(purpose, Labelling) else None
    return {
        "artefact_id": fit.artefact_id, "method_name": fit.method_name, "variant": fit.variant,
        "teacher": fit.teacher, "teacher_run": labels.run.run_id, "label_rule": rule,
        "seed": settings.get("seed"), "image_count": len(fit.image_ids), "protocol": asdict(labels.run.protocol),
        "supervision": fit.supervision, **fit.record, "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
