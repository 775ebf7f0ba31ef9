"""Grid + what is stored -> Plan: runs and fits with ids, stages in order, and the shards that are still to be done."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from harness.contracts import Recipe, Scoring, Shard
from harness.planning import batches
from harness.planning.data_now import DataNow
from harness.planning.known import Plannable
from harness.planning.planned import PlannedFit, PlannedRun, level
from harness.planning.planner import Planner, Shelf, Stored
from harness.planning.selection import LeftOut, Selection, plan_each
from harness.protocol.offering import encodes_words, offer
from harness.protocol.rules import way_of_showing

__all__ = ["Cost", "Plan", "Plannable", "PlannedFit", "PlannedRun", "Selection", "Shelf", "Stage", "Stored", "make"]

DEFAULT_SHARD_BATCHES = 16


@dataclass(frozen=True)
class Cost:
    """Work for backbones: images encoded, images times passes, and both as they would be without sharing."""

    encodings: int = 0
    passes: int = 0
    encodings_unshared: int = 0
    passes_unshared: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.encodings + other.encodings,
            self.passes + other.passes,
            self.encodings_unshared + other.encodings_unshared,
            self.passes_unshared + other.passes_unshared,
        )


@dataclass(frozen=True)
class Stage:
    """What can be done at one time: groups of runs that are computed together, and then fits."""

    groups: tuple[tuple[PlannedRun, ...], ...]
    fits: tuple[PlannedFit, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All runs of a grid in its order, what its learners need, and in which stages the rest of it is done.

    labels, fits: teachers' runs and what is learned from them, whether stored or to be done or needed by nobody.
    unstamped: address of a plug-in -> what of its code stands in no id, a clause each. data: the images of every
    benchmark as they are now. tried: see make. trials: runs on train splits of which the best says a protocol.
    left_out: cells that have no run, since they are not on this machine. uncounted: like unstamped, of what settings
    name.
    """

    name: str
    batch: int
    runs: tuple[PlannedRun, ...]
    stages: tuple[Stage, ...]
    labels: tuple[PlannedRun, ...] = ()
    fits: tuple[PlannedFit, ...] = ()
    unstamped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data: Mapping[Recipe, DataNow] = field(default_factory=dict, compare=False, repr=False)
    tried: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    trials: tuple[PlannedRun, ...] = ()
    uncounted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[tuple[PlannedRun, ...], ...]:
        """The groups of all stages."""
        return tuple(group for stage in self.stages for group in stage.groups)

    @property
    def work(self) -> tuple[PlannedRun, ...]:
        """The runs with something to do, those of teachers and learners included."""
        return tuple(planned for group in self.groups for planned in group)

    @property
    def fits_to_do(self) -> tuple[PlannedFit, ...]:
        """In the order in which they are done."""
        return tuple(fit for stage in self.stages for fit in stage.fits)

    @property
    def changed(self) -> tuple[PlannedRun, ...]:
        """The runs with stored rows of images whose data changed since, those of teachers included."""
        return tuple(planned for planned in (*self.runs, *self.labels, *self.trials) if planned.changed)

    @property
    def waiting(self) -> tuple[PlannedRun, ...]:
        """The runs whose protocol is not chosen yet."""
        return tuple(planned for planned in self.runs if planned.asked and planned.waits)

    @property
    def images_missing(self) -> int:
        """Image results still to be made, summed over runs."""
        return sum(len(planned.missing) for planned in self.work)

    @property
    def cost(self) -> Cost:
        """What the backbones have to do for the missing rows."""
        return sum((_cost(group) for group in self.groups), Cost())

    @property
    def too_early(self) -> tuple[PlannedFit, ...]:
        """The fits of this plan that the next one does."""
        return tuple(fit for fit in self.fits_to_do if self.comes_too_early(fit))

    def comes_too_early(self, fit: PlannedFit) -> bool:
        """Whether a fit would learn from stored label maps of what is itself learned anew: of other bytes they do not
        count, as only the next plan knows."""
        taught = fit.labels.fit
        anew = {one.artefact_id for one in self.fits_to_do}
        return taught is not None and taught.artefact_id in anew and fit.labels.stored > 0

    def shards(self, batches_per_shard: int | None = None, stage: Stage | None = None) -> tuple[Shard, ...]:
        """The work left, of one stage or all. The size of a shard decides no pixel: batches are cut once, shards only
        collect them."""
        size, groups = batches_per_shard or DEFAULT_SHARD_BATCHES, self.groups if stage is None else stage.groups
        return tuple(shard for number, group in enumerate(groups) for shard in _shards(group, number, self.batch, size))


