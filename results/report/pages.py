"""Evidence goes in; what each page of the report shows comes out, as plain values for the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from results.counts import estimators, resampling, significance
from results.counts.seeds import SeedSpread
from results.counts.significance import Comparison
from results.folder.recipes import file_name_of
from results.report import charts, settings
from results.report.charts import Chart, run_label
from results.tables import cards, explain, formats, ledger, matrices, significance_words
from results.tables.again import grid_text
from results.tables.evidence import Column, Evidence
from results.tables.ledger import Published

_PAIRS_SHOWN = 40  # confused pairs of a run, fewer where there are many runs
_ALL_PAIRS_SHOWN = 800
_IMAGES_NAMED = 5
FIRST_ROWS = 40  # of a list, laid out at once; further ones as one scrolls towards them (static/tables.js)
_DIFFERENCES_SHOWN = 1000  # of many runs, those of the best with all others come first
Values = dict[str, Any]


def summary(evidence: Evidence) -> Values:
    """What stands above every page."""
    entries = evidence.board.entries
    return {
        "name": evidence.board.name or evidence.store.folder.name,
        "runs": len(entries),
        "benchmarks": len({entry.benchmark for entry in entries}),
        "scored": sum(entry.images for entry in entries),
        "failed": sum(entry.failed for entry in entries),
        "missing": sum(entry.missing for entry in entries),
        "partial": evidence.board.partial,
        "disputes": (*evidence.board.disputes, *evidence.board.cards, *evidence.board.unlearned),
    }


def leaderboard(evidence: Evidence, speed: Mapping[str, float], pairs: bool = False) -> Values:
    """All data sets in one table, then ranked tables with groups and differences, and curves over numeric settings.

    pairs: differences of all pairs, not only from the best.
    """
    columns = [_ranked(evidence, column, speed, pairs) for column in evidence.columns]
    curves = [chart for column in evidence.columns for chart in charts.curves(evidence, column)]
    return {
        "columns": columns, "charts": curves, "overview": _overview(evidence), "legend": formats.LEGEND,
        "choices": settings.choices(evidence),
    }  # fmt: skip


def _overview(evidence: Evidence) -> str:
    """Methods by data sets, with their averages, as HTML; empty where there is but one data set."""
    if len({entry.benchmark for entry in evidence.board.entries}) < 2:
        return ""
    spec = matrices.TableSpec(matrices.EVERYTHING, average=True)
    return formats.to_html(matrices.build_matrix(evidence, spec), "runs.html#", legend=False, first=FIRST_ROWS)


def _ranked(evidence: Evidence, column: Column, speed: Mapping[str, float], pairs: bool) -> Values:
    lines = []
    for entry in column.entries:
        interval = column.interval(entry.run_id)
        extra = {"group": column.group_of(entry.run_id), "interval": interval, "speed": speed.get(entry.run_id)}
        lines.append({**asdict(entry), **extra, "complete": entry.complete, "whole": entry.whole})
    compared = _compared(column, pairs)
    held = [
        {
            **asdict(one),
            "better": run_label(evidence, one.better),
            "worse": run_label(evidence, one.worse),
            "runs": f"{one.better} {one.worse}",
        }
        for one in compared[:_DIFFERENCES_SHOWN]
    ]
    standings = column.standings
    return {
        "benchmark": column.title, "protocol": column.protocol, "apart": column.apart, "lines": lines,
        "anchor": _anchor(column),
        "pairs": held, "every": pairs,
        "differences": len(compared), "why": standings.why, "about": _about(column), "seeds": _seeds(column),
        "highest": max((line["interval"][1] if line["interval"] else line["miou"] or 0 for line in lines), default=1),
    }  # fmt: skip


def _anchor(column: Column) -> str:
    """A column's anchor, made of what it is, so that links to it hold whatever else is in the folder."""
    return f"{formats.file_name(column.benchmark)}-{file_name_of(f'{column.benchmark} {column.protocol}')[:8]}"


def _compared(column: Column, pairs: bool) -> list[Comparison]:
    """The best with every other run, those with holes last; or all pairs of runs with the same images."""
    if column.effects is None:
        return []
    if pairs:
        return significance.all_pairs(column.effects, column.standings.seed)
    standings = [column.standing(entry.run_id) for entry in column.entries]
    found = [one for one in standings if one and one.comparison]
    ordered = [one.comparison for one in sorted(found, key=lambda one: not one.whole) if one.comparison]
    return [one if one.difference >= 0 else one.turned() for one in ordered]


def _about(column: Column) -> list[str]:
    """What the comparisons mean, what each group can tell apart, and what the intervals rest on."""
    effects, groups = column.effects, column.standings.groups
    if effects is None:
        return []
    told = [significance_words.column(column.standings)]
    for number, group in enumerate(groups[1:], start=2):
        if words := significance_words.detectable(group, effects):
            told.append(f"Group {number}: {words}.")
    if groups[0].enough:
        drawn = f"{resampling.resamples(len(effects.run_ids)):,} resamples"
        told.append(f"Groups: {significance_words.METHOD} ({drawn}); then the same among the rest.")
    if any(not held.whole for held in column.standings.by_run.values()):
        told.append(significance_words.SHORT)
    return [words for words in (*told, *significance_words.rare(column.standings)) if words]


def _seeds(column: Column) -> list[SeedSpread]:
    """The spreads over seeds of a column's runs."""
    return list({entry.spread.run_ids: entry.spread for entry in column.entries if entry.spread}.values())


