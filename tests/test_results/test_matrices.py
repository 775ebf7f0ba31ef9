"""Declared tables: numbers as counted again from parquet, holes by name, marks only where separated, four formats."""

from __future__ import annotations

import csv
import io
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import recount
import toy_results
from in_process import door

from harness.errors import StoreError
from harness.grid.table_form import Score
from results.counts.standings import Standings
from results.folder.store import Store
from results.merge import merge
from results.tables import formats, matrices, significance_words
from results.tables.board_csv import leaderboard_csv
from results.tables.cells import with_groups
from results.tables.evidence import Evidence, among, gather
from results.tables.matrices import Matrix, TableCell, TableSpec


@pytest.fixture(scope="module")
def built(evidence: Evidence) -> dict[str, Matrix]:
    return {spec.name: matrices.build_matrix(evidence, spec) for spec in matrices.declared(evidence.store)}


def spec(**changes: Any) -> TableSpec:
    return TableSpec.from_dict({"name": "t", "rows": "method", "columns": "benchmark", **changes})


def test_every_number_of_every_csv_is_counted_again_from_parquet(toys: Store, built: dict[str, Matrix]) -> None:
    checked = 0
    for name, matrix in built.items():
        text = (toys.folder / "tables" / f"{name}.csv").read_text(encoding="utf-8")
        lines = list(csv.reader(io.StringIO(text)))[1:]
        for line, cells in zip(lines, matrix.cells, strict=True):
            for written, cell in zip(line[1 : 1 + len(cells)], cells, strict=True):
                if written:
                    total = recount.sums(toys.folder, cell.run_id or "")
                    accuracy = matrix.spec.value == "pixel_accuracy"
                    again = recount.accuracy(total) if accuracy else recount.miou(total, len(toy_results.CLASSES))
                    assert written == f"{float(100 * again):.4f}"
                    checked += 1
    assert checked > 30


def test_the_harness_and_the_tables_know_the_same_scores() -> None:
    assert set(get_args(Score)) == set(matrices.VALUES)


def test_holes_say_what_is_missing(built: dict[str, Matrix]) -> None:
    assert built["main"].cell("Seg+", "Toys") == TableCell(missing="no run")
    accuracy = built["accuracy"]
    assert accuracy.cell(toy_results.EVIL_METHOD, "Toys").missing == "29 of 30 images, 1 failed"
    assert accuracy.cell(toy_results.EVIL_METHOD, "Bricks").missing == "29 of 30 images"
    assert accuracy.cell(toy_results.EVIL_METHOD, "Bricks").value is None
    assert "by timestep, refine" in built["careless"].cell("Seg", "Toys").missing


def test_partial_shows_the_number_and_still_names_the_hole(toys: Store) -> None:
    matrix = matrices.build_matrix(gather(toys, partial=True), spec(rows=["method", "variant"]))
    cell = matrix.cell(toy_results.EVIL_METHOD, "Bricks")
    again = recount.miou(recount.sums(toys.folder, cell.run_id or ""), len(toy_results.CLASSES))
    assert cell.value == pytest.approx(float(again), abs=1e-12)
    assert cell.missing == "29 of 30 images"


def test_order_and_words_are_those_of_the_declaration(evidence: Evidence, built: dict[str, Matrix]) -> None:
    assert built["main"].rows == ("Seg", "Clip", "Seg+")
    assert built["refinement"].rows == ("w/ SAR", "w/o SAR")
    assert built["refinement"].columns == ("Toys 1", "Toys 300", "Bricks 1", "Bricks 300")
    turned = matrices.build_matrix(
        evidence, spec(where={"benchmark": ["Bricks", "Toys"], "refine": "sar", "timestep": 1})
    )
    assert turned.columns == ("Bricks", "Toys")


def test_a_run_without_the_setting_of_the_rows_is_not_in_the_table(built: dict[str, Matrix]) -> None:
    assert all(cell.run_id for line in built["refinement"].cells for cell in line)
    assert len(built["refinement"].cells) == 2


def test_a_setting_that_no_run_has_is_refused_with_the_nearest(evidence: Evidence) -> None:
    with pytest.raises(StoreError, match="'t' speaks of 'refin', which no run has; did you mean 'refine'"):
        matrices.build_matrix(evidence, spec(rows="refin"))
    with pytest.raises(StoreError, match="'mio', which nobody computes; did you mean 'miou'"):
        spec(value="mio")


def test_best_and_second_are_marked_only_where_separated(evidence: Evidence, built: dict[str, Matrix]) -> None:
    main = built["main"]
    assert [main.cell(row, "Toys").mark for row in ("Seg", "Clip")] == ["best", "second"]
    assert not any(cell.mark for line in built["accuracy"].cells for cell in line)  # no intervals for this score
    column, seg = evidence.columns[0], main.cell("Seg", "Toys")
    alone = with_groups(among(column, [seg.run_id or ""]), {seg.run_id or "": replace(seg, mark="")})
    assert [(cell.mark, cell.group) for cell in alone.values()] == [("", 1)]  # it is separated from nobody
    assert among(replace(column, standings=Standings(why="none")), [seg.run_id or ""]) == ()


