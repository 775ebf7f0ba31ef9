"""A plan -> what `--plan` shows: runs, what is stored and why the rest is not, passes shared, an estimate of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from harness.contracts import Labelling, ProtocolSettings
from harness.errors import several
from harness.planning import steps_report
from harness.planning.estimating import Lacks, Timings, estimate
from harness.planning.plan import Plan, PlannedFit, PlannedRun
from harness.protocol.rules import WORDED
from harness.recipes.complaints import show

RUNS_SHOWN = 200  # a terminal takes milliseconds a line
SHOWN = 5  # images that are named


def as_dict(plan: Plan, timings: Timings, workers: int) -> dict[str, object]:
    """The plan for programs; seconds, and GPU hours, are null where they leave something out: then they are at least
    so many, as far as any is known."""
    cost, told = plan.cost, estimate(plan, timings)
    seconds = None if told.seconds is None else told.seconds / workers
    hours = dict(told.gpu_hours) or None
    return {
        "name": plan.name,
        "batch": plan.batch,
        "runs": [_run(planned) for planned in plan.runs],
        "steps": steps_report.steps(plan),
        "images_missing": plan.images_missing,
        "fits_missing": len(plan.fits_to_do),
        "encodings": cost.encodings,
        "encodings_without_sharing": cost.encodings_unshared,
        "passes": cost.passes,
        "passes_without_sharing": cost.passes_unshared,
        "to_fetch": to_fetch(plan),
        "left_out": [asdict(one) for one in plan.left_out],
        "not_in_ids": {
            use: [*plan.unstamped.get(use, ()), *plan.uncounted.get(use, ())]
            for use in dict.fromkeys((*plan.unstamped, *plan.uncounted))
        },
        "estimated_seconds": None if told.lacks else seconds,
        "estimated_seconds_at_least": seconds,
        "estimate_lacks": asdict(told.lacks),
        "estimated_from": told.source,
        "gpu_hours": None if told.gpu_lacks else hours,
        "gpu_hours_at_least": hours,
        "workers": workers,
    }


def to_fetch(plan: Plan) -> list[str]:
    """The models, in words, that are not on this machine and that a missing image needs."""
    return list(dict.fromkeys(model for planned in plan.work for model in planned.to_fetch))


def said_of_this_machine(plan: Plan) -> list[str]:
    """What is to be said where the machine that plans does what is missing, each once."""
    return list(dict.fromkeys(said for planned in plan.work for said in planned.remarks))


def show_plan(plan: Plan, timings: Timings, workers: int, console: Console) -> None:
    """The plan for people."""
    table = Table(title=f"Plan of {plan.name}", title_justify="left", box=None, pad_edge=False)
    for heading in ("run", "method", "variant", "benchmark"):
        table.add_column(heading, overflow="fold")
    apart = _apart(plan)
    if apart:
        table.add_column("protocol", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("to do", justify="right")
    table.add_column("why")
    for planned in plan.runs[:RUNS_SHOWN]:
        run = planned.run
        counts = str(len(planned.image_ids)), str(len(planned.to_do))
        names = run.run_id, run.method_name, run.variant, run.benchmark_name, *([apart[run.run_id]] if apart else [])
        table.add_row(*names, *counts, planned.reason)
    console.print(table)
    if len(plan.runs) > RUNS_SHOWN:
        console.print(f"... and {len(plan.runs) - RUNS_SHOWN} more; --plan --json lists all.", highlight=False)
    steps_report.show_steps(plan, console)
    for line in plan_summary(plan, timings, workers):
        console.print(line, highlight=False, markup=False)


def _apart(plan: Plan) -> dict[str, str]:
    """By run, the fields of its protocol in which the plan's protocols differ; nothing where there is one protocol."""
    protocols = [planned.run.protocol for planned in plan.runs]
    names = [
        one.name
        for one in fields(ProtocolSettings)
        if any(getattr(other, one.name) != getattr(protocols[0], one.name) for other in protocols)
    ]
    return {planned.run.run_id: _in_words(planned, names) for planned in plan.runs if names}


def _in_words(planned: PlannedRun, names: Sequence[str]) -> str:
    chosen = planned.record.get("chosen", {"fields": ()})
    words = {name: show(getattr(planned.run.protocol, name)).strip("'") for name in names}
    words |= {name: chosen["rule"] for name in names if name in chosen["fields"]}
    return " ".join(f"{name}={word}" for name, word in words.items())


