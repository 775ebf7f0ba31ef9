"""Python's own doors: a grid as a mapping, any method on one picture, and a results folder as frames."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from in_process import as_it_was, door
from PIL import Image
from toy_world import Boxes, Flat, ToyReader

import harness
import results
from benchmarks.shapes import Shapes
from harness.errors import HarnessError
from methods.pamr import PAMR
from results.folder import keepsakes
from results.folder.store import Store
from results.tables.frames import Results

WINDOWS = {"vocabulary": "all", "background": "constant", "threshold": 0.4, "window": 72, "stride": 48}
METHODS = {
    "StableSeg": ("methods.stableseg:StableSeg", {"model": "shapes", "timestep": 100, "refine": "sar"}),
    "MaskCLIP": ("methods.maskclip:MaskCLIP", {"model": "shapes"}),
    "PAMR": ("methods.pamr:PAMR", {"method": "methods.maskclip:MaskCLIP(model=shapes)", "iterations": 2}),
    "OneClass": ("methods.controls:OneClass", {}),
}
TOYS: dict[str, Any] = {
    "name": "toys",
    "methods": [
        {"name": "Reader", "use": "toy_world:ToyReader", "with": {"timestep": [1, 100]}},
        {"name": "Flat", "use": "toy_world:Flat", "with": {"position": 1}},
    ],
    "benchmarks": [{"name": "Boxes", "use": "toy_world:Boxes", "with": {"images": 12}}],
    "protocol": {"vocabulary": "all"},
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("toys")
    with as_it_was(folder):
        return harness.run_grid(TOYS, folder / "runs", local=True, report=False, quiet=True)


def test_a_mapping_is_the_same_grid_as_its_file(toys: Results, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "name: toys\nmethods:\n- {name: Reader, use: 'toy_world:ToyReader', with: {timestep: [1, 100]}}\n"
        "- {name: Flat, use: 'toy_world:Flat', with: {position: 1}}\nbenchmarks:\n"
        "- {name: Boxes, use: 'toy_world:Boxes', with: {images: 12}}\nprotocol: {vocabulary: all}\n"
    )
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    written = (toys.evidence.store.folder / "leaderboard.csv").read_bytes()
    assert (tmp_path / "runs" / "leaderboard.csv").read_bytes() == written
    with as_it_was(tmp_path):
        again = harness.run_grid(TOYS, "runs", local=True, report=False, quiet=True)  # all is stored
        file = harness.run_grid("grid.yaml", local=True, report=False, quiet=True)
    assert again.leaderboard.equals(file.leaderboard)
    assert (tmp_path / "runs" / "leaderboard.csv").read_bytes() == written


def test_classes_paths_tuples_and_numpy_stand_for_what_a_file_says(tmp_path: Path) -> None:
    with as_it_was(tmp_path):
        found = harness.run_grid(
            {
                "name": "toys",
                "methods": ({"name": "Reader", "use": ToyReader, "with": {"timestep": (np.int64(1), 100)}},),
                "benchmarks": [{"name": "Boxes", "use": Boxes, "with": {"images": np.int32(3)}}],
            },
            tmp_path / "runs",
            local=True,
            report=False,
            quiet=True,
        )
    assert found.leaderboard["timestep"].sort().to_list() == [1, 100]
    assert set(found.leaderboard["images"]) == {3}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"methods": [{"name": "A", "use": "toy_world:Flat", "with": {"positon": 1}}]},
         "methods[0].with.positon: toy_world:Flat has no setting 'positon'; did you mean 'position'?"),
        ({"benchmark": []}, "benchmark: the grid has no key 'benchmark'; did you mean 'benchmarks'?"),
        ({"methods": None}, "methods: methods must be a list, not empty"),
        ({"batch": {1}}, "batch: something of type set cannot stand in a grid"),
        ({"batch": float("nan")}, "batch: nan and infinite numbers are no values: no recipe can hold them"),
        ({"methods": [{"name": "A", "use": type("Mine", (), {"__module__": "__main__"})}]},
         "methods[0].use: no worker can import the class Mine from where it is defined; save it in a file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mapping_is_told_with_its_way(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with as_it_was(tmp_path), pytest.raises(HarnessError) as told:
        harness.run_grid({**TOYS, **changed}, tmp_path / "runs", local=True)
    assert str(told.value).startswith(says) and not (tmp_path / "runs").exists()


def test_a_grid_that_lacks_something_and_numbers_that_are_none(tmp_path: Path) -> None:
    with as_it_was(tmp_path):
        with pytest.raises(HarnessError, match=r"^the grid: the grid needs the key 'name'"):
            harness.run_grid({"methods": TOYS["methods"], "benchmarks": TOYS["benchmarks"]}, "runs")
        for name in ("workers", "limit"):
            with pytest.raises(HarnessError, match=f"^{name} is 0; give a whole number, 1"):
                harness.run_grid(TOYS, "runs", **{name: 0})  # type: ignore[arg-type]
        held: dict[str, Any] = {}
        held["itself"] = held
        with pytest.raises(HarnessError, match="nested too deep"):
            harness.run_grid(held, "runs")


def test_failed_images_are_rows_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moody = {"name": "Moody", "use": "toy_world:Moody"}
    with as_it_was(tmp_path):
        found = harness.run_grid({**TOYS, "methods": [moody]}, "runs", local=True, report=False, quiet=True)
    assert found.leaderboard["failed"].to_list() == [4] and found.leaderboard["rank"].to_list() == [None]
    assert found.rows.filter(pl.col("status") == "failed")["error"].str.contains("no mood for this").all()
    told = capsys.readouterr()
    assert "4 image results failed" in told.err and not told.out


def test_the_leaderboard_is_leaderboard_csv_with_settings_beside_variant(toys: Results) -> None:
    with (toys.evidence.store.folder / "leaderboard.csv").open() as file:
        lines = list(csv.DictReader(file))
    frame = toys.leaderboard
    assert frame.columns == list(lines[0])
    assert frame.columns[-5:] == ["timestep", "part", "refine", "fails_on", "position"]  # as the grid has them
    assert frame["miou"].to_list() == [float(line["miou"]) for line in lines]
    assert frame.schema["timestep"] == pl.Int64 and frame.schema["variant"] == pl.String
    names = ["run_id", "method", "variant", "benchmark"]
    assert frame.join(toys.classes, on=names, how="semi").height == frame.height  # also where there is no variant
    assert "" in frame["variant"]
    flat = frame.row(by_predicate=pl.col("method") == "Flat", named=True)
    assert flat["position"] == 1 and flat["timestep"] is None
    pivot = frame.drop_nulls("timestep").pivot(on="timestep", index="refine", values="miou")
    assert pivot.columns == ["refine", "1", "100"] or pivot.columns == ["refine", "100", "1"]
    assert toys._repr_html_().startswith("<") and repr(toys).endswith("3 runs on 1 data set>")


def test_a_setting_called_like_a_column_has_a_name_of_its_own(toys: Results) -> None:
    from dataclasses import replace

    from harness.contracts import FrozenDict
    from results.tables.board_csv import leaderboard_csv

    board = toys.evidence.board
    entries = tuple(replace(one, settings=FrozenDict(images="3", own="null")) for one in board.entries)
    head = leaderboard_csv(replace(board, entries=entries)).partition("\n")[0]
    assert head.endswith(",supervision,needed,with.images,own")


def test_rows_and_classes_add_up_to_the_leaderboard(toys: Results) -> None:
    stored = Store.open(toys.evidence.store.folder).rows()
    assert toys.rows.select("run_id", "image_id", "true", "predicted", "pixels").equals(
        stored.select("run_id", "image_id", "true", "predicted", "pixels")
    )
    for line in toys.leaderboard.iter_rows(named=True):
        rows = toys.rows.filter(pl.col("run_id") == line["run_id"])
        sums: dict[tuple[int, int], int] = {}
        for true, predicted, pixels in rows.select("true", "predicted", "pixels").iter_rows():
            for pair, count in zip(zip(true, predicted, strict=True), pixels, strict=True):
                sums[pair] = sums.get(pair, 0) + count
        own = toys.classes.filter(pl.col("run_id") == line["run_id"])
        assert own["class"].to_list() == ["red", "green", "blue"]
        for number, one in enumerate(own.iter_rows(named=True), start=1):
            labelled = sum(count for (true, _), count in sums.items() if true == number)
            predicted = sum(count for (_, guess), count in sums.items() if guess == number)
            inside = sums.get((number, number), 0)
            assert (one["labelled"], one["predicted"], one["intersection"]) == (labelled, predicted, inside)
            assert one["union"] == labelled + predicted - inside
            assert one["iou"] == pytest.approx(100 * inside / one["union"]) if one["union"] else one["iou"] is None
        assert own["iou"].mean() == pytest.approx(line["miou"], abs=1e-4)
        assert rows["image_miou"].mean() == pytest.approx(line["image_miou"], abs=1e-4)
        assert rows.select("method", "variant", "benchmark").unique().height == 1


def test_differences_are_those_of_pairs_csv(toys: Results) -> None:
    scores = dict(toys.leaderboard.select("run_id", "miou").iter_rows())
    assert toys.differences.height == 3
    for pair in toys.differences.iter_rows(named=True):
        assert pair["difference"] == pytest.approx(scores[pair["better"]] - scores[pair["worse"]], abs=2e-4)
        assert pair["low"] <= pair["difference"] <= pair["high"] and 0 < pair["p"] <= 1
    assert set(toys.differences["worse_name"]) <= {"Flat", "Reader timestep=1", "Reader timestep=100"}


def test_a_folder_without_results_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="does not exist"):
        results.load(tmp_path / "none")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Four kinds of methods, whole images in windows, batches of one; label maps are kept."""
    folder = tmp_path_factory.mktemp("shapes")
    grid = {
        "name": "shapes",
        "methods": [{"name": name, "use": use, "with": settings} for name, (use, settings) in METHODS.items()],
        "benchmarks": [{"name": "Shapes", "use": Shapes, "with": {"images": 1}}],
        "protocol": WINDOWS,
        "batch": 1,
        "keep": {"label_maps": 2},
    }
    with as_it_was(folder):
        return harness.run_grid(grid, folder / "runs", local=True, report=False, quiet=True)


