"""The report's pages: numbers as counted again from parquet, nothing fetched, names escaped, holes named."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recount
import toy_results
from PIL import Image as Pillow

from results import report
from results.folder import keepsakes
from results.folder.store import Store
from results.report import charts
from results.report import pages as contents
from results.report.__main__ import main
from results.tables.evidence import gather

CLASSES = len(toy_results.CLASSES)


class Tags(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def text(pages: Path, name: str) -> str:
    return (pages / f"{name}.html").read_text(encoding="utf-8")


def specs(pages: Path, name: str) -> Iterator[dict[str, Any]]:
    for found in re.findall(
        r'<script type="application/json" id="(?!choices)[^>]*>(.*?)</script>', text(pages, name), re.S
    ):
        yield json.loads(found)


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    data = spec.get("data") or spec["layer"][0]["data"]
    return list(spec["datasets"][data["name"]]) if "name" in data else list(data["values"])


def labels(benchmark: str) -> dict[str, str]:
    """Label of a run -> its id."""
    return {
        f"{recipe.method_name} {recipe.variant}".strip(): recipe.run_id
        for recipe, _ in toy_results.runs(30)
        if recipe.benchmark_name == benchmark
    }


def test_every_number_of_the_leaderboard_is_counted_again(toys: Store, pages: Path) -> None:
    rows = re.findall(r'runs\.html#(\w+)">.*?class="main">([\d.]+)</td>(.*?)</tr>', text(pages, "index"), re.S)
    assert len(rows) == 12
    for run_id, miou, rest in rows:
        total = recount.sums(toys.folder, run_id)
        assert miou == f"{float(100 * recount.miou(total, CLASSES)):.2f}"
        accuracy = re.findall(r'<td data-sort="[\d.]+">(\d+\.\d\d)</td>', rest)[1]  # a fraction may end in a 5
        assert float(accuracy) == pytest.approx(float(100 * recount.accuracy(total)), abs=0.005 + 1e-9)


def test_every_cell_of_the_heat_map_and_the_class_table_is_counted_again(toys: Store, pages: Path) -> None:
    heat = [spec for spec in specs(pages, "classes") if "iou" in values(spec)[0]]
    assert len(heat) == 2
    for benchmark, spec in zip(("Toys", "Bricks"), heat, strict=True):
        ids = labels(benchmark)
        assert len(values(spec)) == 6 * CLASSES
        for cell in values(spec):
            number = toy_results.CLASSES.index(cell["class"]) + 1
            again = recount.class_iou(recount.sums(toys.folder, ids[cell["run"]]), number)
            assert again is not None and cell["iou"] == pytest.approx(float(100 * again), abs=1e-9)


def test_every_confusion_is_counted_again(toys: Store, pages: Path) -> None:
    drawn = [spec for spec in specs(pages, "classes") if "share" in values(spec)[0]]
    for benchmark, spec in zip(("Toys", "Bricks"), drawn, strict=True):
        totals = {label: recount.sums(toys.folder, run_id) for label, run_id in labels(benchmark).items()}
        for cell in values(spec):
            true, predicted = (toy_results.CLASSES.index(cell[key]) + 1 for key in ("true", "predicted"))
            total = totals[cell["run"]]
            whole = sum(pixels for (t, _), pixels in total.items() if t == true)
            assert cell["share"] == pytest.approx(100 * total[true, predicted] / whole, abs=1e-9)


def test_the_curve_has_a_line_a_refinement_and_a_point_a_timestep(toys: Store, pages: Path) -> None:
    curves = [values(spec) for spec in specs(pages, "index")]
    assert len(curves) == 2
    for benchmark, points in zip(("Toys", "Bricks"), curves, strict=True):
        assert {(p["setting"], p["t"]) for p in points} == {
            (f"Seg refine={refine}", t) for refine in ("sar", "none") for t in (1, 300)
        }
        for point in points:
            run_id = labels(benchmark)[f"Seg timestep={point['t']} {point['setting'].removeprefix('Seg ')}"]
            again = recount.miou(recount.sums(toys.folder, run_id), CLASSES)
            assert point["miou"] == pytest.approx(float(100 * again), abs=1e-9)
            assert point["low"] < point["miou"] < point["high"]


def test_cost_is_images_over_seconds_and_passes_saved(toys: Store, pages: Path) -> None:
    page = text(pages, "cost")
    speeds = re.findall(r'data-sort="([\d.]+)">20\.0</td>', page)
    assert [float(speed) for speed in speeds] == pytest.approx([20.0] * 12)  # 0.05 seconds an image
    assert "<td>160</td><td>40</td>" in page and "75 %" in page


def test_nothing_points_outside_and_nothing_is_left_out(pages: Path) -> None:
    for page in pages.glob("*.html"):
        for tag, attributes in Tags(page.read_text(encoding="utf-8")).found:
            for name in ("src", "href"):
                target = (attributes.get(name) or "").partition("#")[0]
                assert not re.match(r"(?!data:)[a-z]+:|//", target), (page.name, tag, target)
                assert not target or target == "data:," or (pages / target).is_file(), (page.name, target)
    for spec in [*specs(pages, "index"), *specs(pages, "classes"), *specs(pages, "cost")]:
        assert "http" not in json.dumps({key: part for key, part in spec.items() if key != "datasets"})


def test_names_from_data_are_words_on_every_page(pages: Path) -> None:
    for page in pages.glob("*.html"):
        content = page.read_text(encoding="utf-8")
        found = Tags(content).found
        assert all(tag != "img" for tag, _ in found), page.name
        assert all("src" in attributes or attributes.get("type") for tag, attributes in found if tag == "script")
        assert not any(tag in ("b", "i") and page.name != "runs.html" for tag, _ in found), page.name
    assert html.escape(toy_results.EVIL) in text(pages, "classes")
    assert "&lt;i&gt;it&lt;/i&gt; gave up" in text(pages, "failures")


def test_holes_and_failures_are_named(pages: Path) -> None:
    assert text(pages, "index").count("29 of 30") == 4  # in the table of all data sets, and in that of each
    failed = text(pages, "failures")
    assert "img-0002" in failed and failed.count("<tr>") == 4  # two tables of one line under a heading
    assert "no run" in text(pages, "tables")


def test_the_browser_shows_what_is_stored(toys: Store, pages: Path) -> None:
    rooms = json.loads((pages / "rooms.js").read_text(encoding="utf-8").removeprefix("window.ROOMS = ").rstrip(";\n"))
    assert [len(room["images"]) for room in rooms] == [6, 6]
    store = {row["image_id"]: row for row in toys.rows([labels("Toys")["Clip"]]).iter_rows(named=True)}
    run = next(run for run in rooms[0]["runs"] if run["label"] == "Clip")
    for image, cell in zip(rooms[0]["images"], run["cells"], strict=True):
        own = store[image["id"]]
        total = dict(zip(zip(own["true"], own["predicted"], strict=True), own["pixels"], strict=True))
        assert cell["scores"][0] == pytest.approx(float(recount.miou(total, CLASSES)), abs=1e-4)
        for number, iou in cell["iou"].items():
            assert iou == pytest.approx(float(recount.class_iou(total, int(number)) or 0), abs=1e-4)
        _same_picture(toys, run["id"], image, cell, pages)


def _same_picture(toys: Store, run_id: str, image: dict[str, Any], cell: dict[str, Any], pages: Path) -> None:
    stored = np.asarray(Pillow.open(keepsakes.label_map_path(toys.folder, run_id, image["id"])))
    recipe = toys.recipes()[run_id]
    truth = np.asarray(Pillow.open(keepsakes.picture_paths(toys.folder, recipe.benchmark, image["id"])[1]))
    scored = (truth > 0) & (truth < 255)  # the toys ignore the background
    assert scored.any() and not scored.all()
    layers = {name: np.asarray(Pillow.open(pages / cell[name])) for name in ("map", "rest")}
    assert np.array_equal(layers["map"], np.where(scored, stored, 255))
    assert np.array_equal(layers["rest"], np.where(scored, 255, stored))
    seen = {name: np.asarray(Pillow.open(pages / cell[name]).convert("RGBA"))[..., 3] > 0 for name in layers}
    assert np.array_equal(seen["map"], scored) and not (seen["rest"] & scored).any()
    assert cell["classes"] == sorted(set(stored[scored].tolist()))
    assert cell["rest_classes"] == sorted(set(stored[~scored].tolist()))
    shown = np.asarray(Pillow.open(pages / cell["errors"]).convert("RGBA"))
    assert np.array_equal(shown[..., 3] > 0, scored)
    assert np.array_equal((shown[..., 0] > 200) & scored, (stored != truth) & scored)
    hatching = np.asarray(Pillow.open(pages / image["unscored"]).convert("RGBA"))
    sides = zip(hatching.shape[:2], truth.shape, strict=True)
    rows, columns = (((2 * np.arange(large) + 1) * small) // (2 * large) for large, small in sides)
    assert max(hatching.shape) == 640
    assert np.array_equal(hatching[..., 3] > 0, ~scored[np.ix_(rows, columns)])
    assert len(np.unique(hatching[hatching[..., 3] > 0], axis=0)) == 2  # lines and what is between them


def test_where_everything_is_scored_nothing_is_hatched(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=3, keep=1, tables=[])
    for run_id, recipe in store.raw_recipes().items():
        store.write_recipe(run_id, {**recipe, "protocol": {**recipe["protocol"], "background": "class"}})
    for path in (tmp_path / "pictures").rglob("*.png"):
        truth = np.array(Pillow.open(path))
        path.write_bytes(toy_results._png(np.where(truth == 255, 0, truth).astype(np.uint8)))
    page = report.write_report(store, partial=True).parent / "rooms.js"
    rooms = json.loads(page.read_text(encoding="utf-8").removeprefix("window.ROOMS = ").rstrip(";\n"))
    assert [image["unscored"] for room in rooms for image in room["images"]] == [None, None]
    assert all(cell["rest_classes"] == [] for room in rooms for run in room["runs"] for cell in run["cells"])
    assert not list(page.parent.rglob("*-unscored.png"))


def test_no_name_from_data_is_a_path(pages: Path) -> None:
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in pages.rglob("*"))


def test_pictures_are_made_small(tmp_path: Path) -> None:
    from results.pictures.gallery import fitted_size

    assert fitted_size((2048, 1024), 640) == (640, 320)
    assert fitted_size((30, 18), 640) == (30, 18)
    assert fitted_size((10000, 3), 640) == (640, 1)
    assert fitted_size((30, 18), 640, enlarge=True) == (640, 384)


def test_a_report_is_replaced_whole(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=4, keep=2)
    first = report.write_report(store)
    assert (first.parent / "images" / "0").is_dir()
    (first.parent / "left-over.html").write_text("old")
    before = (first.parent / "vega.js").read_bytes()
    second = report.write_report(store)
    assert second == first and not (first.parent / "left-over.html").exists()
    assert (first.parent / "vega.js").read_bytes() == before
    assert "BSD 3-Clause" in before[:300].decode()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_without_a_complete_run_the_report_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = toy_results.fill(tmp_path, images=4, keep=0, tables=[])
    for run_id, recipe in store.raw_recipes().items():
        store.write_recipe(run_id, {**recipe, "images": 9})
    assert main([str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    page = path.read_text(encoding="utf-8")
    assert "No intervals and no groups: no run has every image" in page
    assert "No label maps are kept" in (path.parent / "images.html").read_text(encoding="utf-8")
    assert main([str(tmp_path), "--partial"]) == 0
    assert "No intervals" not in path.read_text(encoding="utf-8")
    assert main([str(tmp_path / "none")]) == 2


def test_a_run_without_a_common_image_is_in_no_comparison_and_shrinks_none(tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=6, keep=0, tables=[])
    rows = store.rows()
    first = rows["run_id"].unique().sort()[0]
    apart = rows.filter((rows["run_id"] == first) == (rows["image_id"] < "img-0003"))
    for part in (tmp_path / "rows").glob("*.parquet"):
        part.unlink()
    with store.writer() as writer:
        writer.write(apart)
    evidence = gather(store, partial=True)
    assert evidence.entry(first).rank is None and evidence.entry(first).standing is None
    assert "Too few images (3) to separate any of" in report.write_report(store, partial=True).read_text(
        encoding="utf-8"
    )


def test_the_first_page_says_what_was_compared_and_all_pairs_on_request(toys: Store, tmp_path: Path) -> None:
    store = toy_results.fill(tmp_path, images=15, keep=0)
    column = gather(store, partial=True).columns[0]
    assert len(column.standings.groups) > 1
    page = report.write_report(store).read_text(encoding="utf-8")
    assert "All 4 differences from the best" in page and "differences between runs" not in page
    for words in (
        "find a difference of",
        "with a chance of 80 %",
        "one point needs about",
        "compared with the best",
    ):
        assert words in page
    page = report.write_report(store, pairs=True).read_text(encoding="utf-8")
    assert "All 10 differences between runs" in page


def test_a_chart_cannot_end_the_script_it_stands_in(toys: Store) -> None:
    evidence = gather(toys)
    chart = charts.class_heat(evidence, evidence.columns[0])
    assert "</script>" in json.dumps(chart.spec)
    assert "<" not in contents.chart_json(chart)
    assert json.loads(contents.chart_json(chart)) == chart.spec


def test_runs_of_different_data_stand_there_with_their_sentence(toys: Store) -> None:
    evidence = gather(toys)
    first, *others = evidence.board.entries
    told = "Toys: 5 images were not the same for all of 2 runs (a, <b>): files were changed."
    board = replace(evidence.board, disputes=(told,), entries=(replace(first, disputed=5), *others))
    evidence = replace(evidence, board=board)
    column = replace(evidence.columns[0], entries=(board.entries[0], *evidence.columns[0].entries[1:]))
    evidence = replace(evidence, columns=(column, *evidence.columns[1:]))
    environment, summary = report._environment(), contents.summary(evidence)
    index = environment.get_template("index.html.j2")
    shown = index.render(page="index.html", pages=report._PAGES, summary=summary, **contents.leaderboard(evidence, {}))
    assert html.escape(told) in shown and "<small>5 of other data than another run" in shown
    tables = environment.get_template("tables.html.j2")
    held = contents.tables(evidence, [], [])
    assert html.escape(told) in tables.render(page="tables.html", pages=report._PAGES, summary=summary, **held)
