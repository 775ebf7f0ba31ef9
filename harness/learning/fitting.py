"""A fit to do flows in; the artefact in its folder, and what its learner tells of it, flow out; in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from harness.contracts import Learner, Recipe
from harness.learning.lessons import LessonBook, StoredLessons
from harness.recipes import loading

TOLD = "told.json"  # in `unfinished`: what the learner said, from whichever process did the work


@dataclass(frozen=True)
class FitJob:
    """One learner and its lessons. folder: where the artefact comes to lie, reachable by all who take part."""

    artefact_id: str
    learner: Recipe
    lessons: LessonBook
    folder: str


def fit(job: FitJob, first: bool = True) -> None:
    """Do the work of this process: all of it, or a share where torch.distributed joins several; the first one tells."""
    if job.lessons.folder:
        loading.add_folder(job.lessons.folder)
    folder = Path(job.folder)
    (folder / "unfinished").mkdir(parents=True, exist_ok=True)
    learner = cast(Learner, loading.build(job.learner))
    began = time.time()
    told = learner.fit(StoredLessons(job.lessons), folder)
    if first:
        content = {"learner_tells": dict(told), "seconds": round(time.time() - began, 2)}
        (folder / "unfinished" / TOLD).write_text(json.dumps(content), encoding="utf-8")


def told(job: FitJob) -> Mapping[str, Any]:
    """What the first process wrote at the end of a fit."""
    content: Mapping[str, Any] = json.loads((Path(job.folder) / "unfinished" / TOLD).read_text(encoding="utf-8"))
    return content


def most_workers(job: FitJob) -> int | None:
    """How many processes can share this fit; None for one that knows no sharing, which the driver does by itself."""
    workers = getattr(loading.build(job.learner), "workers", None)
    return None if workers is None else max(1, int(workers))