@pytest.mark.parametrize("name", METHODS)
def test_one_picture_is_decided_as_in_a_sweep(name: str, shapes: Results) -> None:
    (use, settings), data = METHODS[name], Shapes(images=1)
    run_id = shapes.leaderboard.row(by_predicate=pl.col("method") == name, named=True)["run_id"]
    for image_id in data.ids():
        sample = data.load(image_id)
        found = harness.segment(use, sample.image, data.classes, protocol=WINDOWS, image_id=image_id, **settings)
        path = keepsakes.label_map_path(shapes.evidence.store.folder, run_id, image_id)
        kept = keepsakes.read_map(path).astype(np.int64)
        assert np.array_equal(np.where((kept == 0) | (kept == 65535), -1, kept - 1), found.label_map)
        assert found.label_map.shape == sample.truth.shape and found.names == data.classes


def test_the_decision_is_the_scores_best(tmp_path: Path) -> None:
    sample = Shapes(images=2).load("mixed-000001")
    Image.fromarray(sample.image).save(tmp_path / "one.png")
    names = [["circle", "disc"], "star", "square"]
    given = {"method": "methods.maskclip:MaskCLIP(model=shapes)", "iterations": 1}
    found = harness.segment(PAMR, tmp_path / "one.png", names, **given)
    assert found.scores is not None and found.scores.shape == (3, *sample.truth.shape)
    assert np.array_equal(found.scores.argmax(axis=0), found.label_map) and found.names == ("circle", "star", "square")
    assert list(found.shares().values()) == sorted(found.shares().values(), reverse=True)
    assert sum(found.shares().values()) == pytest.approx(1)