def plan_summary(plan: Plan, timings: Timings, workers: int) -> list[str]:
    """The plan's totals, a sentence a line."""
    cost = plan.cost
    stored = sum(not planned.missing for planned in plan.runs)
    unasked = sum(not planned.asked for planned in plan.runs)
    to_do = several(plan.images_missing, "image result")
    lines = [f"{several(len(plan.runs), 'run')}, {stored} of them stored; {to_do} to do."]
    if unasked:
        said = "run is not asked for, and stands" if unasked == 1 else "runs are not asked for, and stand"
        lines.append(f"{unasked} {said} in the table as stored.")
    relearned = sum(planned.relearned for planned in plan.changed)
    if relearned:
        lines.append(_not_counting(relearned, "is of", "are of", "an artefact of other bytes"))
    if changed := sum(len(planned.changed) for planned in plan.changed) - relearned:
        lines.append(_not_counting(changed, "rests on", "rest on", "data that changed since"))
    if plan.fits:
        done = sum(fit.stored for fit in plan.fits)
        lines.append(
            f"{several(len(plan.fits), 'fit')}, {done} of them stored, {len(plan.fits_to_do)} to do (in no estimate)."
        )
        lines += [*_of_chains(plan), *learns_later(plan.too_early)]
    if cost.passes:
        shared = f"{_passes(cost.passes)} and {several(cost.encodings, 'image encoding')}"
        alone = f"{_passes(cost.passes_unshared)} and {several(cost.encodings_unshared, 'encoding')}"
        lines.append(f"Backbones: {shared}; without sharing it would be {alone}.")
        if any(planned.run.protocol.window and planned.passes for planned in plan.work):
            lines.append("Some images are cut into windows, as many as their sizes ask for: they count once here.")
    lines += _yields(plan)
    if absent := to_fetch(plan):
        lines.append(f"Not on this machine, to be fetched first: {'; '.join(absent)}.")
    lines += [*_unanswered(plan), *_of_both(plan)]
    if plan.trials:
        done = sum(not one.missing for one in plan.trials)
        lines.append(f"{several(len(plan.trials), 'run')} on train splits choose protocols, {done} of them stored.")
    lines += [f"Left out: {one.benchmark}{one.method and f', {one.method}'}: {one.why}." for one in plan.left_out]
    lines += filter(None, (data.unseen(data.known.values()) for data in plan.data.values()))
    lines += [_not_in_id(use, clauses) for use, clauses in plan.unstamped.items()]
    lines += [_not_counted(use, clause) for use, clauses in plan.uncounted.items() for clause in clauses]
    return lines + _time(plan, timings, workers) if plan.images_missing else lines


def _passes(number: int) -> str:
    return f"{number} pass{'es' * (number != 1)}"


def _not_counting(number: int, is_: str, are: str, what: str) -> str:
    """Why stored results do not count."""
    verbs = (is_, "does") if number == 1 else (are, "do")
    return f"{several(number, 'stored image result')} {verbs[0]} {what}, and {verbs[1]} not count."


def _time(plan: Plan, timings: Timings, workers: int) -> list[str]:
    """How long it will take, or at least will, and where that is known from."""
    told = estimate(plan, timings)
    if told.seconds is None:
        lines = [f"Estimated time: unknown; nothing stored or measured tells of {', '.join(told.lacks.unknown)}."]
    else:
        crowd = f"{workers} worker{'s' * (workers != 1)}"
        clauses = [f"{clock(told.seconds / workers)} with {crowd}, from {told.source}", *_lacking(told.lacks)]
        lines = [f"Estimated time: {'at least ' * bool(told.lacks)}{'; '.join(clauses)}."]
    if plan.cost.passes:
        bound = "at least " * bool(told.gpu_lacks)
        hours = [f"{bound}{number:.1f} on {card}" for card, number in told.gpu_hours.items()]
        lines.append(f"GPU hours: {'; '.join([*hours, *_lacking(told.gpu_lacks)]) if hours else 'not measured'}.")
    return lines


def _lacking(lacks: Lacks) -> list[str]:
    """What a number leaves out, a clause each."""
    clauses = [f"not measured: {', '.join(lacks.unknown)}"] if lacks.unknown else []
    clauses += [f"with the fewest windows that an image can have: {', '.join(lacks.cut)}"] if lacks.cut else []
    left = [several(lacks.fits, "fit")] if lacks.fits else []
    left += [f"{several(lacks.waiting, 'run')} whose protocol is chosen first"] if lacks.waiting else []
    return [*clauses, *([f"not counted: {' and '.join(left)}"] if left else [])]