def make(
    name: str,
    cells: Sequence[Plannable],
    batch: int,
    stored: Stored | None = None,
    limit: int | None = None,
    keep: int | Sequence[str] = 0,
    shelf: Shelf | None = None,
    folder: str = ".",
    tried: frozenset[str] = frozenset(),
    asked: Selection | None = None,
    boundaries: bool = False,
) -> Plan:
    """Plan a grid's cells.

    limit: only the first images of every benchmark in the order of their ids, train splits too. keep: the images whose
    label maps are wanted, by id, or how many of each benchmark. shelf: what is stored besides rows. folder: where the
    paths in settings start. tried: runs of teachers whose failed images are not tried again. asked: which cells are to
    be done, all by default. boundaries: whether those of all images are counted too. HarnessError with all that is
    missing on this machine.
    """
    asked = asked or Selection()
    planner = Planner(batch, stored or {}, limit, keep, shelf or Shelf(), folder, tried, boundaries)
    planned, left_out = plan_each(cells, asked, planner.plan, planner.method)
    runs = tuple(replace(run, asked=asked.includes(cell)) for cell, run in planned)
    labels, fits = tuple(planner.labels.values()), tuple(planner.fits.values())
    trials = tuple({one.run.run_id: one for run in runs if run.asked for one in run.trials}.values())
    todo = [*(run for run in runs if run.asked and not run.waits), *trials]
    stages = _stages(
        list({one.run.run_id: one for one in todo}.values()), [fit for fit in fits if _is_needed(fit, runs)]
    )
    return Plan(
        name,
        batch,
        runs,
        stages,
        labels,
        fits,
        planner.unstamped,
        data=planner.data,
        tried=tried,
        left_out=left_out,
        trials=tuple(planner.trials.values()),
        uncounted=planner.uncounted,
    )


def _is_needed(fit: PlannedFit, runs: Sequence[PlannedRun]) -> bool:
    """Whether a run that is to be done rests on a fit, directly or through a teacher."""
    wanted = [run.fit for run in runs if run.asked and run.fit]
    return any(fit.artefact_id in one.chain_ids for one in wanted)


def _stages(runs: Sequence[PlannedRun], known: Sequence[PlannedFit]) -> tuple[Stage, ...]:
    """What is missing, and what that needs in turn, each at the first stage at which it can be done.

    known: all fits; a teacher's images that were left out of one are tried again.
    """
    wanted: dict[str, PlannedRun] = {}
    fits: dict[str, PlannedFit] = {}
    todo = [planned for planned in runs if planned.missing]
    todo += [fit.labels for fit in known if fit.left_out and fit.labels.missing]
    while todo:
        planned = todo.pop()
        wanted[f"{planned.run.purpose.kind} {planned.run.run_id}"] = planned
        fit = planned.fit
        if fit is not None and not fit.stored and fit.artefact_id not in fits:
            fits[fit.artefact_id] = fit
            todo += [one for one in (fit.labels, fit.gathers) if one is not None and one.missing]
    ordered = [one for one in runs if one.missing]
    ordered += [one for one in wanted.values() if not isinstance(one.run.purpose, Scoring)]
    last = max([level(one) for one in ordered] + [fit.level for fit in fits.values()], default=-1)
    return tuple(
        Stage(
            _groups([one for one in ordered if level(one) == number]),
            tuple(fit for fit in sorted(fits.values(), key=lambda fit: fit.artefact_id) if fit.level == number),
        )
        for number in range(last + 1)
    )


@dataclass
class _Group:
    """Runs of one benchmark, shown in one way, that are computed together."""

    place: Hashable
    backbones: set[Recipe]
    members: list[PlannedRun]


