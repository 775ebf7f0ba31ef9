"""Evidence goes in; Vega-Lite specifications come out, with their data inside and their colours left to the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from harness.contracts import WIDE_IGNORED
from results.counts import estimators
from results.counts.seeds import SEED
from results.folder.recipes import RunRecipe
from results.tables.evidence import Column, Evidence

Spec = dict[str, Any]
Point = tuple[float, float, str]  # a setting's value, mIoU, run id
_TEXTED = 600  # cells of a heat map up to which the numbers are written into it
_MOST_LINES = 12  # of a curve
_MOST_CHOICES = 40  # runs of a confusion to choose from, the best
_MOST_WORDS = 40  # classes up to which a confusion is drawn whole


@dataclass(frozen=True)
class Chart:
    """A specification with its title and a sentence that says what it shows."""

    title: str
    description: str
    spec: Spec


def run_label(evidence: Evidence, run_id: str) -> str:
    """Method and variant, and what tells its protocol apart."""
    return evidence.entry(run_id).name


def _labels(evidence: Evidence, column: Column) -> dict[str, str]:
    """Run id -> label, with the id where two runs of a column bear one name."""
    names = {entry.run_id: run_label(evidence, entry.run_id) for entry in column.entries}
    values = list(names.values())
    return {i: f"{name} [{i}]" if values.count(name) > 1 else name for i, name in names.items()}


def curves(evidence: Evidence, column: Column) -> list[Chart]:
    """mIoU over every setting that is a number, a line a setting of the rest; none without two values to compare."""
    settings = [evidence.recipes[entry.run_id].method.get("settings", {}) for entry in column.entries]
    names = dict.fromkeys(name for one in settings for name, value in one.items() if _is_number(value))
    series = {name: _series(evidence, column, name) for name in names if name != SEED}
    return [_curve(column, name, lines) for name, lines in series.items() if lines]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve(column: Column, name: str, series: Mapping[str, Sequence[Point]]) -> Chart:
    drawn = dict(list(series.items())[:_MOST_LINES])
    rows = [
        {"setting": label, "t": t, "miou": 100 * miou, **_bounds(column, run_id)}
        for label, points in drawn.items()
        for t, miou, run_id in points
    ]
    base = _chart(rows).encode(
        x=alt.X("t:Q", title=name, scale=alt.Scale(nice=False, padding=12, zero=False), axis=alt.Axis(tickCount=8)),
        color=alt.Color("setting:N", title=None, sort=list(drawn), legend=alt.Legend(orient="top")),
    )
    tooltip = [alt.Tooltip("setting:N"), alt.Tooltip("t:Q", title=name), *_tooltips()]
    scale = alt.Scale(zero=False)
    band = base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q", scale=scale, title="mIoU (%)"), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=alt.Y("miou:Q", scale=scale, title="mIoU (%)"))
    point = base.mark_point(filled=True, size=70, opacity=1).encode(y=alt.Y("miou:Q", scale=scale), tooltip=tooltip)
    bounded = any("low" in row for row in rows)  # Vega warns of a band without any bound
    chart = alt.layer(*([band] if bounded else []), line, point).properties(width="container", height=320)
    bands = "; bands are 95 % intervals" if bounded else ""
    first = f"; the {len(drawn)} best of {len(series)} lines" if len(drawn) < len(series) else ""
    what = f"mIoU over {name} on {column.title}, a line a setting of the rest{first}{bands}."
    return Chart(f"{name}, {column.title}", what, _spec(chart))


def _series(evidence: Evidence, column: Column, name: str) -> dict[str, list[Point]]:
    """Label -> points of the runs that differ in the setting `name` alone, two values at least; the best first."""
    found: dict[str, list[Point]] = {}
    alike: dict[str, list[RunRecipe]] = {}
    for entry in column.entries:
        recipe = evidence.recipes[entry.run_id]
        settings = recipe.method.get("settings", {})
        if entry.miou is not None and _is_number(settings.get(name)):
            rest = {key: value for key, value in settings.items() if key != name}
            alike.setdefault(json.dumps([recipe.method_name, recipe.method["use"], rest], sort_keys=True), []).append(
                recipe
            )
    alike = {k: recipes for k, recipes in alike.items() if len({r.method["settings"][name] for r in recipes}) > 1}
    names = _differing([recipes[0] for recipes in alike.values()], name)
    for recipes in alike.values():
        settings = recipes[0].method["settings"]
        label = " ".join([recipes[0].method_name, *(f"{n}={settings.get(n)}" for n in names if n in settings)])
        while label in found:  # two plug-ins of one name and setting
            label += " *"
        points = [(r.method["settings"][name], evidence.entry(r.run_id).miou or 0.0, r.run_id) for r in recipes]
        found[label] = sorted(points)
    return dict(sorted(found.items(), key=lambda one: -max(point[1] for point in one[1])))


def _differing(recipes: Sequence[RunRecipe], but: str) -> list[str]:
    """The settings besides one in which some runs differ."""
    settings = [recipe.method.get("settings", {}) for recipe in recipes]
    names = dict.fromkeys(name for one in settings for name in one if name != but)
    return [n for n in names if len({json.dumps(one.get(n)) for one in settings if n in one}) > 1]


def _bounds(column: Column, run_id: str) -> dict[str, float]:
    interval = column.interval(run_id)
    return {"low": 100 * interval[0], "high": 100 * interval[1]} if interval else {}


def _tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("miou:Q", title="mIoU", format=".2f"),
        alt.Tooltip("low:Q", title="from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
    ]


def class_heat(evidence: Evidence, column: Column) -> Chart:
    """IoU of every class (downwards) in every run (across)."""
    labels = _labels(evidence, column)
    classes = list(evidence.classes(column.entries[0].run_id))
    rows = [
        {"class": name, "run": labels[entry.run_id], "iou": 100 * float(iou)}
        for entry in column.entries
        for name, iou in zip(classes, estimators.class_iou(evidence.counts(entry.run_id)), strict=True)
        if iou == iou
    ]
    many = len(classes) > _MOST_WORDS
    base = _chart(rows).encode(
        x=alt.X("run:N", sort=list(labels.values()), title=None, axis=_across(260, many)),
        y=alt.Y("class:N", sort=classes, title=None, axis=alt.Axis(labelLimit=180)),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("run:N"), alt.Tooltip("iou:Q", title="IoU", format=".2f")],
    )
    color = alt.Color("iou:Q", title="IoU (%)", scale=alt.Scale(scheme="viridis", domain=[0, 100]))
    layers: list[Any] = [base.mark_rect().encode(color=color)]
    if len(rows) <= _TEXTED:
        ink = alt.condition("datum.iou > 62", alt.value("#111"), alt.value("#fff"))
        layers.append(base.mark_text(fontSize=11).encode(text=alt.Text("iou:Q", format=".0f"), color=ink))
    chart = alt.layer(*layers).properties(width={"step": 40}, height={"step": 14 if many else 24})
    what = f"IoU in percent of every class of {column.title} in every run."
    return Chart(f"IoU by class, {column.title}", what, _spec(chart))


def _across(limit: int, above: bool = False) -> alt.Axis:
    """An axis of long names, slanted; above the picture where that is too tall to show its lower end."""
    return alt.Axis(labelAngle=-40, labelLimit=limit, orient="top" if above else "bottom")


def confusion(evidence: Evidence, column: Column) -> Chart | None:
    """Which share of a class's pixels went to which class, for a run that is chosen; None with very many classes."""
    labels = _labels(evidence, column)
    recipe = evidence.recipes[column.entries[0].run_id]
    if len(recipe.classes) > _MOST_WORDS:
        return None
    names: Mapping[int, str] = {0: "background", **dict(enumerate(recipe.classes, start=1)), WIDE_IGNORED: "no class"}
    rows = []
    for run_id, label in list(labels.items())[:_MOST_CHOICES]:
        frame = estimators.with_shares(evidence.confusions[run_id])
        rows += [
            {"run": label, "true": names[true], "predicted": names[predicted], "share": 100 * share}
            for true, predicted, share in frame.select("true", "predicted", "share").iter_rows()
        ]
    if not rows:
        return None
    order = [name for name in names.values() if any(name in (row["true"], row["predicted"]) for row in rows)]
    runs = list(labels.values())[:_MOST_CHOICES]
    chosen = alt.param(name="run", value=runs[0], bind=alt.binding_select(options=runs, name="Run "))
    base = _chart(rows).encode(
        x=alt.X("predicted:N", sort=order, title="taken for", axis=_across(140)),
        y=alt.Y("true:N", sort=order, title="truth", axis=alt.Axis(labelLimit=140)),
        tooltip=["true:N", "predicted:N", alt.Tooltip("share:Q", title="share of the truth (%)", format=".1f")],
    )
    color = alt.Color("share:Q", title="share (%)", scale=alt.Scale(scheme="viridis", domain=[0, 100]))
    ink = alt.condition("datum.share > 62", alt.value("#111"), alt.value("#fff"))
    rects = base.mark_rect().encode(color=color)
    text = alt.Text("share:Q", format=".0f")
    texts = base.transform_filter("datum.share >= 0.5").mark_text(fontSize=11).encode(text=text, color=ink)
    layered = alt.layer(rects, texts).add_params(chosen).transform_filter("datum.run === run")
    chart = layered.properties(width={"step": 40}, height={"step": 24})
    best = f" (the {len(runs)} best runs)" if len(runs) < len(labels) else ""
    what = f"For every class of {column.title}, the share of its pixels that a run gave to each class{best}."
    return Chart(f"Words confused, {column.title}", what, _spec(chart))


