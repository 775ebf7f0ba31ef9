"""A plan and one job of several flow in; its share of the next stage flows out: the same split whatever is stored.

Jobs share images by their fixed batches, so that passes stay shared and no batch changes its shape. What is gathered
and learned rests on the images of all: the first job does that alone, once the others' label maps were merged. What
all have tried, and failed, is tried again by the first job where something is to be learned behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.contracts import Gathering
from harness.errors import HarnessError
from harness.planning import batches
from harness.planning.plan import Plan, Stage
from harness.planning.planned import PlannedFit, PlannedRun

MOST = 10_000


@dataclass(frozen=True)
class Share:
    """Job `number`, from 1, of `count` that do one grid together."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Share:
        """From `2/6`. HarnessError for anything else."""
        found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text, re.ASCII)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count <= MOST:
            raise HarnessError(
                f"--shard {text!r} is no share; write I/N, as in 2/6 for the second of six jobs (N at most {MOST})"
            )
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"

    def images(self, image_ids: tuple[str, ...], batch: int) -> frozenset[str]:
        """Those of a benchmark's images that this job does."""
        own = [one for one in batches.fixed(image_ids, batch) if one.index % self.count == self.number - 1]
        return frozenset(image_id for one in own for image_id in one.image_ids)


@dataclass(frozen=True)
class NextStage:
    """What one job does now. plan: with that alone in its stages. what: in words; last: nothing comes after it.

    later: what learns in a later stage, although all its lessons are stored: its teacher learns anew in this one.
    """

    plan: Plan
    what: str
    last: bool
    later: tuple[PlannedFit, ...] = ()


def next_stage(plan: Plan, share: Share) -> NextStage:
    """A job's share of the first stage that is not done."""
    stages = [stage for stage in plan.stages if stage.groups or stage.fits]
    early = frozenset(fit.artefact_id for fit in plan.too_early)
    shared = _first_for_all(stages)
    if not stages:
        return NextStage(replace(plan, stages=()), "all is done", not plan.waiting)
    if shared:
        ready = tuple(_without(stage, early) for stage in stages[:shared])
        learned = sorted({fit.method_name for stage in ready for fit in stage.fits})
        alone = ready if share.number == 1 else ()
        learn = "learns" if len(learned) == 1 else "learn"
        what = f"what {', '.join(learned)} {learn}" if learned else "what is gathered for learners"
        later = tuple(fit for stage in stages[:shared] for fit in stage.fits if fit.artefact_id in early)
        return NextStage(replace(plan, stages=alone), f"{what}, which the first job does alone", False, later)
    images: dict[tuple[str, ...], frozenset[str]] = {}
    groups = [_own(group, share, plan.batch, images) for group in stages[0].groups]
    kinds = sorted({one.run.purpose.kind for one in _members(stages[0]) if _is_shared(one)}, reverse=True)
    what = " and ".join({"score": "scores", "label": "label maps to learn from"}[kind] for kind in kinds)
    own = tuple(group for group in groups if group)
    last = len(stages) == 1 and not stages[0].fits and not plan.waiting and not any(one.trials for one in plan.runs)
    return NextStage(replace(plan, stages=(Stage(own),) if own else ()), what, last)


def _without(stage: Stage, early: frozenset[str]) -> Stage:
    """A stage without some fits, and without what is gathered for them or rests on them."""
    groups = [tuple(one for one in group if early.isdisjoint(_behind(one))) for group in stage.groups]
    fits = tuple(fit for fit in stage.fits if early.isdisjoint(fit.chain_ids))
    return Stage(tuple(filter(None, groups)), fits)


def _behind(planned: PlannedRun) -> tuple[str, ...]:
    """The artefacts that a run needs, or is gathered for."""
    fit = planned.serves or planned.fit
    return fit.chain_ids if fit else ()


def _first_for_all(stages: Sequence[Stage]) -> int:
    """The number of the first stage that all jobs share; before it comes what the first one does alone."""
    first = next((n for n, stage in enumerate(stages) if any(map(_is_untried, _members(stage)))), len(stages))
    failed = any(_is_shared(one) for stage in stages[:first] for one in _members(stage))
    return 0 if failed and not any(stage.fits for stage in stages[:first]) else first


def _is_untried(planned: PlannedRun) -> bool:
    return _is_shared(planned) and len(planned.missing) > planned.failed_before


def _members(stage: Stage) -> list[PlannedRun]:
    return [one for group in stage.groups for one in group]


def _is_shared(planned: PlannedRun) -> bool:
    return not isinstance(planned.run.purpose, Gathering)


def _own(
    group: tuple[PlannedRun, ...], share: Share, batch: int, images: dict[tuple[str, ...], frozenset[str]]
) -> tuple[PlannedRun, ...]:
    """The runs of a group with what this job does of them. images: by a benchmark's ids, as they were asked for."""
    ids = group[0].image_ids
    if ids not in images:
        images[ids] = share.images(ids, batch)
    cut = {one.missing: one.missing & images[ids] for one in group}
    return tuple([replace(one, missing=cut[one.missing]) for one in group if _is_shared(one) and cut[one.missing]])