def tables(evidence: Evidence, built: Sequence[matrices.Matrix], published: Sequence[Published]) -> Values:
    """The declared matrices with published numbers beside ours, and the whole ledger."""
    shown = []
    for matrix in built:
        beside = ledger.beside(evidence, matrix, published) if matrix.spec.published else {}
        words = {run_id: f"published {one.published.miou:g}: {one.text}" for run_id, one in beside.items()}
        shown.append(
            {
                "name": matrix.spec.name, "anchor": formats.file_name(matrix.spec.name),
                "html": formats.to_html(matrix, "runs.html#", words, legend=False),
                "value": matrix.spec.value, "holes": matrix.holes,
            }
        )  # fmt: skip
    # What can be compared comes first.
    found = sorted(ledger.verdicts(evidence, published), key=lambda verdict: verdict.difference is None)
    label = {verdict.run_id: run_label(evidence, verdict.run_id) for verdict in found}
    return {"tables": shown, "legend": formats.LEGEND, "verdicts": found, "label": label}


def classes(evidence: Evidence) -> Values:
    """IoU by class and run, and which word is taken for which."""
    heats = [charts.class_heat(evidence, column) for column in evidence.columns]
    confusions = [chart for column in evidence.columns if (chart := charts.confusion(evidence, column))]
    return {"columns": [_by_class(evidence, c) for c in evidence.columns], "heats": heats, "confusions": confusions}


def _by_class(evidence: Evidence, column: Column) -> Values:
    runs = [entry.run_id for entry in column.entries]
    ious = [estimators.class_iou(evidence.counts(run_id)).tolist() for run_id in runs]
    names = evidence.classes(runs[0])
    pairs = []
    shown = max(1, min(_PAIRS_SHOWN, _ALL_PAIRS_SHOWN // len(runs)))
    for run_id in runs:
        recipe = evidence.recipes[run_id]
        confused = estimators.confused_with(evidence.confusions[run_id], recipe.classes)
        top = confused.sort("share", descending=True, maintain_order=True).head(shown)
        pairs += [{"run": run_label(evidence, run_id), **line} for line in top.iter_rows(named=True)]
    labels = [run_label(evidence, run_id) for run_id in runs]
    lines = [{"name": name, "ious": [one[n] for one in ious]} for n, name in enumerate(names)]
    return {"benchmark": column.title, "protocol": column.protocol, "runs": labels, "lines": lines, "pairs": pairs}


def speeds(evidence: Evidence) -> dict[str, float]:
    """Run id -> images a second of one worker, shared passes shared out; runs without timings are left out."""
    good = evidence.images.filter(pl.col("status") == "ok").group_by("run_id").agg(pl.len(), pl.sum("seconds"))
    return {run_id: images / seconds for run_id, images, seconds in good.iter_rows() if seconds > 0}


def cost(evidence: Evidence, speed: Mapping[str, float]) -> Values:
    """Images a second by run, which cards computed them, and the passes that sharing saved, sweep by sweep."""
    drawn = [chart for column in evidence.columns if (chart := charts.cost_chart(evidence, column, speed))]
    lines = [
        {"label": run_label(evidence, e.run_id), "benchmark": e.benchmark, "speed": speed.get(e.run_id), "miou": e.miou}
        for e in evidence.board.entries
    ]
    told = evidence.store.told()
    kinds = cards.by_kind(evidence.images)
    return {
        "charts": drawn,
        "lines": lines,
        "cards": kinds,
        "sweeps": _sweeps(told.events),
        "damaged": len(told.damaged),
    }


def _sweeps(events: Sequence[Mapping[str, Any]]) -> list[Values]:
    """What each sweep planned and did."""
    found: list[Values] = []
    for event in events:
        if event.get("event") == "sweep":
            found.append({**event, "done_passes": 0, "done_rows": 0, "worker_seconds": 0.0})
        elif event.get("event") == "batch" and found:
            found[-1]["done_passes"] += int(event.get("passes", 0))
            found[-1]["done_rows"] += int(event.get("rows", 0))
            found[-1]["worker_seconds"] += float(event.get("seconds", 0.0))
    for sweep in found:
        without = sweep.get("passes_unshared") or 0
        sweep["saved"] = 1 - sweep.get("passes", 0) / without if without else None
    return found


def failures(evidence: Evidence) -> Values:
    """Errors with the runs and images they cost, and what is missing without an error."""
    frames = [c.filter(pl.col("status") == "failed").select("run_id", "image_id", "error")
              for c in evidence.store.chunks(evidence.recipes)]  # fmt: skip
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={n: pl.String for n in ("run_id", "image_id", "error")})
    grouped = rows.sort("run_id", "image_id").group_by("run_id", "error", maintain_order=True).agg("image_id")
    lines = [
        {"label": run_label(evidence, run_id), "benchmark": evidence.entry(run_id).benchmark, "run_id": run_id,
         "error": error or "no reason given", "count": len(images), "images": images[:_IMAGES_NAMED]}
        for run_id, error, images in grouped.iter_rows()
    ]  # fmt: skip
    missing = [entry for entry in evidence.board.entries if entry.missing]
    return {"failures": sorted(lines, key=lambda line: -line["count"]), "missing": missing}


def runs(evidence: Evidence) -> Values:
    """The receipt of every run, and how it is computed again."""
    return {
        "receipts": [
            {
                "run_id": entry.run_id, "label": run_label(evidence, entry.run_id), "benchmark": entry.benchmark,
                "sections": explain.receipt(evidence, entry.run_id),
                "grid": grid_text(evidence.store, evidence.recipes[entry.run_id]),
            }
            for entry in evidence.board.entries
        ]
    }  # fmt: skip


def chart_json(chart: Chart) -> str:
    """A chart's specification as JSON that may stand in a page."""
    return in_page(chart.spec)


def in_page(content: object) -> str:
    """JSON that may stand in a page: no `<` ends the script it stands in."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
