"""A plan and what is known of time flow in; how long it will take flows out, from what, and what that leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import Recipe, Timing
from harness.planning.plan import Plan, passes_by_network
from harness.planning.planned import PlannedRun
from harness.planning.windows import fewest_windows, most_windows
from harness.recipes import loading

CPU = "CPU"
Timings = Mapping[str, float]  # method address -> mean seconds an image and run, from stored rows
Rates = Mapping[Recipe, Mapping[str, Timing]]  # network, or method without one -> device -> what it took there


@dataclass(frozen=True)
class Lacks:
    """What a number leaves out. unknown: the methods, and the taggers, that were timed nowhere. cut: the methods whose
    images may be cut into more windows than are counted. fits: how many are to be done. waiting: how many runs are not
    planned yet, since their protocol is chosen first."""

    unknown: tuple[str, ...]
    cut: tuple[str, ...]
    fits: int
    waiting: int

    def __bool__(self) -> bool:
        return bool(self.unknown or self.cut or self.fits or self.waiting)


@dataclass(frozen=True)
class Estimate:
    """Of the images that are missing.

    seconds: of all workers together, as far as they are known; None where nothing is. stored: whether rows of this
    folder tell of some of it; measured: whether measurements elsewhere do, a core for each worker. lacks: what the
    seconds leave out, so that they are a lower bound. gpu_hours: by the name of every card on which all networks of
    the plan were measured; gpu_lacks: what they leave out.
    """

    seconds: float | None
    stored: bool
    measured: bool
    lacks: Lacks
    gpu_hours: Mapping[str, float]
    gpu_lacks: Lacks

    @property
    def source(self) -> str | None:
        """In words."""
        told = ["stored timings"] * self.stored + ["measured passes, a core a worker"] * self.measured
        return " and ".join(told) if told else None


def estimate(plan: Plan, timings: Timings) -> Estimate:
    """From the stored mean of each method; of those that have none here, from what their networks took elsewhere."""
    rates = _rates(plan.work)
    known = [planned for planned in plan.work if planned.run.method.use in timings]
    fresh = [planned for planned in plan.work if planned.run.method.use not in timings]
    timed = [planned for planned in fresh if _timed(planned, rates, CPU)]
    stored = sum(len(planned.missing) * timings[planned.run.method.use] for planned in known)
    measured = _seconds(_only(plan, timed), rates, CPU)
    seconds = stored + measured if known or timed else None
    lacks = _lacks(plan, [one.run.method_name for one in fresh if not _timed(one, rates, CPU)], fresh, timed)
    on_cards = [planned for planned in plan.work if planned.passes or not _timed(planned, rates, CPU)]
    hours = {
        card: _seconds(_only(plan, on_cards), rates, card) / 3600
        for card in sorted({device for own in rates.values() for device in own} - {CPU})
        if all(_timed(planned, rates, card) for planned in on_cards)
    }
    return Estimate(seconds, bool(known), bool(timed), lacks, hours, _lacks(plan, [], on_cards, on_cards))


def _lacks(plan: Plan, unknown: Sequence[str], runs: Sequence[PlannedRun], counted: Sequence[PlannedRun]) -> Lacks:
    """What a number leaves out that was made of the `counted` among some runs. A tagger's time is in none."""
    taggers = [
        one.run.protocol.tagger.use.partition(":")[2]
        for one in runs
        if one.run.protocol.vocabulary == "predicted" and one.run.protocol.tagger is not None
    ]
    cut = dict.fromkeys(one.run.method_name for one in counted if _may_be_cut(one))
    return Lacks(tuple(dict.fromkeys([*unknown, *taggers])), tuple(cut), len(plan.fits_to_do), len(plan.waiting))


def _may_be_cut(planned: PlannedRun) -> bool:
    """Whether images may have more windows than the fewest: a protocol's, or of passes that say they have a window."""
    rules = planned.run.protocol
    own = any(getattr(request, "window", None) for request in planned.passes)
    return own or fewest_windows(rules) != most_windows(rules)


def _only(plan: Plan, runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The plan's groups, of these runs alone."""
    wanted = set(map(id, runs))
    found = ([planned for planned in group if id(planned) in wanted] for group in plan.groups)
    return [group for group in found if group]


def _rates(work: Sequence[PlannedRun]) -> Rates:
    """What networks, and methods without one, say of themselves, by device."""
    asked = dict.fromkeys(recipe for planned in work for recipe in _asked(planned))
    return {recipe: {one.device: one for one in _told(recipe)} for recipe in asked}


def _asked(planned: PlannedRun) -> list[Recipe]:
    """Who knows what an image of a run takes: the networks that it reads, or its method where it reads none."""
    return [request.backbone for request in planned.passes] or [planned.run.method]


def _told(recipe: Recipe) -> Sequence[Timing]:
    built = loading.build(recipe)
    found: Sequence[Timing] = loading.ask(built, "timings", lambda: tuple(getattr(built, "timings", ())))
    return found


def _timed(planned: PlannedRun, rates: Rates, device: str) -> bool:
    """Whether all that a run asks was measured on a device."""
    return all(device in rates[recipe] for recipe in _asked(planned))


def _seconds(groups: Sequence[Sequence[PlannedRun]], rates: Rates, device: str) -> float:
    """Of one core, or one card: shared passes once, for every window that an image has at least, and every row."""
    total = 0.0
    for group in groups:  # shown in one way, see plan
        alone = [(planned.run.method, len(planned.missing)) for planned in group if not planned.passes]
        asked = [*passes_by_network(group).items(), *alone]
        passes = sum(rates[recipe][device].a_pass * count for recipe, count in asked)
        rows = sum(len(one.missing) * max(rates[recipe][device].a_row for recipe in _asked(one)) for one in group)
        total += passes * fewest_windows(group[0].run.protocol) + rows
    return total