def test_an_average_over_data_sets_has_the_interval_of_independent_draws(toys: Store, evidence: Evidence) -> None:
    wanted = spec(rows=["method", "variant"], average=True)
    matrix = matrices.build_matrix(evidence, wanted)
    assert matrix.columns == ("Toys", "Bricks", "average")
    for line in matrix.cells[:-1]:
        first, second, last = line
        assert first.interval and second.interval and last.interval
        assert last.value == pytest.approx(((first.value or 0) + (second.value or 0)) / 2, abs=1e-15)
        halves = [(high - low) / 2 for low, high in (first.interval, second.interval, last.interval)]
        assert halves[2] == pytest.approx(np.hypot(*halves[:2]) / 2, rel=0.1)
    assert matrix.cells[-1][-1] == TableCell(missing="0 of 2 data sets")  # the one with holes
    assert [line[-1].mark for line in matrix.cells if line[-1].group == 1] == ["best"]
    assert matrix.cells[0][-1].group == 1 and all((line[-1].p or 0) <= 1 for line in matrix.cells)
    with pytest.raises(StoreError, match="averages over benchmark, timestep; an average is one over data sets"):
        spec(columns=["benchmark", "timestep"], average=True)


def test_seeds_are_one_cell_with_their_spread_and_parts_are_marked(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=12, keep=0)
    for place, (run_id, recipe) in enumerate(store.raw_recipes().items()):
        if recipe["method_name"] == "Seg":
            settings = {**recipe["method"]["settings"], "timestep": 1, "refine": "sar", "seed": place}
            changed = {"method": {**recipe["method"], "settings": settings}, "variant": f"refine=sar seed={place}"}
            store.write_recipe(run_id, {**recipe, **changed, "official_images": 1449})
    evidence = gather(store)
    seg = [entry for entry in evidence.board.entries if entry.method == "Seg" and entry.benchmark == "Toys"]
    values = [100 * (entry.miou or 0) for entry in seg]
    said = f"mean of 4 seeds, standard deviation {statistics.stdev(values):.2f}; 12 of the 1449 official images"
    apart = matrices.build_matrix(evidence, spec(rows=["method", "variant"]))
    assert len([row for row in apart.rows if row.startswith("Seg")]) == 8  # four a benchmark
    assert apart.cell(f"Seg {seg[0].variant}", "Toys").note == "12 of the 1449 official images"
    for wanted in (spec(rows=["method", "variant"], seeds="together"), spec()):
        matrix = matrices.build_matrix(evidence, wanted)
        (row,) = [row for row in matrix.rows if row.startswith("Seg")]
        cell = matrix.cell(row, "Toys")
        assert cell.value == pytest.approx(statistics.fmean(values) / 100) and cell.note == said
        assert cell.missing == "" and not cell.mark
        texts = [form(matrix) for form in (formats.to_csv, formats.to_html, formats.to_markdown)]
        assert all("mean of 4 seeds" in text and "of the 1449 official images" in text for text in texts)


def test_two_equal_runs_bear_no_mark(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=12, keep=0)
    rows = store.rows()
    recipes = {r.run_id: r for r, _ in toy_results.runs(12) if r.benchmark_name == "Toys" and r.method_name != "Seg"}
    first, second = list(recipes)
    copied = rows.filter(rows["run_id"] == first).with_columns(run_id=rows["run_id"].filter(rows["run_id"] == first))
    for path in (tmp_path / "rows").glob("*.parquet"):
        path.unlink()
    with store.writer() as writer:
        for run_id in (first, second):
            writer.write(copied.with_columns(run_id=copied["run_id"].replace(first, run_id)))
    store.set_table("twins", [first, second])
    matrix = matrices.build_matrix(gather(store), spec())
    assert matrix.cells[0][0].value == matrix.cells[1][0].value
    assert not matrix.marked


def test_markdown(built: dict[str, Matrix]) -> None:
    text = formats.to_markdown(built["main"])
    seg = built["main"].cell("Seg", "Toys").value or 0
    assert f"| Seg | **{100 * seg:.1f}** |" in text
    assert "| Seg+ | –<sup>a</sup> | –<sup>a</sup> |" in text
    assert "\n<sup>a</sup> no run  \n" in text
    assert "&lt;more&gt;" in text and "<more>" not in text


