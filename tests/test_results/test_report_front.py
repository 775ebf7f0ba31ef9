"""The report's first page in a real Chromium: runs chosen by their settings in all tables, addresses; its curves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import Chromium

from results.report import charts, settings
from results.report import pages as contents
from results.tables.evidence import Evidence

SHOWN = "[...document.querySelectorAll('{} tbody tr')].filter(r => r.getClientRects().length).map(r => r.textContent)"
FOUND = "document.getElementById('settings-found').value"


def tick(browser: Chromium, setting: str, value: str) -> None:
    """Click the box of a setting's value."""
    browser.value(f"""(() => {{
        const choice = [...document.querySelectorAll('.choice')].find(c => c.textContent.startsWith('{setting} '));
        [...choice.querySelectorAll('label')].find(l => l.textContent.trim() === '{value}').firstChild.click();
    }})()""")


def test_settings_choose_runs_in_all_tables_and_stand_in_the_address(
    browser: Chromium, pages: Path, evidence: Evidence
) -> None:
    browser.look(1366, 768)
    browser.open(pages / "index.html")
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    whole = {
        table: browser.value(SHOWN.format(table)) for table in ("#overview", "#board-1", "#board-2", "#board-1-pairs")
    }
    assert [len(rows) for rows in whole.values()] == [6, 6, 6, 4]
    tick(browser, "refine", "none")
    for table, rows in whole.items():  # who has no such setting stays
        assert browser.value(SHOWN.format(table)) == [row for row in rows if "refine=sar" not in row]
    assert browser.value(FOUND) == "8 of 12 runs"
    tick(browser, "method", "Seg")
    for table in ("#overview", "#board-1", "#board-2"):
        left = [row for row in whole[table] if "refine=none" in row]
        assert len(left) == 2 and browser.value(SHOWN.format(table)) == left
    tick(browser, "timestep", "300")
    assert browser.value(FOUND) == "2 of 12 runs"
    typed = "i => { i.value = 'timestep=1 '; i.dispatchEvent(new Event('input')); }"
    browser.value(f"({typed})(document.querySelector('[data-filter=board-1]'))")
    assert browser.value("document.querySelector('[data-count=board-1]').textContent") == "0 of 1"
    address = browser.value("location.hash")
    assert address == "#method=Seg&timestep=300&refine=none"
    browser.open(pages / "cost.html")
    browser.open(pages / "index.html", address)
    (row,) = browser.value(SHOWN.format("#board-2"))
    assert "timestep=300 refine=none" in row and browser.value(FOUND) == "2 of 12 runs"
    browser.value("document.getElementById('settings-all').click()")
    assert len(browser.value(SHOWN.format("#board-2"))) == 6 and browser.value(FOUND) == ""
    browser.value("location.hash = 'method=gone&gone=1'")
    assert len(browser.value(SHOWN.format("#board-2"))) == 6
    assert browser.complaints == [] and browser.value("window.caught") is None


def test_a_table_without_a_chosen_run_is_not_shown(browser: Chromium, pages: Path) -> None:
    browser.open(pages / "index.html")
    # As where the method was run on the other data set alone.
    browser.value("document.querySelectorAll('#board-1 tbody tr')[0].remove()")
    method = browser.value("document.querySelector('#board-2 tbody tr th a').textContent")
    rows = "[...document.querySelectorAll('#board-1 tbody tr')].filter(r => r.textContent.includes({}))"
    browser.value(f"{rows.format(json.dumps(method))}.forEach(r => r.remove())")
    tick(browser, "method", method)
    sections = "[...document.querySelectorAll('section[data-board]')].map(s => s.getClientRects().length > 0)"
    assert browser.value(sections) == [False, True]


def test_choices_are_named_and_every_run_has_its_own(evidence: Evidence) -> None:
    choices = json.loads(json.dumps(settings.choices(evidence)))
    names = dict(choices["settings"])
    assert names["timestep"] == ["1", "300"] and names["refine"] == ["none", "sar"]
    assert set(names) == {"method", "timestep", "refine"}  # what all runs share is no choice
    for entry in evidence.board.entries:
        own = dict(zip(names, choices["runs"][entry.run_id], strict=True))
        assert names["method"][own["method"]] == entry.method
        assert (own["refine"] is None) == ("refine" not in entry.variant)


def test_tables_have_anchors_of_their_names(evidence: Evidence) -> None:
    found = [column["anchor"] for column in contents.leaderboard(evidence, {})["columns"]]
    turned = replace(evidence, columns=tuple(reversed(evidence.columns)))  # another order, as after a merge
    assert [column["anchor"] for column in contents.leaderboard(turned, {})["columns"]] == found[::-1]
    assert found[0].startswith("Toys-") and found[1].startswith("Bricks-")


def test_any_setting_that_is_a_number_has_a_curve(evidence: Evidence) -> None:
    column = evidence.columns[0]
    segs = [entry for entry in column.entries if entry.method == "Seg"]
    recipes = dict(evidence.recipes)
    for power, entry in zip((0.5, 2, True, "many"), segs, strict=True):
        recipe = recipes[entry.run_id]
        method = {**recipe.method, "settings": {"power": power, "seed": 1, "size": 3, "timestep": 1}}
        recipes[entry.run_id] = replace(recipe, method=method)
    drawn = charts.curves(replace(evidence, recipes=recipes), column)
    (curve,) = drawn  # neither the seed nor what is the same everywhere
    assert curve.title == "power, Toys"
    data = curve.spec.get("data") or curve.spec["layer"][0]["data"]
    points = curve.spec["datasets"][data["name"]] if "name" in data else data["values"]
    assert [(p["t"], p["miou"]) for p in points] == [
        (power, pytest.approx(100 * (entry.miou or 0))) for power, entry in zip((0.5, 2), segs, strict=False)
    ]


def test_the_broken_line_goes_through_those_whom_none_beats() -> None:
    points = {
        "a": (1.0, 50.0),
        "b": (2.0, 40.0),
        "c": (2.0, 45.0),
        "d": (4.0, 45.0),
        "e": (8.0, 10.0),
        "f": (0.5, 49.0),
    }
    rows = [{"run": name, "speed": speed, "miou": miou} for name, (speed, miou) in points.items()]
    by_hand = [
        points[n]
        for n in points
        if not any(o != points[n] and o[0] >= points[n][0] and o[1] >= points[n][1] for o in points.values())
    ]
    found = [(row["speed"], row["miou"]) for row in charts._unbeaten(rows)]
    assert sorted(found) == sorted(by_hand) == [(1.0, 50.0), (4.0, 45.0), (8.0, 10.0)]
