"""A plan with learners -> its steps in order: who labels, who is fitted on what, who is scored."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from harness.planning.plan import Plan, PlannedFit, PlannedRun

STEPS_SHOWN = 200


def steps(plan: Plan) -> list[dict[str, Any]]:
    """Every step with its id and the ids of those that it needs, each after what it needs."""
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for fit in plan.fits:
        _add_fit(fit, found, seen)
    return found + [_run("score", planned) for planned in plan.runs]


def show_steps(plan: Plan, console: Console) -> None:
    """The steps for people; nothing where nothing is learned."""
    if not plan.fits:
        return
    table = Table(title="Steps", title_justify="left", box=None, pad_edge=False)
    for heading in ("step", "id", "method", "on", "needs", "images", "to do", "why"):
        table.add_column(heading, overflow="fold")
    every = steps(plan)
    for step in every[:STEPS_SHOWN]:
        name = f"{step['method']} {step['variant']}".strip()
        counts = str(step["images"]), str(step["missing"])
        why = "\n".join(said for said in (step["why"], _takes(step)) if said)
        table.add_row(step["step"], step["id"], name, step["benchmark"], " ".join(step["needs"]), *counts, why)
    console.print(table)
    if len(every) > STEPS_SHOWN:
        console.print(f"... and {len(every) - STEPS_SHOWN} more; --plan --json lists all.", highlight=False)


def _add_fit(fit: PlannedFit, found: list[dict[str, Any]], seen: set[str]) -> None:
    """A fit after its teacher's label maps, and those after what they need."""
    if fit.artefact_id in seen:
        return
    seen.add(fit.artefact_id)
    if fit.labels.fit is not None:
        _add_fit(fit.labels.fit, found, seen)
    if fit.labels.run.run_id not in seen:
        seen.add(fit.labels.run.run_id)
        found.append(_run("label", fit.labels))
    needs = [fit.labels.run.run_id]
    if fit.gathers is not None:
        gather = _run("gather", fit.gathers)
        done = {"missing": 0, "passes": 0, "bytes": 0, "why": "fitted"} if fit.stored else {}
        most = {} if fit.gathered_bytes is None else {"bytes": gather["missing"] * fit.gathered_bytes}
        found.append({**gather, "id": f"{fit.artefact_id}:gather", "needs": needs, **most, **done})
        needs = [*needs, f"{fit.artefact_id}:gather"]
    found.append(
        {
            "step": "fit", "id": fit.artefact_id, "method": fit.method_name, "variant": fit.variant,
            "benchmark": fit.labels.run.benchmark_name, "needs": needs, "images": len(fit.image_ids),
            "missing": int(not fit.stored), "crops": 0 if fit.stored else fit.crops,
            "asked": 0 if fit.stored else fit.asked, "passes": 0 if fit.stored else fit.passes,
            "bytes": 0 if fit.stored else fit.artefact_bytes, "why": _why(fit),
        }
    )  # fmt: skip


def _why(fit: PlannedFit) -> str:
    outdated = "taught by images that changed since" if fit.outdated else f"not stored; taught by {fit.teacher}"
    return "stored" if fit.stored else outdated


def _run(step: str, planned: PlannedRun) -> dict[str, Any]:
    run = planned.run
    return {
        "step": step, "id": run.run_id, "method": run.method_name, "variant": run.variant,
        "benchmark": run.benchmark_name, "needs": [planned.fit.artefact_id] if planned.fit else [],
        "images": len(planned.image_ids), "missing": len(planned.to_do), "why": planned.reason,
        "passes": len(planned.to_do) * len(planned.passes),
    }  # fmt: skip


def _takes(step: dict[str, Any]) -> str:
    """What a step costs, as far as it is known: passes before they are shared, crops, questions, bytes at most."""
    passes, crops, asked, held = (step.get(kind) for kind in ("passes", "crops", "asked", "bytes"))
    told = [f"{count} {what}" if count else "" for count, what in ((passes, "passes"), (crops, "crops"))]
    told += [f"{asked} asked of the teacher" if asked else "", decimal(held) if held else ""]
    return ", ".join(one for one in told if one)
