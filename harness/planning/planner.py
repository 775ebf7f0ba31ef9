"""Cells of a grid and what is stored -> runs and fits with ids, each recipe built once and its facts remembered."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from harness.contracts import (
    Gathering,
    Labelling,
    Origin,
    Purpose,
    Recipe,
    Run,
    Scoring,
)
from harness.contracts.facts import digest, id_of_fit, id_of_run
from harness.errors import GridError
from harness.planning import learners
from harness.planning.data_now import UNREADABLE, DataNow, behind
from harness.planning.known import Known, KnownBenchmark, KnownMethod, Plannable
from harness.planning.overlap import overlap
from harness.planning.planned import PlannedFit, PlannedRun, most
from harness.protocol.offering import segments_together
from harness.protocol.rules import PLAIN, STRETCH, effective, of_lessons, stretches
from harness.recipes import house, identity

Stored: TypeAlias = Mapping[str, Mapping[str, str]]  # run id -> image id -> status


def _nothing(_first: str, _second: str = "") -> bool:
    return False


def _nobody(_key: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Shelf:
    """What a results folder holds besides rows.

    has_map: run id, image id -> whether its label map is kept. has_gathered: artefact id, image id -> whether what
    was gathered is. has_artefact: artefact id -> whether it is whole. artefacts: the folder they lie in. samples: run
    id -> image id -> digest of the data behind its good row, if it says so. origins: key of a benchmark -> where its
    images came from. taught: artefact id -> digest of all images behind it, taught_with: of what its teacher had
    learned, if its card says so. miou: of a run, some of its images and how many classes there are, by its rows.
    chosen: run id -> what of its protocol was chosen when its rows were made. learned: artefact id -> digest of what
    was learned, as it lies there; by_artefact: run id -> that digest -> images of the good rows that were computed
    with it. boundaries: run id -> the images of whose good rows the boundaries are counted. tell: what takes a while.
    """

    has_map: Callable[[str, str], bool] = _nothing
    has_gathered: Callable[[str, str], bool] = _nothing
    has_artefact: Callable[[str], bool] = _nothing
    artefacts: str = "artefacts"
    samples: Callable[[str], Mapping[str, str | None]] = _nobody
    origins: Callable[[str], dict[str, Origin]] = _nobody
    taught: Callable[[str], str | None] = lambda _: None
    taught_with: Callable[[str], str | None] = lambda _: None
    miou: Callable[[Run, Sequence[str], int], float | None] = lambda _run, _images, _classes: None
    chosen: Callable[[str], Mapping[str, Any] | None] = lambda _: None
    boundaries: Callable[[str], Collection[str]] = lambda _: ()
    learned: Callable[[str], str | None] = lambda _: None
    by_artefact: Callable[[str], Mapping[str, frozenset[str]]] = _nobody
    tell: Callable[[str], None] = lambda _: None


class Planner:
    """Plans cells one by one; `labels` and `fits` are what the learners among them need, each once, in order, and
    `trials` the runs on train splits of which the best says a protocol.

    tried: runs of teachers whose failed images are not tried again. boundaries: whether those of classes are counted.
    """

    def __init__(
        self,
        batch: int,
        stored: Stored,
        limit: int | None,
        keep: int | Sequence[str],
        shelf: Shelf,
        folder: str,
        tried: frozenset[str] = frozenset(),
        boundaries: bool = False,
    ) -> None:
        self._tried, self._boundaries = tried, boundaries
        self._batch, self._stored, self._limit, self._keep, self._shelf = batch, stored, limit, keep, shelf
        self._known = Known(folder, shelf.origins, shelf.tell)
        self._together: dict[Recipe, frozenset[str]] = {}  # the images of a benchmark, held once for all runs
        self._alike: dict[frozenset[str], frozenset[str]] = {}  # and what several runs lack
        self._made: dict[str, tuple[tuple[Any, ...], Any]] = {}  # runs that were stored together are stored alike
        self.labels: dict[str, PlannedRun] = {}
        self.fits: dict[str, PlannedFit] = {}
        self.trials: dict[str, PlannedRun] = {}

    @property
    def unstamped(self) -> dict[str, tuple[str, ...]]:
        """Address -> what of its code stands in no id, a clause each."""
        return self._known.unstamped

    @property
    def uncounted(self) -> dict[str, tuple[str, ...]]:
        """Address -> what its settings name that stands in no id, a clause each."""
        return self._known.uncounted

    @property
    def data(self) -> dict[Recipe, DataNow]:
        """The data of every benchmark that was planned, train splits too."""
        return self._known.data

    def method(self, cell: Plannable) -> KnownMethod:
        """The method of a cell. ModelError where its model is not to be had."""
        return self._known.method(cell)

    def plan(self, cell: Plannable) -> PlannedRun:
        """The run of a cell, with the fit behind it, if its method is a learner."""
        choice = getattr(cell, "choice", None)
        planned = self._planned(cell, Scoring) if choice is None else self._chosen(cell, choice)
        if (seen := planned.seen) is not None:
            train, scored = (self._known.data[run.benchmark] for run in (seen.run, planned.run))
            if refusal := overlap(planned, seen, scored, train, read=False).refusal:
                raise GridError(f"{cell.method_name} on {cell.benchmark_name}: {refusal}")
        return planned

    def _chosen(self, cell: Any, choice: Any) -> PlannedRun:
        """The run of a cell whose protocol is that of the best of some runs on the train split; of equals the first."""
        self._check_classes(cell, choice.cells[0].benchmark)
        trials = tuple([self._planned(one, Scoring) for one in choice.cells])
        self.trials |= {one.run.run_id: one for one in trials}
        waits = any(one.missing for one in trials)
        chosen: dict[str, Any] = {
            "rule": choice.rule, "fields": list(choice.fields), "runs": [one.run.run_id for one in trials],
            "images": digest(list(trials[0].image_ids)), "train_images": len(trials[0].image_ids),
            "of": [[getattr(one.run.protocol, name) for name in choice.fields] for one in trials],
        }  # fmt: skip
        best = trials[0]
        if not waits:
            classes = len(self._known.benchmark(best.run.benchmark, best.run.benchmark_name).classes)
            scores = [self._shelf.miou(one.run, one.image_ids, classes) for one in trials]
            best = trials[scores.index(max(scores, key=lambda one: -1.0 if one is None else one))]
            chosen["scores"] = scores
            chosen["values"] = {name: getattr(best.run.protocol, name) for name in choice.fields}
        planned = self._planned(replace(cell, protocol=best.run.protocol, choice=None), Scoring, chosen)
        return replace(planned, trials=trials, waits=waits)

    def _planned(
        self, cell: Plannable, purpose: Callable[[str | None], Purpose], settled: Mapping[str, Any] | None = None
    ) -> PlannedRun:
        """The run of a cell for a purpose, given what its method has learned. settled: how its protocol was chosen."""
        place, method = self._known.benchmark(cell.benchmark, cell.benchmark_name), self._known.method(cell)
        teacher = getattr(cell, "teacher", None)
        fit = None if teacher is None else self._fit(cell, teacher, method)
        run, record = self._run(cell, place, method, fit, purpose(None if fit is None else fit.folder), settled)
        wanted = place.image_ids[: self._limit]
        if cell.benchmark not in self._together:
            self._together[cell.benchmark] = frozenset(wanted)
        every = self._together[cell.benchmark]
        keep = every if isinstance(run.purpose, Labelling) else chosen(place.image_ids, self._keep) & every
        changed, relearned = self._changed(place, run, fit, settled or {}), self._relearned(run, fit)
        changed = {**changed, **relearned} if relearned else changed
        lacking, failed = self._lacking(run, every, changed)
        bounds = self._boundaries and isinstance(run.purpose, Scoring)
        missing = self._with_uncounted(run, self._with_unseen(run, lacking, keep), every if bounds else frozenset())
        to_fetch = () if fit is not None and fit.stored and not method.passes else method.to_fetch  # a fit's alone
        tagger = self._known.tagger(run.protocol.tagger)
        return PlannedRun(
            run, wanted, self._alike.setdefault(missing, missing), failed_before=failed, passes=method.passes,
            keep=keep, stored=len(wanted) - len(lacking), record=record, fit=fit, changed=changed,
            relearned=len(relearned), to_fetch=to_fetch + (tagger.to_fetch if tagger else ()),
            remarks=method.remarks + (tagger.remarks if tagger else ()),
            unanswered=self._known.unanswered(method, run.protocol.tagger, wanted),
            train_overlap=getattr(cell, "train_overlap", 0.0), resolved=_resolved(cell, method.recipe),
            boundaries=bounds,
        )  # fmt: skip

    def _lacking(self, run: Run, every: frozenset[str], changed: Mapping[str, str]) -> tuple[frozenset[str], int]:
        """The images without a good row of their data as it is now, and how many of them failed before."""
        known = self._stored.get(run.run_id)
        if not known:
            return every, 0
        lacking, failed = self._as_before("lacking", (known, every, changed), _lacking)
        return lacking - self._failed(run) if run.run_id in self._tried else lacking, failed

    def _as_before(self, what: str, of: tuple[Any, ...], make: Callable[..., Any]) -> Any:
        """What is made of some things; of the very same ones as the last time it is what was made then."""
        last = self._made.get(what)
        if last is None or not all(map(operator.is_, last[0], of)):
            last = self._made[what] = of, make(*of)
        return last[1]

    def _with_unseen(self, run: Run, lacking: frozenset[str], keep: frozenset[str]) -> frozenset[str]:
        """What a run lacks, and the images whose label maps are wanted and not there."""
        looked = keep - self._failed(run) if run.run_id in self._tried else keep
        unseen = [image for image in looked if not self._shelf.has_map(run.run_id, image)]
        return lacking.union(unseen) if unseen else lacking

    def _with_uncounted(self, run: Run, lacking: frozenset[str], bounded: frozenset[str]) -> frozenset[str]:
        """What a run lacks, and the images whose boundaries are wanted and not counted."""
        if not bounded or run.run_id not in self._stored:
            return lacking
        tried = self._failed(run) if run.run_id in self._tried else frozenset()
        return lacking | (bounded - tried).difference(self._shelf.boundaries(run.run_id))

    def _changed(
        self, place: KnownBenchmark, run: Run, fit: PlannedFit | None, chosen: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """The stored images of a run whose data changed since; all of them, if that was behind what it has learned, or
        behind the choice of its protocol, which is another one now."""
        before = self._shelf.chosen(run.run_id) if "values" in chosen else None
        if (fit is not None and fit.outdated) or before not in (None, chosen.get("values")):
            stored = self._stored.get(run.run_id, {})
            return {image: UNREADABLE for image, status in stored.items() if status == "ok"}
        found: Mapping[str, str] = self._as_before("changed", (place, self._shelf.samples(run.run_id)), _changed)
        return found

    def _relearned(self, run: Run, fit: PlannedFit | None) -> dict[str, str]:
        """The stored images of a run that were computed with an artefact of other bytes than the one that is there; all
        of them, where none is there and they are of several."""
        now = self._shelf.learned(fit.artefact_id) if fit is not None and fit.stored else None
        held = self._shelf.by_artefact(run.run_id) if fit is not None else {}
        if now is None and len(held) < 2:
            return {}
        return {image: UNREADABLE for digest, images in held.items() if digest != now for image in images}

    def _fit(self, cell: Plannable, teacher: Plannable, learner: KnownMethod) -> PlannedFit:
        """What a learner's cell needs first. Its id: the learner, the teacher's label maps, the images."""
        learners.check_learner(learner.built, cell.method_name)
        self._check_classes(cell, teacher.benchmark)
        labels = self._planned(teacher, partial(Labelling, learners.rule_of(learner.built, cell.method_name)))
        labels = self.labels.setdefault(labels.run.run_id, labels)
        learners.check_names(cell.method_name, cell.benchmark_name, labels.record["classes"], labels.run.names)
        may_fail = learners.may_fail(learner.built, cell.method_name)
        left_out = self._left_out(labels, may_fail)
        content = {
            "learner": _when_fitted(learner), "backbones": sorted(learner.backbones, key=digest),
            "labels": labels.run.run_id, "images": digest(list(labels.image_ids)),
            "batch": self._batch if learner.backbones else None, **({"left_out": list(left_out)} if left_out else {}),
        }  # fmt: skip
        artefact_id = id_of_fit(content)
        if artefact_id not in self.fits:
            folder, there = f"{self._shelf.artefacts}/{artefact_id}", self._shelf.has_artefact(artefact_id)
            outdated = self._outdated(artefact_id, labels, left_out)
            named = f"{teacher.method_name} {teacher.variant}".strip()
            record = {**content, "teacher": named, "benchmark": labels.record["benchmark"]}
            fit = PlannedFit(
                artefact_id, cell.method_name, cell.variant, cell.method, teacher=named, labels=labels, gathers=None,
                folder=folder, stored=there and not outdated, record=record, outdated=outdated,
                may_fail=may_fail, left_out=left_out, planned=learner.planned,
                **learners.cost_of(learner.built, cell.method_name, len(labels.run.names)),
            )  # fmt: skip
            self.fits[artefact_id] = replace(fit, gathers=self._gathers(cell, fit, learner))
        return self.fits[artefact_id]

    def _check_classes(self, cell: Plannable, train: Recipe) -> None:
        """GridError where a train split has other classes than what is scored."""
        scored, taught = (self._known.benchmark(one, cell.benchmark_name).classes for one in (cell.benchmark, train))
        learners.check_train_classes(cell.method_name, cell.benchmark_name, scored, taught)

    def _left_out(self, labels: PlannedRun, may_fail: float) -> tuple[str, ...]:
        """The train images on which a teacher failed; none where they are more than it may."""
        known = self._failed(labels.run) if may_fail else frozenset()
        failed = tuple([image for image in labels.image_ids if image in known])
        return failed if len(failed) <= most(may_fail, len(labels.image_ids)) else ()

    def _failed(self, run: Run) -> frozenset[str]:
        known = self._stored.get(run.run_id, {})
        return frozenset(image for image, status in known.items() if status == "failed")

    def _outdated(self, artefact_id: str, labels: PlannedRun, left_out: Sequence[str]) -> bool:
        """Whether the images behind an artefact, or what its teacher had learned, are not those of the label maps."""
        taught, samples = self._shelf.taught(artefact_id), self._shelf.samples(labels.run.run_id)
        now = behind(samples, set(labels.image_ids) - set(left_out))
        others = None not in (taught, now) and taught != now
        if labels.fit is not None and labels.fit.stored:
            taught, now = self._shelf.taught_with(artefact_id), self._shelf.learned(labels.fit.artefact_id)
            others |= None not in (taught, now) and taught != now
        return bool(labels.changed) or others

    def _gathers(self, cell: Plannable, fit: PlannedFit, learner: KnownMethod) -> PlannedRun | None:
        """What a learner gathers of the train images, where it does. GridError under windows, of which it can't."""
        if not callable(getattr(learner.built, "gather", None)):
            return None
        labels = fit.labels.run
        if labels.protocol.window:
            raise GridError(
                f"{cell.method_name} on {cell.benchmark_name}: it learns from maps of whole images, and the protocol "
                f"cuts windows of {labels.protocol.window} pixels; give window: 0, or leave the method out"
            )
        run = replace(
            labels, run_id=fit.artefact_id, method_name=cell.method_name, variant=cell.variant, method=cell.method,
            purpose=Gathering(labels.run_id), own=getattr(cell, "own", False), planned=labels.planned + learner.planned,
        )  # fmt: skip
        ids = () if fit.outdated else fit.image_ids
        there = {image for image in ids if self._shelf.has_gathered(fit.artefact_id, image)}
        missing = frozenset(fit.image_ids) - there
        return PlannedRun(
            run, fit.image_ids, missing, failed_before=0, passes=learner.passes, keep=frozenset(),
            stored=len(there), record={}, serves=fit,
        )  # fmt: skip

    def _run(
        self,
        cell: Plannable,
        place: KnownBenchmark,
        method: KnownMethod,
        fit: PlannedFit | None,
        purpose: Purpose,
        chosen: Mapping[str, Any] | None,
    ) -> tuple[Run, dict[str, Any]]:
        """The run of a cell, and what is recorded of it."""
        protocol, names = effective(cell.protocol), self._known.words(cell, place)
        network = self._known.tagger(protocol.tagger)
        rule = purpose.rule if isinstance(purpose, Labelling) else None
        protocol = protocol if rule is None else of_lessons(protocol)
        asked = method.facts if fit is None else {**method.facts, "artefact": fit.artefact_id}
        together = bool(method.backbones) or (fit is None and segments_together(method.built))
        record: dict[str, Any] = {
            "identity": identity.SCHEME, "harness": house.deciding(), "method": asked, "backbones": method.backbones,
            "benchmark": place.facts, "classes": list(place.classes), "names": names,
            "tagger": None if network is None else network.facts, "rule": None if rule is None else rule.facts(),
            "images": len(place.image_ids), "batch": self._batch if together else None,
        }  # fmt: skip
        if stretches(protocol, rule):
            record["stretch"] = STRETCH
        if chosen is not None:
            record["chosen"] = dict(chosen)
        if rule is not None and not rule.thresholded:
            record["plain"] = PLAIN
        run_id = id_of_run({**record, "protocol": asdict(protocol)})
        run = Run(
            run_id, cell.method_name, cell.variant, method.recipe, cell.benchmark_name, cell.benchmark, protocol,
            names=names, purpose=purpose, own=getattr(cell, "own", False), classes=digest(list(place.classes)),
            planned=(*method.planned, *place.planned, *(() if network is None else network.planned)),
        )  # fmt: skip
        told = {"official_images": place.official, "clusters": place.clusters}
        record |= {name: content for name, content in told.items() if content}
        if fit is not None:
            record["artefact"] = {"id": fit.artefact_id, "teacher": fit.teacher, "labels": fit.labels.run.run_id}
            if out := fit.left_out_of_chain:
                record["artefact"] |= {"left_out": sorted(out), "train_images": len(fit.labels.image_ids)}
            if fit.knows_labels != (protocol.vocabulary == "present"):
                record["artefact"]["image_labels"] = fit.knows_labels
            if fit.knows_foreground:
                record["artefact"]["foreground"] = True
        return run, record


