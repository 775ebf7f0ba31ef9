"""A folder of runs of several protocols: nothing ranks or marks across them, and a table as published ranks nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.contracts import ProtocolSettings, Row
from harness.protocol.rules import effective
from results.folder import protocols
from results.folder.recipes import RunRecipe
from results.folder.store import Store
from results.report import write_report
from results.tables import averages, formats, ledger, matrices
from results.tables.cells import TableCell
from results.tables.evidence import Evidence, gather
from results.tables.matrices import Matrix, TableSpec
from results.tables.terminal import print_leaderboard

IMAGES = 40
CLASSES = ("disc", "ring")
LOOSE = {"vocabulary": "all", "background": "constant", "threshold": 0.2, "templates": ["a photo of a {}"]}
TIGHT = {**LOOSE, "threshold": 0.6}
PRINTED = """\
source,table,method,variant,dataset,miou,vocabulary,background,split,notes
A paper,results,Seg,as reported,Toys,61.5,all,scored,val,
A paper,results,Seg,as reported,Bricks,42,all,scored,val,
B readme,results,Clip,as reported,Toys,33.3,all,scored,val,
Later,others,Seg,as reported,Toys,99,all,scored,val,
"""
RUNS = {  # method, benchmark, protocol -> share of pixels that are right
    ("Seg", "Toys", "loose"): 0.8, ("Clip", "Toys", "loose"): 0.5, ("Seg", "Toys", "tight"): 0.3,
    ("Clip", "Toys", "tight"): 0.9, ("Seg", "Bricks", "loose"): 0.7, ("Clip", "Bricks", "tight"): 0.6,
}  # fmt: skip


def recipe(method: str, benchmark: str, protocol: Mapping[str, Any], called: str) -> RunRecipe:
    uses = {"use": "toy:Benchmark", "settings": {"split": "val", "name": benchmark}}
    return RunRecipe(
        f"{method}-{benchmark}-{called}", method, "", {"use": "toy:M", "settings": {"method": method}}, benchmark, uses,
        protocol, CLASSES, IMAGES,
    )  # fmt: skip


def rows(run_id: str, right: float) -> list[Row]:
    rng = np.random.default_rng([ord(letter) for letter in run_id])
    found = []
    for number in range(IMAGES):
        hits = rng.binomial(900, right, 3)
        true = [k for k in range(3) for _ in range(2)]
        guess = [given for k in range(3) for given in (k, (k + 1) % 3)]
        pixels = [count for hit in hits for count in (int(hit) + 1, 901 - int(hit))]
        found.append(Row(run_id, f"{number:03d}", "ok", 0.01, None, *map(np.array, (true, guess, pixels))))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("protocols")
    store = Store.open(folder)
    made = {key: recipe(*key[:2], LOOSE if key[2] == "loose" else TIGHT, key[2]) for key in RUNS}
    for one in made.values():
        store.write_recipe(one.run_id, one.as_dict())
    with store.writer() as writer:
        for key, right in RUNS.items():
            writer.append(rows(made[key].run_id, right), {})
    (folder / "ledger").mkdir()
    (folder / "ledger" / "mine.csv").write_text(PRINTED)
    tables: list[dict[str, Any]] = [
        {"name": "field", "rows": "method", "as_published": True, "average": True, "published": ["A paper", "results"]},
        {"name": "levels", "rows": "threshold", "columns": ["benchmark", "method"]},
        {"name": "both", "rows": ["method", "threshold"]},
    ]
    tables[0]["where"] = {"method": ["Seg", "Clip"]}
    store.set_table("g", [one.run_id for one in made.values()], tables)
    return store


@pytest.fixture(scope="module")
def evidence(store: Store) -> Evidence:
    return gather(store)


def built(evidence: Evidence, **content: Any) -> Matrix:
    spec = TableSpec.from_dict({"name": "t", "rows": "method", **content})
    return ledger.as_published(matrices.build_matrix(evidence, spec), ledger.published_numbers(evidence.store.folder))


def test_ranks_groups_and_differences_stay_within_a_protocol(evidence: Evidence) -> None:
    ranks = {entry.run_id: entry.rank for entry in evidence.board.entries}
    assert ranks == {
        "Seg-Toys-loose": 1, "Clip-Toys-loose": 2, "Clip-Toys-tight": 1, "Seg-Toys-tight": 2, "Seg-Bricks-loose": 1,
        "Clip-Bricks-tight": 1,
    }  # fmt: skip
    compared = [
        {one.better, one.worse} for column in evidence.columns for held in column.standings.by_run.values()
        if (one := held.comparison)
    ]  # fmt: skip
    assert {"Seg-Toys-loose", "Clip-Toys-loose"} in compared and {"Seg-Toys-tight", "Clip-Toys-tight"} in compared
    assert len({frozenset(pair) for pair in compared}) == 2, "no pair of two protocols"
    assert {entry.apart for entry in evidence.board.entries} == {"threshold=0.2", "threshold=0.6"}
    assert evidence.board.common == "vocabulary=all background=constant"


def test_the_terminal_shows_sections_and_names_what_differs(evidence: Evidence) -> None:
    console = Console(width=110, record=True, file=io.StringIO())
    print_leaderboard(evidence.board, console)
    text = console.export_text()
    assert text.startswith("g  vocabulary=all background=constant\n") and text.count("\nToys") == 1
    toys = text[text.index("\nToys") : text.index("\nBricks")]
    order = [line.split()[:3] for line in toys.splitlines() if re.match(r" *[12] ", line)]
    assert order == [
        ["1", "Seg", "threshold=0.2"], ["2", "Clip", "threshold=0.2"], ["1", "Clip", "threshold=0.6"],
        ["2", "Seg", "threshold=0.6"],
    ]  # fmt: skip
    assert "[threshold=0.6] " in toys and "Protocols differ in threshold: they share no column." in text


def test_a_ranked_table_has_a_column_for_each_protocol_named_by_what_differs(evidence: Evidence) -> None:
    found = built(evidence, columns="benchmark")
    assert found.columns == (
        "Toys [threshold=0.2]", "Toys [threshold=0.6]", "Bricks [threshold=0.2]", "Bricks [threshold=0.6]"
    )  # fmt: skip
    assert (
        found.cell("Seg", "Toys [threshold=0.2]").mark == "best"
        and found.cell("Clip", "Toys [threshold=0.6]").mark == "best"
    )
    assert found.cell("Seg", "Bricks [threshold=0.6]").missing == "no run"


def test_rows_that_name_the_field_share_a_column_and_no_mark(evidence: Evidence) -> None:
    levels = built(evidence, rows="threshold", columns=["benchmark", "method"])
    assert (levels.rows, levels.columns) == (("0.2", "0.6"), ("Toys Seg", "Toys Clip", "Bricks Seg", "Bricks Clip"))
    assert not levels.marked
    both = built(evidence, rows=["method", "threshold"], columns="benchmark")
    assert both.columns == ("Toys", "Bricks") and not both.marked
    alone = built(evidence, rows=["method", "threshold"], columns="benchmark", where={"threshold": 0.2})
    assert alone.marked, "one protocol, and it can be said which is best"


def test_a_table_as_published_sets_them_side_by_side_beside_printed_numbers(evidence: Evidence) -> None:
    chosen = {"where": {"method": ["Seg", "Clip"]}, "as_published": True, "average": True}
    several = built(evidence, **chosen)
    assert several.cell("Seg", "Toys").missing.startswith("2 runs fit; tell them apart in `where` by threshold")
    whole = evidence.board
    own = [entry for entry in whole.entries if entry.run_id not in ("Seg-Toys-tight", "Clip-Toys-loose")]
    kept = tuple(entry.run_id for entry in own)
    fewer = replace(evidence, board=replace(whole, entries=tuple(own), run_ids=kept))
    found = built(fewer, **chosen, published=["A paper", "results"])
    assert found.columns == ("Toys", "Bricks", "average") and not found.marked and found.differing == ("threshold",)
    assert [cell.printed for cell in found.cells[0]] == [0.615, 0.42, pytest.approx(0.5175)]
    assert [cell.printed for cell in found.cells[1]] == [pytest.approx(0.333), None, None], (
        "no average of what was not printed"
    )
    values = [cell.value for cell in found.cells[1]]
    assert values[2] == pytest.approx(((values[0] or 0) + (values[1] or 0)) / 2)
    assert found.sources == ("A paper, results", "B readme, results")
    caption = (
        "protocols differ in threshold; nothing is ranked. In brackets what was printed (A paper, results; B readme"
    )
    number = formats.shown(found.cells[0][0].value)
    for text in (formats.to_markdown(found), formats.to_latex(found), formats.to_html(found, "#")):
        assert caption in text and text.count("differ in threshold") == 1
        assert "(61.5)" in text and number in text and "99.0" not in text
    head, seg, clip = csv.reader(io.StringIO(formats.to_csv(found)))
    assert head[4:] == ["missing", "Toys published", "Bricks published", "average published", "notes"][: len(head) - 4]
    assert seg[5:8] == ["61.5000", "42.0000", "51.7500"] and clip[5:8] == ["33.3000", "", ""]
    first = built(fewer, **chosen, published="others")
    assert first.cell("Seg", "Toys").printed == 0.99 and first.cell("Clip", "Toys").printed is None
    assert built(fewer, **chosen).cell("Seg", "Toys").printed == 0.615, "of all the first that fits"


def test_the_report_keeps_protocols_apart(store: Store) -> None:
    write_report(store)
    page = (store.folder / "report" / "index.html").read_text("utf-8")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    places = [f"{name} <small>threshold={level}</small>" for name in ("Toys", "Bricks") for level in (0.2, 0.6)]
    assert titles == ["All data sets", *places]
    shown = (store.folder / "tables" / "field.md").read_text("utf-8")
    assert "(61.5)" in shown and "**" not in shown
    assert "(61.5)" in (store.folder / "report" / "tables.html").read_text("utf-8")


def test_what_protocols_have_in_common_and_what_differs_is_all_there_is() -> None:
    one, other = {**LOOSE, "names": "sclip"}, {**TIGHT, "names": "own", "templates": ["a {}"]}
    names = protocols.differing_fields([one, other])
    assert names == ("threshold", "templates", "names") and protocols.in_common([one, other]) == (
        "vocabulary=all background=constant"
    )
    assert protocols.told_apart([one, other]) == [
        'threshold=0.2 templates="a photo of a {}" names=sclip', 'threshold=0.6 templates="a {}" names=own'
    ]  # fmt: skip
    ignored = {"vocabulary": "all", "background": "ignored"}
    assert protocols.told_apart([LOOSE, TIGHT, ignored]) == [
        "background=constant threshold=0.2", "background=constant threshold=0.6", "background=ignored"
    ], "a threshold that has no effect is not told"  # fmt: skip
    assert protocols.in_common([one]) == protocols.protocol_text(one) and protocols.differing_fields([one]) == ()


def test_averages_of_rows_of_several_protocols_are_numbers_that_are_not_compared(evidence: Evidence) -> None:
    spec = TableSpec.from_dict({"name": "t", "rows": ["method", "threshold"], "columns": "benchmark", "average": True})
    matrix = matrices.build_matrix(evidence, spec)
    last = {row: line[-1] for row, line in zip(matrix.rows, matrix.cells, strict=True) if line[-1].value is not None}
    assert len(last) == 2 and all(cell.interval and not cell.mark and cell.group is None for cell in last.values())


def test_an_average_says_what_must_be_known_of_its_numbers() -> None:
    notes = {"Toys": "3 of the 9 official images; image-level labels", "Bricks": "image-level labels"}
    assert averages.joined_notes(notes) == "Toys: 3 of the 9 official images; image-level labels"
    line = [TableCell("a", 0.5, note=note) for note in notes.values()]
    assert averages._average(line, list(notes)).remark == averages.joined_notes(notes)
    seeds = [TableCell(str(n), 0.5, note="without 2 of 200 train images" * n) for n in range(2)]
    spread = matrices._over_seeds(TableSpec("t"), seeds).note
    assert spread.endswith("deviation 0.00; seed 2: without 2 of 200 train images")


def test_a_run_without_the_threshold_of_the_rows_stands_in_all_of_them(tmp_path: Path) -> None:
    """On Bricks the background is ignored, and the default of the threshold is no fact of that run."""
    store = Store.open(tmp_path)
    ignored = {"vocabulary": "all", "background": "ignored", "threshold": 0.5}
    made = [recipe("Seg", "Toys", LOOSE, "loose"), recipe("Seg", "Toys", TIGHT, "tight"),
            recipe("Seg", "Bricks", ignored, "plain")]  # fmt: skip
    for one in made:
        store.write_recipe(one.run_id, one.as_dict())
    with store.writer() as writer:
        for one, right in zip(made, (0.8, 0.3, 0.7), strict=True):
            writer.append(rows(one.run_id, right), {})
    store.set_table("g", [one.run_id for one in made], [])
    found = built(gather(store), rows=["method", "threshold"], columns="benchmark", average=True)
    assert found.rows == ("Seg 0.2", "Seg 0.6") and not found.holes
    loose, tight = found.cells
    assert loose[1].run_id == tight[1].run_id == "Seg-Bricks-plain"
    for line in found.cells:
        values = [cell.value for cell in line]
        assert values[2] == pytest.approx((values[0] + values[1]) / 2) and line[2].interval is not None
    alone = built(gather(store), rows="threshold", columns=["benchmark", "method"])
    assert alone.rows == ("0.2", "0.6") and not alone.holes


def test_the_tables_and_the_harness_know_the_same_fields_without_effect() -> None:
    rules = [ProtocolSettings(background=one, scale=scale)
             for one in ("ignored", "class", "constant", "power", "hinge_power", "prompts", "prompts_constant")
             for scale in ("minmax", "softmax", "none")]  # fmt: skip
    other = {"threshold": 0.123, "power": 7.0, "area_thd": 0.3, "scale": "other", "logit_scale": 3.0}
    for one in rules:
        idle = {
            name for name, value in other.items()
            if getattr(effective(replace(one, **({name: value} if name != "scale" else {"scale": "softmax"}))), name)
            == getattr(ProtocolSettings(), name)
        }  # fmt: skip
        assert protocols.without_effect(asdict(one)) == idle
