"""A plan flows in; stage by stage, rows and lessons flow into a results folder; part of the door.

The driver alone writes rows. What a stage is to learn is done by fits, when its lessons are stored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from rich.console import Console

from harness.contracts import BatchDone, Gathering, Labelling, Purpose, Recipe, Rows, Scoring, Shard, Traits
from harness.executors.seam import Executor
from harness.fits import Fits
from harness.foreign import interrupts
from harness.planning.data_now import DataNow
from harness.planning.overlap import overlap
from harness.planning.plan import Plan, PlannedFit, PlannedRun, Shelf, Stage
from results.folder import artefacts, events, keepsakes, origins
from results.folder.held import Held
from results.folder.store import Store
from results.folder.writer import Writer
from results.tables import overview

LOOKED_AT = 4  # images of a benchmark that a worker elsewhere compares before it does anything


def shelf(store: Store, held: Held) -> Shelf:
    """What a results folder holds besides the status of rows, for the plan. held: what of rows is there."""
    return Shelf(
        has_map=partial(keepsakes.has_label_map, store.folder),
        has_gathered=partial(artefacts.has_gathered, store.folder),
        has_artefact=partial(artefacts.has_artefact, store.folder),
        artefacts=str(artefacts.artefacts(store.folder)),
        samples=held.samples,
        origins=partial(origins.recall, store.folder),
        taught=partial(artefacts.taught, store.folder),
        taught_with=partial(artefacts.taught_with, store.folder),
        miou=partial(overview.miou_of, store),
        chosen=store.chosen,
        boundaries=held.bounded,
        learned=partial(artefacts.artefact_digest, store.folder),
        by_artefact=held.artefacts,
        tell=lambda said: print(said, file=sys.stderr, flush=True),
    )


def set_changed_aside(store: Store, writer: Writer, plan: Plan) -> None:
    """Move what rests on data that changed since out of the way, and remember the files that were read again.

    Rows go last, and what is remembered of files: by these who was interrupted knows the next time what has changed.
    """
    for planned in plan.changed:
        keepsakes.forget(store.folder, planned.run.run_id, planned.record["benchmark"], planned.changed)
    for fit in plan.fits:
        if fit.outdated:
            artefacts.set_artefact_aside(store.folder, fit.artefact_id)
    if plan.changed:
        writer.set_aside({planned.run.run_id: planned.changed for planned in plan.changed})
        store.event({"event": "changed", "images": {one.run.run_id: sorted(one.changed) for one in plan.changed}})
    for data in plan.data.values():
        if data.renewed:
            origins.remember(store.folder, data.key, data.renewed.values())


@dataclass(frozen=True)
class Desk:
    """Where the work of a plan comes in. data: of the plan. compared: by run, why it may not be scored, empty where it
    may.

    elsewhere: workers may be on machines with data of their own. signed: the runs whose recipes name this sweep. said:
    notices of workers, and warnings, that were shown.
    """

    store: Store
    writer: Writer
    executor: Executor
    console: Console
    fits: Fits
    data: Mapping[Recipe, DataNow] = field(default_factory=dict)
    elsewhere: bool = False
    compared: dict[str, str] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def work(self, plan: Plan, shard_batches: int | None) -> Iterator[tuple[BatchDone, Rows]]:
        """Do the plan, but what comes too early in it; every batch done, with those of its rows that count for the
        tables, as they come."""
        self.fits.waiting.update(one.artefact_id for one in plan.too_early)
        for stage in plan.stages:
            ready = self._ready(stage)
            planned = {one.run.run_id: one for group in ready.groups for one in group}
            for served in [one.serves for one in planned.values() if one.serves is not None]:
                self.fits.begin(served)
            shards = self._with_seen([self._with_lessons(shard) for shard in plan.shards(shard_batches, ready)])
            for done in self.executor.run(shards) if shards else ():
                self._tell(done.notices)
                if len(done.rows):
                    yield done, self._keep(done, planned)
            self.writer.flush()
            if interrupts.closing():
                raise interrupts.Closed
            ready_fits = [fit for fit in stage.fits if fit.artefact_id not in self.fits.waiting]
            self.fits.do([fit for fit in ready_fits if self._has_use(fit, plan)])

    def _has_use(self, fit: PlannedFit, plan: Plan) -> bool:
        """Whether any run that rests on a fit may be scored; each is compared, since each has something to tell."""
        resting = [one for one in plan.runs if one.asked and one.fit and fit.artefact_id in one.fit.chain_ids]
        refusals = {one.run.benchmark_name: reason for one in resting if (reason := self._refusal(one))}
        if not resting or not all([self._refusal(one) for one in resting]):
            return True
        self.fits.give_up(fit, "; ".join(f"on {name}, {reason}" for name, reason in refusals.items()))
        return False

    def _keep(self, done: BatchDone, planned: Mapping[str, PlannedRun]) -> Rows:
        wanted = self._with_artefacts(_missed(done.rows, planned), planned).computed_on(done.card)
        errors = {wanted.key(number)[0]: error for number, error in wanted.errors.items() if error}
        self.fits.errors.update(errors)
        first = planned[done.rows.runs[0]]
        self._remember(done, first)
        purpose = first.run.purpose  # of all runs of a shard
        rows, counted = _KEEPERS[type(purpose)](self, done, wanted, first)
        spent = {"encodings": done.encodings, "passes": done.passes, "seconds": done.seconds}
        kept = {"event": "batch", "shard": done.shard_id, "batch": done.index, "rows": len(rows), "kind": purpose.kind}
        said = sorted({error for error in wanted.errors.values() if error})
        failed = len(wanted) - int(np.count_nonzero(wanted.ok))
        by = {} if done.worker is None else {"worker": done.worker, "host": done.host, "memory": done.memory}
        by |= {"card": done.card} if done.card else {}
        by |= {} if done.following is None else {"following": done.following, "since": events.now()}
        self.writer.append(rows, {**kept, **spent, **by, "done": len(wanted), "failed": failed, "errors": said})
        return counted

    def _with_artefacts(self, rows: Rows, planned: Mapping[str, PlannedRun]) -> Rows:
        """The rows, those of methods that learned with the digest of what they were computed with."""
        behind = [(fit := planned[run_id].fit) and self.fits.digest(fit) for run_id in rows.runs]
        if not any(behind):
            return rows
        by_row = {number: behind[run] for number, run in enumerate(rows.run.tolist())}
        return replace(rows, artefacts={number: one for number, one in by_row.items() if one is not None})

    def _keep_scores(self, done: BatchDone, rows: Rows, planned: PlannedRun) -> Kept:
        self._keep_labels(done, rows, planned)
        if done.pictures:
            keepsakes.keep_pictures(self.store.folder, planned.record["benchmark"], done.pictures)
        return rows, rows

    def _keep_labels(self, _done: BatchDone, rows: Rows, _planned: PlannedRun) -> Kept:
        self._sign(rows)
        keepsakes.keep_label_maps(self.store.folder, rows)
        return rows, _NO_ROWS

    def _keep_gathered(self, _done: BatchDone, rows: Rows, _planned: PlannedRun) -> Kept:
        artefacts.keep_gathered(self.store.folder, rows)
        return _NO_ROWS, _NO_ROWS

    def _sign(self, rows: Rows) -> None:
        """This sweep's versions and commit, in the recipe of every run that it adds rows to."""
        if self.signed.issuperset(rows.runs):
            return
        for run_id in {rows.runs[number] for number in set(rows.run.tolist())} - self.signed:
            self.store.sign(run_id, self.fits.around)
            self.signed.add(run_id)

    def _remember(self, done: BatchDone, planned: PlannedRun) -> None:
        """Where the images came from, before the rows that rest on them are stored."""
        data = self.data.get(planned.run.benchmark)
        if data is not None and (said := data.unseen(done.origins)):
            self._tell([said])
        if data is not None and (news := data.news(done.origins)):
            every = len(news) == len(done.origins)
            self.writer.remember(data.key, done.origin_lines if every else [origin.line() for origin in news])

    def _tell(self, notices: Sequence[str]) -> None:
        """Show what workers have to say, once however many of them say it."""
        for notice in notices:
            if notice not in self.said:
                self.said.add(notice)
                self.console.print(notice, highlight=False, markup=False, soft_wrap=True)
                self.store.event({"event": "notice", "text": notice})

    def _ready(self, stage: Stage) -> Stage:
        """What of a stage can be done: after a failure, lessons or what should have been learned may be missing."""
        groups = [tuple(planned for planned in group if self._can_be_done(planned)) for group in stage.groups]
        return Stage(tuple(group for group in groups if group), stage.fits)

    def _can_be_done(self, planned: PlannedRun) -> bool:
        served, fit = planned.serves, planned.fit
        if served is not None and (served.artefact_id in self.fits.waiting or self.fits.lacking(served)):
            return False
        return (fit is None or self.fits.has_learned(fit)) and self._may_be_scored(planned)

    def _may_be_scored(self, planned: PlannedRun) -> bool:
        """Whether a run's images are not those that its method learned from, or few of them; else it is said."""
        if refusal := self._refusal(planned):
            run = planned.run
            self._warn(f"{run.method_name} on {run.benchmark_name} is not scored: {refusal}")
        return not refusal

    def _refusal(self, planned: PlannedRun) -> str:
        """Why a run may not be scored, by the images that its method learned from; what may be in both is told once."""
        seen = planned.seen
        if seen is None or not isinstance(planned.run.purpose, Scoring):
            return ""
        if planned.run.run_id not in self.compared:
            scored, train = (self.data[run.benchmark] for run in (planned.run, seen.run))
            found = overlap(planned, seen, scored, train, read=True)
            for data in (scored, train):
                origins.remember(self.store.folder, data.key, data.renewed.values())
                data.renewed.clear()
            self.compared[planned.run.run_id] = found.refusal
            if found.words and not found.refusal:
                self._tell([f"{planned.run.method_name} on {planned.run.benchmark_name}: {found.words}."])
        return self.compared[planned.run.run_id]

    def _warn(self, sentence: str) -> None:
        """Say what goes wrong, once."""
        if sentence not in self.said:
            self.said.add(sentence)
            print(sentence, file=sys.stderr)

    def _with_seen(self, shards: list[Shard]) -> list[Shard]:
        """The shards with what a few of their images are here, for workers that may have other ones."""
        if not self.elsewhere:
            return shards
        images: dict[Recipe, dict[str, None]] = {}
        for shard in shards:
            own = images.setdefault(shard.runs[0].benchmark, {})
            own.update(dict.fromkeys(image for batch in shard.batches for image in batch.image_ids))
        seen: dict[Recipe, Traits] = {}
        for recipe, asked in images.items():
            data = self.data[recipe]
            seen[recipe] = data.seen(list(asked), LOOKED_AT)
            origins.remember(self.store.folder, data.key, data.renewed.values())
            data.renewed.clear()
        return [replace(shard, seen=seen[shard.runs[0].benchmark]) for shard in shards]

    def _with_lessons(self, shard: Shard) -> Shard:
        """The shard with the way to the teacher's masks, where a learner gathers."""
        purpose = shard.runs[0].purpose
        if not isinstance(purpose, Gathering):
            return shard
        mask = self.fits.mask(purpose.labels)
        image_ids = [image_id for batch in shard.batches for image_id in batch.image_ids]
        return replace(shard, lessons=keepsakes.KeptFiles({image_id: mask(image_id) for image_id in image_ids}))


