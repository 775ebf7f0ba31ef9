"""A plan and what is known of time flow in; how long it will take flows out, and from what that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import Recipe, Timing
from harness.planning.plan import Plan, passes_by_network
from harness.planning.planned import PlannedRun
from harness.recipes import loading

CPU = "CPU"
Timings = Mapping[str, float]  # method address -> mean seconds an image and run, from stored rows


@dataclass(frozen=True)
class Estimate:
    """Of the images that are missing.

    seconds: of all workers together; None where a method was timed nowhere. stored: whether rows of this folder tell of
    some of it; measured: whether measurements of networks do, a core for each worker. gpu_hours: by the name of every
    card on which all networks of the plan were measured. unknown: the methods that were timed nowhere.
    """

    seconds: float | None
    stored: bool
    measured: bool
    gpu_hours: Mapping[str, float]
    unknown: tuple[str, ...]

    @property
    def source(self) -> str | None:
        """In words."""
        told = ["stored timings"] * self.stored + ["measured passes, a core a worker"] * self.measured
        return " and ".join(told) if self.seconds is not None and told else None


def estimate(plan: Plan, timings: Timings) -> Estimate:
    """From the stored mean of each method; of those that have none here, from what their networks took elsewhere."""
    fresh = [planned for planned in plan.work if planned.run.method.use not in timings]
    known = [planned for planned in plan.work if planned.run.method.use in timings]
    stored = sum(len(planned.missing) * timings[planned.run.method.use] for planned in known)
    rates = _rates(plan.work)
    unknown = dict.fromkeys(one.run.method_name for one in fresh if not _timed(one, rates, CPU))
    measured = _seconds(_only(plan, fresh), rates, CPU) if fresh and not unknown else 0.0
    everything = _only(plan, plan.work)
    cards = {device for own in rates.values() for device in own} - {CPU}
    hours = {
        card: _seconds(everything, rates, card) / 3600
        for card in sorted(cards)
        if all(_timed(planned, rates, card) for planned in plan.work)
    }
    seconds = None if unknown else stored + measured
    return Estimate(seconds, bool(known), bool(fresh), hours, tuple(unknown))


def _only(plan: Plan, runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The plan's groups, of these runs alone."""
    wanted = set(map(id, runs))
    return [[planned for planned in group if id(planned) in wanted] for group in plan.groups]


def _rates(work: Sequence[PlannedRun]) -> dict[Recipe, dict[str, Timing]]:
    """What the networks say of themselves, by device."""
    networks = dict.fromkeys(request.backbone for planned in work for request in planned.passes)
    return {recipe: {one.device: one for one in _told(recipe)} for recipe in networks}


def _told(recipe: Recipe) -> Sequence[Timing]:
    built = loading.build(recipe)
    found: Sequence[Timing] = loading.ask(built, "timings", lambda: tuple(getattr(built, "timings", ())))
    return found


def _timed(planned: PlannedRun, rates: Mapping[Recipe, Mapping[str, Timing]], device: str) -> bool:
    """Whether all that a run reads was measured on a device; a run that reads nothing never was."""
    return bool(planned.passes) and all(device in rates[request.backbone] for request in planned.passes)


def _seconds(
    groups: Sequence[Sequence[PlannedRun]], rates: Mapping[Recipe, Mapping[str, Timing]], device: str
) -> float:
    """Of one core, or one card: shared passes once, and every row."""
    passes = [pair for group in groups for pair in passes_by_network(group).items()]
    rows = [
        len(planned.missing) * max(rates[request.backbone][device].a_row for request in planned.passes)
        for group in groups
        for planned in group
    ]
    return sum(rates[network][device].a_pass * count for network, count in passes) + sum(rows)