def chosen(image_ids: Sequence[str], keep: int | Sequence[str]) -> frozenset[str]:
    """Which images of a benchmark are kept: those named, or a number of them spread evenly over the sorted ids.

    The rule looks at ids alone, so that it is the same for all runs and cannot favour one.
    """
    if not isinstance(keep, int):
        return frozenset(keep) & frozenset(image_ids)
    count = min(keep, len(image_ids))
    return frozenset(image_ids[place * len(image_ids) // count] for place in range(count))


def _lacking(known: Mapping[str, str], every: frozenset[str], changed: Mapping[str, str]) -> tuple[frozenset[str], int]:
    lacking = frozenset([image for image in every if known.get(image) != "ok" or image in changed])
    return lacking, sum(known.get(image) == "failed" for image in lacking)


def _changed(place: KnownBenchmark, samples: Mapping[str, str | None]) -> dict[str, str]:
    return place.data.changed({image: samples[image] for image in place.image_ids if image in samples})


def _resolved(cell: Plannable, recipe: Recipe) -> dict[str, Any]:
    """The settings of a method that its protocol decided."""
    written, shows = cell.method.as_dict(), cell.protocol.resize != "none" or cell.protocol.window > 0
    return {name: value for name, value in recipe.as_dict().items() if shows and written.get(name, recipe) != value}


def _when_fitted(learner: KnownMethod) -> dict[str, Any]:
    """The facts of a learner without the settings that are of use only when an image is scored."""
    at_test = getattr(type(learner.built), "at_test", ())
    settings = {name: value for name, value in learner.facts["settings"].items() if name not in at_test}
    return {**learner.facts, "settings": settings}