def outdated(plan: Plan, store: Store) -> list[str]:
    """A sentence for every benchmark whose images changed after rows were made of them, while a sweep went on."""
    touched = {recipe: found for recipe, data in plan.data.items() if (found := data.touched())}
    if not touched:
        return []
    held, changed = store.held(), dict[str, set[str]]()
    for planned in (*plan.runs, *plan.labels, *plan.trials):
        if images := touched.get(planned.run.benchmark):
            samples = held.samples(planned.run.run_id)
            stored = {image_id: samples[image_id] for image_id in images if image_id in samples}
            now = plan.data[planned.run.benchmark].changed(stored)
            changed.setdefault(planned.run.benchmark_name, set()).update(now)
    return [
        f"{len(images)} images of {name} changed while this ran: rows rest on what they were before, and do not count; "
        "the same command computes them anew."
        for name, images in changed.items() if images
    ]  # fmt: skip


def _missed(rows: Rows, planned: Mapping[str, PlannedRun]) -> Rows:
    """Those of a batch's rows that were missing: another run of its shard may have missed more images."""
    missing = [planned[run_id].missing for run_id in rows.runs]
    if all([one.issuperset(rows.images) for one in {id(one): one for one in missing}.values()]):
        return rows  # most runs miss the same images, which are looked for once
    missed = np.array([[image in one for image in rows.images] for one in missing])
    return rows.only(missed[rows.run, rows.image])


_NO_ROWS = Rows.of(())
Kept = tuple[Rows, Rows]  # the rows that are stored, and those of them that count for tables
_KEEPERS: Mapping[type[Purpose], Callable[[Desk, BatchDone, Rows, PlannedRun], Kept]] = {
    Scoring: Desk._keep_scores,
    Labelling: Desk._keep_labels,
    Gathering: Desk._keep_gathered,
}