def _groups(runs: Sequence[PlannedRun]) -> tuple[tuple[PlannedRun, ...], ...]:
    """Runs with something missing: those connected by the backbones they read form a group.

    They have one benchmark, and protocols that show an image in the same way. Runs without a backbone join the largest
    group of theirs, so that an image is decoded once.
    Groups are ordered by their backbones: a worker keeps a network as long as there is work for it.
    """
    groups: list[_Group] = []
    for planned in sorted((run for run in runs if run.missing), key=lambda planned: not planned.passes):
        alone = planned.run.method_name if planned.run.own else None
        place = planned.run.benchmark, way_of_showing(planned.run.protocol), planned.run.purpose.company, alone
        group = _Group(place, _backbones(planned), [planned])
        for home in _homes(groups, group):
            groups.remove(home)
            group = _Group(group.place, home.backbones | group.backbones, home.members + group.members)
        groups.append(group)
    groups.sort(key=lambda group: sorted(map(repr, group.backbones)))
    return tuple(tuple(group.members) for group in groups)


def _homes(groups: Sequence[_Group], newcomer: _Group) -> list[_Group]:
    """The groups that a newcomer joins (and so connects)."""
    near = [group for group in groups if group.place == newcomer.place]
    if not newcomer.backbones:
        return sorted(near, key=lambda group: -len(group.members))[:1]
    return [group for group in near if group.backbones & newcomer.backbones]


def _backbones(planned: PlannedRun) -> set[Recipe]:
    return {request.backbone for request in planned.passes}


def _cost(group: Sequence[PlannedRun]) -> Cost:
    """Passes and encodings of a group: per image, the distinct ones over the runs that miss it.

    Passes that encode words are distinct where other words may be offered; in an image it may be the same ones.
    """
    encodings: dict[Hashable, set[frozenset[str]]] = {}
    total = Cost()
    for planned in group:
        words = _words(planned)
        ways = {(one.backbone, one.encoding, words if encodes_words(one) else None) for one in planned.passes}
        for way in ways:
            encodings.setdefault(way, set()).add(planned.missing)
        total += Cost(0, 0, len(ways) * len(planned.missing), len(planned.passes) * len(planned.missing))
    return total + Cost(_images(encodings), sum(passes_by_network(group).values()))


def passes_by_network(group: Sequence[PlannedRun]) -> dict[Recipe, int]:
    """How many passes each network is asked for by runs that are computed together, shared ones once."""
    asked: dict[Recipe, dict[Hashable, set[frozenset[str]]]] = {}
    for planned in group:
        words = _words(planned)
        for request in planned.passes:
            key = request, words if encodes_words(request) else None
            asked.setdefault(request.backbone, {}).setdefault(key, set()).add(planned.missing)
    return {network: _images(own) for network, own in asked.items()}


def _images(missing: Mapping[Hashable, set[frozenset[str]]]) -> int:
    """How many images are in any of some sets, summed up; most runs miss the same ones, which are looked at once."""
    sizes: dict[frozenset[frozenset[str]], int] = {}
    for sets in map(frozenset, missing.values()):
        if sets not in sizes:
            sizes[sets] = len(next(iter(sets)) if len(sets) == 1 else frozenset[str]().union(*sets))
    return sum(sizes[frozenset(sets)] for sets in missing.values())


def _words(planned: PlannedRun) -> Hashable:
    """What decides which words an image is offered: all names as they would be offered, and who chooses among them."""
    names, rules = planned.run.names, planned.run.protocol
    return offer(range(1, len(names) + 1), names, rules).vocabulary, rules.vocabulary, rules.tagger


def _shards(group: Sequence[PlannedRun], number: int, batch: int, size: int) -> Iterator[Shard]:
    """Cut a group's sorted image ids into fixed batches; neighbours needed by the same runs share a shard."""
    wants = list({planned.missing: None for planned in group})  # few: most runs miss the same images
    needed = [
        (which, piece)
        for piece in batches.fixed(group[0].image_ids, batch)
        if (which := tuple([n for n, missing in enumerate(wants) if not missing.isdisjoint(piece.image_ids)]))
    ]
    for which, neighbours in groupby(needed, key=lambda pair: pair[0]):
        of = {wants[n] for n in which}
        planned = [one for one in group if one.missing in of]
        runs, missing = tuple([one.run for one in planned]), frozenset[str]().union(*of)
        pieces = [batches.without_stored(piece, missing) for _, piece in neighbours]
        for start in range(0, len(pieces), size):
            part = tuple(pieces[start : start + size])
            yield Shard(f"{number}-{part[0].index}", runs, part, planned[0].keep, planned[0].boundaries)