def cost_chart(evidence: Evidence, column: Column, speed: Mapping[str, float]) -> Chart | None:
    """mIoU against images a second and worker, a point a run, and a line through those that none beats in both.

    speed: by run id.
    """
    rows = [
        {"run": run_label(evidence, e.run_id), "method": e.method, "speed": speed[e.run_id], "miou": 100 * e.miou}
        for e in column.entries
        if e.miou is not None and speed.get(e.run_id)
    ]
    if not rows:
        return None
    rare = alt.Axis(grid=False, tickCount=5)  # a log scale has a line for every digit otherwise
    across = alt.X("speed:Q", title="images a second (log)", scale=alt.Scale(type="log"), axis=rare)
    up = alt.Y("miou:Q", title="mIoU (%)", scale=alt.Scale(zero=False, padding=12))
    points = (
        _chart(rows)
        .mark_point(filled=True, size=90, opacity=0.9)
        .encode(
            x=across,
            y=up,
            color=alt.Color("method:N", title=None, legend=alt.Legend(orient="top")),
            shape=alt.Shape("method:N", title=None),
            tooltip=["run:N", alt.Tooltip("speed:Q", format=".3g"), alt.Tooltip("miou:Q", title="mIoU", format=".2f")],
        )
    )
    line = _chart(_unbeaten(rows)).mark_line(interpolate="step-before", strokeDash=[4, 3], color="#8a969d")
    chart = alt.layer(line.encode(x=across, y=up), points).properties(width="container", height=320)
    what = (
        f"mIoU on {column.title} against images a second of one worker, shared passes shared out; "
        "right and above the broken line is nobody."
    )
    return Chart(f"Cost, {column.title}", what, _spec(chart))


def _unbeaten(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The points that no other is as fast as and better than, or as good as and faster than; the fastest first."""
    found: list[dict[str, float]] = []
    for row in sorted(rows, key=lambda row: (-row["speed"], -row["miou"])):
        if not found or row["miou"] > found[-1]["miou"]:
            found.append({"speed": row["speed"], "miou": row["miou"]})
    return found


def _chart(rows: Sequence[Mapping[str, object]]) -> alt.Chart:
    """A chart with its data inside."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def _spec(chart: Any) -> Spec:
    """The specification as a dict, without altair's own colours and sizes, which are the page's business."""
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)  # an address that nobody asks, but that would stand in every page
    return spec