def test_latex_is_booktabs_with_every_special_sign_escaped(built: dict[str, Matrix]) -> None:
    text = formats.to_latex(built["main"])
    best, second = (built["main"].cell(row, "Toys").value or 0 for row in ("Seg", "Clip"))
    assert rf"\textbf{{{100 * best:.1f}}}" in text
    assert rf"\underline{{{100 * second:.1f}}}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"))
    assert r"50 \% of \{methods\} \& \textless{}more\textgreater{}." in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 4 and all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)


def test_html_escapes_what_comes_from_data(built: dict[str, Matrix]) -> None:
    text = formats.to_html(built["careless"])
    assert "<img" not in text and "&lt;img src=x onerror=" in text


def test_numbers_are_the_same_in_all_four_formats(toys: Store, built: dict[str, Matrix]) -> None:
    for name, matrix in built.items():
        expected = [f"{100 * c.value:.1f}" for line in matrix.cells for c in line if c.value is not None]
        for ending, number in (("md", r"\d+\.\d(?!\d)"), ("tex", r"\d+\.\d(?!\d)"), ("html", r">(\d+\.\d)<")):
            text = (toys.folder / "tables" / f"{name}.{ending}").read_text(encoding="utf-8")
            body = text.split("midrule")[-1] if ending == "tex" else text.split("--:")[-1]
            body = re.split(r"bottomrule|<sup>a</sup> ", body)[0] if ending == "tex" else body
            assert re.findall(number, re.sub(r"<small.*?</small>", "", body))[: len(expected)] == expected


def test_a_folder_without_declared_tables_has_the_one_of_everything(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=4, keep=0, tables=[])
    assert [one.name for one in matrices.declared(store)] == ["matrix"]


def test_the_grid_hands_its_tables_to_the_folder(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "name: g\nmethods:\n- {name: One, use: 'methods.controls:OneClass', with: {position: [0, -1]}}\n"
        "benchmarks:\n- {name: S, use: 'benchmarks.shapes:Shapes', with: {images: 3}}\n"
        "tables:\n- {name: positions, rows: position, columns: benchmark, labels: {'0': first, '-1': last}}\n"
    )
    done = door("grid.yaml", "--results", "r", cwd=tmp_path, report=True)
    header = (tmp_path / "r" / "tables" / "positions.csv").read_text().splitlines()[0]
    assert header == "position,S,missing,S low,S high,S group,S p,notes"
    assert [line.split(",")[0] for line in (tmp_path / "r/tables/positions.csv").read_text().splitlines()[1:]] == [
        "first", "last",
    ]  # fmt: skip
    assert done.stdout.rstrip().splitlines()[-1] == "r/report/index.html"


def test_merged_folders_keep_the_tables_of_both(tmp_path: Path) -> None:
    halves = [toy_results.TABLES[:2], toy_results.TABLES[1:]]
    stores = [toy_results.fill(tmp_path / f"{n}", images=2, keep=0, tables=half) for n, half in enumerate(halves)]
    joined = []
    for place, order in enumerate((stores, stores[::-1])):
        target = Store(tmp_path / f"joined{place}")
        merge(order, target)
        joined.append(target.table())
    assert joined[0] == joined[1] and joined[0] is not None
    assert [table["name"] for table in joined[0].tables] == ["accuracy", "careless", "main", "refinement"]


def test_below_a_table_stands_what_was_compared(evidence: Evidence, built: dict[str, Matrix]) -> None:
    """A sentence a data set in all formats for people, with the numbers of its own comparison; none in CSV."""
    main = built["main"]
    assert [words.partition(":")[0] for words in main.told] == list(main.columns)
    for column, words in zip(main.columns, main.told, strict=True):
        runs = [line[main.columns.index(column)].run_id for line in main.cells]
        home = next(one for one in evidence.columns if one.benchmark == column)
        assert home.effects is not None
        taking_part = [run_id for run_id in runs if run_id in home.effects.run_ids]
        (first, *_) = among(home, taking_part)
        assert (
            f"{len(taking_part)} runs, each compared with the best over the same {home.effects.images} images" in words
        )
        assert f"{len(first.run_ids) - 1} of the others" in words or "it is separated from all others" in words
        assert words.endswith(f"one point needs about {significance_words._round(first.needed):,}.")
        for form in (formats.to_markdown, formats.to_latex, formats.to_html):
            assert "each compared with the best over the same" in form(main)
        assert "each compared" not in formats.to_csv(main)
    (said,) = built["accuracy"].told
    assert said.startswith("Only mIoU is compared over images")


def test_the_images_that_one_point_needs_stand_in_the_leaderboard(evidence: Evidence) -> None:
    lines = csv.DictReader(leaderboard_csv(evidence.board).splitlines())
    needed = {line["run_id"]: line["needed"] for line in lines}
    for column in evidence.columns:
        for group in column.standings.groups:
            for run_id in group.run_ids:
                assert needed[run_id] == ("" if group.needed is None else str(group.needed))