def test_what_it_shows_is_the_picture_under_the_classes_colours() -> None:
    from results.pictures.colours import colour

    image = np.full((20, 30, 3), 200, np.uint8)
    found = harness.segment("toy_world:Flat", image, ["red", "green"], position=1)
    assert found.scores is None and (found.label_map == 1).all()
    shown = found.overlay()
    times = shown.width // 30
    pixel = np.array(shown.getpixel((8 + 15 * times, 6 + 10 * times)))
    assert np.abs(pixel - (0.25 * 200 + 0.75 * np.array(colour(2)))).max() <= 2
    assert shown.height > 20 * times + 20  # the legend stands below
    assert found._repr_png_().startswith(b"\x89PNG") and "30 x 20" in repr(found)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda image: harness.segment(None, image, ["red"]), "the method is None; give an address module:Class"),
        (lambda image: harness.segment("toy_world:Flat", image, "red"), "names is one text, 'red'; give a list"),
        (lambda image: harness.segment("toy_world:Flat", image, []), "names must be a list of one or more names"),
        (lambda image: harness.segment("toy_world:Flt", image, ["a"]), "did you mean 'Flat'"),
        (lambda image: harness.segment(Flat, image, ["a"], place=1), "has no setting 'place'"),
        (lambda image: harness.segment(Flat, image / 255, ["a"]), "is an array of float64 (4, 6, 3); give a file"),
        (lambda image: harness.segment(Flat, "none.png", ["a"]), "none.png cannot be read as a picture: No such file"),
        (lambda image: harness.segment(Flat, image, ["a"], protocol={"vocabulary": "present"}), "has no truth"),
        (lambda image: harness.segment(Flat, image, ["a"], protocol={"windw": 3}), "did you mean 'window'"),
        (lambda image: harness.segment(Flat, image, ["a"], protocol={"background": "constant", "threshold": [0, 1]}),
         "give one value"),
        (lambda image: harness.segment("toy_world:Moody", image, ["a"], on_height=4), "no mood for this"),
        (lambda image: harness.segment("toy_learners:Colours", image, ["a"], teacher="t"), "once it has learned"),
        (lambda image: harness.segment("toy_world:Boxes", image, ["a"]), "cannot be used as a method"),
    ],
)  # fmt: skip
def test_what_cannot_be_segmented_is_a_sentence(ask: Any, says: str, tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    with as_it_was(tmp_path), pytest.raises(HarnessError) as told:
        ask(image)
    assert says in str(told.value) and len(str(told.value).splitlines()) == 1


def test_noise_is_drawn_by_the_images_name(tmp_path: Path) -> None:
    """As in a sweep: a file's name without its ending is the id, which can be given by itself."""
    sample, (use, settings) = Shapes(images=2).load("mixed-000000"), METHODS["StableSeg"]
    path = tmp_path / "mixed-000000.png"
    Image.fromarray(sample.image).save(path)
    named, given, other = (
        harness.segment(use, image, ["star", "square"], image_id=image_id, **settings).scores
        for image, image_id in ((path, None), (sample.image, "mixed-000000"), (sample.image, None))
    )
    assert named is not None and given is not None and other is not None
    assert np.array_equal(named, given) and not np.array_equal(named, other)


def test_the_page_says_what_runs(tmp_path: Path) -> None:
    """docs/api.md: its snippets, one after another, as a reader would run them."""
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text("utf-8")
    Image.fromarray(Shapes(images=2).load("mixed-000000").image).save(tmp_path / "street.jpg")
    space: dict[str, Any] = {}
    with as_it_was(tmp_path):
        for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(snippet.replace('"images": 12', '"images": 2'), space)
    assert isinstance(space["board"], Results) and space["found"].label_map.shape == (112, 96)
    assert all(f"`found.{name}" in page for name in ("label_map", "scores", "overlay()", "shares()"))
    assert all(f"| `{name}` |" in page for name in ("leaderboard", "rows", "classes", "differences"))


def test_the_notebook_says_what_runs(tmp_path: Path) -> None:
    """docs/notebooks/first_look.ipynb was run from its first cell to its last, and runs today."""
    page = json.loads((Path(__file__).parent.parent / "docs" / "notebooks" / "first_look.ipynb").read_text("utf-8"))
    cells = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell["outputs"] for kind in output["data"]}
    assert kinds == {"text/plain", "image/png", "text/html"}
    space: dict[str, Any] = {}
    few = {'"images": 24': '"images": 2'}  # the numbers are another test's
    with as_it_was(tmp_path):
        for cell in cells:
            code = "".join(cell["source"])
            for long, short in few.items():
                code = code.replace(long, short)
            exec(code, space)
    written = json.dumps(page["cells"])
    assert str(Path(__file__).parents[1]) not in written and str(Path.home()) not in written
    assert space["board"].leaderboard.height == 6


def test_torch_is_as_it_was() -> None:
    import torch

    before = torch.backends.mkldnn.enabled, torch.is_grad_enabled(), torch.get_num_threads()
    harness.segment("methods.maskclip:MaskCLIP", np.zeros((40, 60, 3), np.uint8), ["circle"], model="shapes")
    assert (torch.backends.mkldnn.enabled, torch.is_grad_enabled(), torch.get_num_threads()) == before
