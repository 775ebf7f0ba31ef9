"""A fit to do flows in; the artefact in its folder, and what its learner tells of it, flow out; in this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from harness.contracts import Learner, Planned, Recipe
from harness.foreign.calls import Guard
from harness.learning import left_behind
from harness.learning.lessons import LessonBook, StoredLessons
from harness.recipes import identity, loading
from harness.recipes.code_stamp import strange
from harness.work.arithmetic import as_in_a_worker

Ended = tuple["FitJob", Exception | None]  # a fit that ended, and what it failed of
TOLD = "told.json"  # in `unfinished`: what the learner said, from whichever process did the work


@dataclass(frozen=True)
class FitJob:
    """One learner and its lessons. folder: where the artefact comes to lie, reachable by all who take part.

    planned: what stood in the artefact's id, which the process that fits must find too.
    """

    artefact_id: str
    learner: Recipe
    lessons: LessonBook
    folder: str
    planned: Planned = ()


def fit(job: FitJob, first: bool = True) -> None:
    """Do the work of this process: all of it, or a share where torch.distributed joins several; the first one tells.

    It computes as a worker does, whatever ran in the process before. ModelError when the learner is not here what it
    was in the plan.
    """
    with as_in_a_worker():
        _fit(job, first)


def _fit(job: FitJob, first: bool) -> None:
    if job.lessons.folder:
        loading.add_folder(job.lessons.folder)
    folder = Path(job.folder)
    (folder / "unfinished").mkdir(parents=True, exist_ok=True)
    if first:
        left_behind.clear(folder)
    learner = cast(Learner, loading.build(job.learner))
    identity.check_planned(job.learner, learner, dict(job.planned), job.lessons.folder or ".")
    began = time.time()
    try:
        told = _guarded(job, partial(learner.fit, StoredLessons(job.lessons), folder))
    finally:
        carded = first and left_behind.take_card(folder)
    if first:
        left_behind.check(folder, carded, told)
        content = left_behind.on_a_card(told, time.time() - began)
        (folder / "unfinished" / TOLD).write_text(content, encoding="utf-8")


def one_by_one(jobs: Iterable[FitJob], begin: Callable[[FitJob], None]) -> Iterator[Ended]:
    """Fits in this process, each as it ends. begin is told of each that starts."""
    for job in jobs:
        begin(job)
        yield job, failure_of(partial(fit, job))


def failure_of(do: Callable[[], None]) -> Exception | None:
    """What a call raises; an interruption passes."""
    try:
        do()
    except Exception as error:
        return error
    return None


def _guarded(job: FitJob, fit: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """The fit as a call that is looked after; not in a thread of Ray Train, whose process does other things too."""
    if threading.current_thread() is not threading.main_thread():
        return fit()
    guard = Guard(careful=True)
    guard.settle()
    try:
        return guard.call(job.learner.use, (job.artefact_id,), fit, within=strange(job.learner))
    finally:
        guard.leave()


def told_by_fit(job: FitJob) -> Mapping[str, Any]:
    """What the first process wrote at the end of a fit."""
    content: Mapping[str, Any] = json.loads((Path(job.folder) / "unfinished" / TOLD).read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class Sharing:
    """How many processes can share a fit: on CPUs, and with a GPU each."""

    cpus: int
    gpus: int


def sharing(job: FitJob) -> Sharing | None:
    """How many can share this fit; None for one that knows no sharing, which the driver does by itself."""
    learner = loading.build(job.learner)
    workers = getattr(learner, "workers", None)
    if workers is None:
        return None
    gpus = getattr(learner, "gpus", workers)
    return Sharing(max(1, int(workers)), max(1, int(gpus)))