def _unanswered(plan: Plan) -> list[str]:
    """For which images a method or a tagger has nothing, a sentence each."""
    told: dict[str, None] = {}
    for run, found in ((planned.run, planned.unanswered) for planned in plan.runs):
        for kind, images in found.items():
            who = "The tagger" if kind == "tagger" else f"{run.method_name} {run.variant}".strip()
            these = f"{several(len(images), 'image')} of {run.benchmark_name}"
            shown = f"{', '.join(images[:SHOWN])}{' ...' * (len(images) > SHOWN)}"
            told[f"{who} has nothing for {these}, which will fail: {shown}."] = None
    return list(told)


def _of_both(plan: Plan) -> list[str]:
    """Which words stand for a class and for the background: of equals the background wins."""
    told: dict[str, None] = {}
    for run in (planned.run for planned in plan.runs):
        rule = run.protocol
        offered = rule.background_names if rule.background == "class" else rule.context * (rule.background in WORDED)
        around = {word.casefold() for word in offered}
        for words in run.names if around else ():
            both = [word for word in words if word.casefold() in around]
            others = [word for word in words if word.casefold() not in around]
            if both:
                rest = f"by {', '.join(map(repr, others))} alone" if others else "nowhere"
                told[
                    f"{', '.join(map(repr, both))} stands for a class of {run.benchmark_name} and for its background, "
                    f"which wins where both are best: scores will find the class {rest}."
                ] = None
    return list(told)


def learns_later(fits: Sequence[PlannedFit]) -> list[str]:
    """Who does not learn from label maps that are stored, since they may not count any more; a sentence, if any."""
    teachers = ", ".join(dict.fromkeys(fit.labels.fit.named for fit in fits if fit.labels.fit))
    return [f"{', '.join(fit.named for fit in fits)} waits for what {teachers} learns anew."] if fits else []


def _of_chains(plan: Plan) -> list[str]:
    """What is trained on and gathered, where learners tell."""
    crops = sum(fit.crops or 0 for fit in plan.fits_to_do)
    held = sum((one.serves.gathered_bytes or 0) * len(one.missing) for one in plan.work if one.serves is not None)
    trained = [f"{crops} images or crops of them go through networks that are trained"] if crops else []
    if asked := sum(fit.asked for fit in plan.fits_to_do):
        passes = sum(fit.passes for fit in plan.fits_to_do)
        through = f", {passes} passes of backbones that are in no other number" if passes else ""
        trained.append(f"teachers are asked about {asked} images or crops of them meanwhile{through}")
    masks = sum(len(one.to_do) for one in plan.work if isinstance(one.run.purpose, Labelling))
    maps = "label map is kept as a PNG" if masks == 1 else "label maps are kept as PNGs"
    kept = [f"{masks} {maps}, packed from a byte a pixel (two above 254 classes)"] if masks else []
    kept += [f"what is gathered takes {decimal(held)} of the disk at most"] if held else []
    artefacts = [fit.artefact_bytes for fit in plan.fits_to_do if fit.artefact_bytes]
    part = f" of the {len(plan.fits_to_do)}" * (len(artefacts) < len(plan.fits_to_do))
    kept += [f"{decimal(sum(artefacts))} are for {several(len(artefacts), 'artefact')}{part}"] if artefacts else []
    return [f"{'; '.join(trained + kept)}."] if trained or kept else []


def _yields(plan: Plan) -> list[str]:
    """Whose own way of cutting images yields to the protocol's."""
    found: dict[str, dict[str, None]] = {}
    for planned in plan.runs:
        if planned.resolved:
            settings = ", ".join(f"{name}={value}" for name, value in planned.resolved.items())
            found.setdefault(settings, {})[planned.run.method_name] = None
    said = "The protocol resizes or cuts the images, so it is left to it by"
    return [f"{said} {', '.join(methods)} ({settings})." for settings, methods in found.items()]


def _not_in_id(use: str, clauses: Sequence[str]) -> str:
    more = f" (and {len(clauses) - 1} more)" if len(clauses) > 1 else ""
    return f"Not all code of {use} can be stamped: {clauses[0]}{more}; give it a `version`."


def _not_counted(use: str, clause: str) -> str:
    cure = "Give every file a setting, annotate a folder `Path`, or let `fingerprint()` stand for it."
    return f"Not in the id of {use}: {clause}. {cure}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _run(planned: PlannedRun) -> dict[str, object]:
    run = planned.run
    return {
        "run_id": run.run_id,
        "method": run.method_name,
        "variant": run.variant,
        "use": run.method.use,
        "benchmark": run.benchmark_name,
        "protocol": asdict(run.protocol),
        "images": len(planned.image_ids),
        "missing": len(planned.to_do),
        "why": planned.reason,
        "passes": len(planned.passes),
        "resolved": dict(planned.resolved),
    }
