"""Predictions made elsewhere: written by a plain loop and read back they count as if the method ran here."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_stored
import yaml
from in_process import door
from PIL import Image as Pillow
from toy_cells import Cell
from toy_world import Boxes

from benchmarks.shapes import Shapes
from harness.contracts import MethodError, ModelError, ProtocolSettings, Recipe, Row, Vocabulary
from harness.grid import reading as grids
from harness.learning import lessons
from harness.planning import plan as plans
from harness.planning.report import plan_summary
from harness.protocol.rules import effective
from harness.work.worker import ShardWorker
from methods.controls import RandomLabels
from methods.predictions import Folder
from results.folder.store import Store

NAMES = Vocabulary((("red", "crimson"), ("green",), ("blue",)))
CLASSES = ("red", "green", "blue")
WINDOWS = {"resize": "short", "size": 16, "window": 10, "stride": 6}
IMAGES = 4
GREY = np.zeros((8, 12, 3), np.uint8)
Save = Callable[[Path, Any], object]


def tiff(path: Path, found: Any) -> None:
    Pillow.fromarray(found.astype(np.uint16)).save(path)


def segments(path: Path, found: Any) -> None:
    """A segment a number, its runs down the columns, first outside; what is 6 is covered by none."""
    written = []
    for number in set(np.unique(found).tolist()) - {6}:
        inside = np.concatenate([[False], (found == number).T.ravel(), [False]])
        ends = [0, *(np.flatnonzero(inside[1:-1] != inside[:-2])).tolist(), found.size]
        runs = [after - before for before, after in pairwise(ends)]
        written.append({"category_id": number, "segmentation": {"size": list(found.shape), "counts": runs}})
    path.write_text(json.dumps(written))


SAVERS: dict[str, Save] = {
    "8.png": lambda path, found: Pillow.fromarray(found.astype(np.uint8)).save(path),
    "16.png": lambda path, found: Pillow.fromarray(found.astype(np.uint16)).save(path),
    ".tif": tiff,
    "json": segments,
    ".npy": np.save,
    ".npz": np.savez_compressed,
}


def write(folder: Path, method: Any, save: Save, ending: str, change: Callable[[Any], Any] = lambda x: x) -> None:
    """What another program does: a file an image, named by its id."""
    folder.mkdir()
    data = Boxes(IMAGES)
    for image_id in data.ids():
        answer = method.segment(data.load(image_id).image, Vocabulary(tuple((name,) for name in CLASSES)))
        save(folder / f"{image_id}{ending}", change(answer))


def rows(method: Recipe, **protocol: Any) -> list[Row]:
    (shard,) = plans.make("x", [cell(method, **protocol)], 2).shards(9)
    return [row for done in ShardWorker().run(shard) for row in done.rows]


def cell(method: Recipe, **protocol: Any) -> Cell:
    settings = effective(ProtocolSettings(**protocol))
    return replace(Cell(method), benchmark=Recipe.of("toy_world:Boxes", images=IMAGES), protocol=settings)


def counts(found: Sequence[Row]) -> list[tuple[object, ...]]:
    assert [row.status for row in found] == ["ok"] * IMAGES, [row.error for row in found]
    return [
        (row.image_id, *(np.asarray(one).tolist() for one in (row.true, row.predicted, row.pixels))) for row in found
    ]


@cache
def counts_here(labels: bool, **protocol: Any) -> list[tuple[object, ...]]:
    return counts(rows(Recipe.of("toy_stored:ByName", labels=labels), **protocol))


def stored(folder: Path, **settings: Any) -> Recipe:
    return Recipe.of("methods.predictions:Folder", root=str(folder), **settings)


SCORED = {"background": "constant", "threshold": 0.5, "scale": "none"}


@pytest.mark.parametrize("ending", SAVERS)
def test_label_maps_read_back_give_the_same_integers(ending: str, tmp_path: Path) -> None:
    method, endings = toy_stored.ByName(labels=True), {"8.png": ".png", "16.png": ".png", "json": ".json"}
    write(tmp_path / "p", method, SAVERS[ending], endings.get(ending, ending), lambda found: (found + 7) % 256)
    back = stored(tmp_path / "p", classes=CLASSES, first=7, nothing=(6,))
    for protocol in ({}, SCORED):
        expected = counts_here(True, **protocol)
        assert counts(rows(back, **protocol)) == expected
        if ending == "8.png":  # read as they are, whatever the protocol cuts
            assert counts(rows(back, **protocol, **WINDOWS)) == expected
            assert counts_here(True, **protocol, **WINDOWS) != expected


@pytest.mark.parametrize(
    "protocol",
    [
        {}, SCORED, {"vocabulary": "present"}, {"background": "constant", "threshold": 0.7},
        {"background": "power", "power": 2.0, "scale": "softmax", "logit_scale": 4.0, "vocabulary": "present"},
    ],
)  # fmt: skip
def test_scores_read_back_give_the_same_integers_under_the_same_protocol(protocol: Any, tmp_path: Path) -> None:
    write(tmp_path / "p", toy_stored.ByName(), SAVERS[".npz"], ".npz", lambda found: found[[2, 0, 1, 1]])
    labels = {"0": "blue", "1": "red", "2": "green", "3": "green"}
    for more in ({}, WINDOWS):
        found = counts(rows(stored(tmp_path / "p", labels=labels, files="*.npz"), **protocol, **more))
        assert found == counts_here(False, **protocol)


def test_a_class_that_is_not_offered_is_none_in_a_label_map() -> None:
    offered = Vocabulary((("blue",),), others=(("red", "crimson"), ("green",)))
    found = Folder(Path(), classes=("crimson", "green", "blue"))._positions(offered)
    assert found == {0: -1, 1: -1, 2: 0}
    with pytest.raises(MethodError, match="not all classes are offered: give `classes` or `labels`"):
        Folder(Path())._positions(offered)
    around = replace(NAMES, names=(*NAMES.names, ("background",)), background=3)
    assert Folder(Path(), first=1, nothing=(0,))._positions(around) == {0: -1, 1: 0, 2: 1, 3: 2}


def test_a_plug_in_is_told_the_id_and_asked_for_windows_or_once_for_the_whole() -> None:
    toy_stored.TOLD.clear()
    counts(rows(Recipe.of("toy_stored:ToldWhole"), **WINDOWS))
    data = Boxes(IMAGES)
    whole = [(image_id, data.load(image_id).image.shape) for image_id in data.ids()]
    assert whole == toy_stored.TOLD
    toy_stored.TOLD.clear()
    counts(rows(Recipe.of("toy_stored:Told"), **WINDOWS))
    assert {image_id for image_id, _ in toy_stored.TOLD} == set(data.ids())
    assert {shape for _, shape in toy_stored.TOLD} == {(10, 10, 3)} and len(toy_stored.TOLD) > IMAGES


def ones(*shape: int, kind: Any = np.uint8) -> Any:
    return np.ones(shape, kind)


@pytest.mark.parametrize(
    ("name", "content", "settings", "words"),
    [
        ("b.npy", ones(8, 12), {}, r"has no prediction of 'a': there is no a.*json \(1 files, such as b\.npy\)"),
        ("a.npy", ones(8, 11), {}, r"a\.npy is 8 x 11, and the image is 8 x 12 \(height x width\)"),
        ("a.npy", 9 * ones(8, 12), {}, r"a\.npy has the number 9 in 96 pixels, first at row 0, column 0, .* 0, 1, 2"),
        ("a.npy", -ones(8, 12, kind=int), {}, "has the number -1 in 96 pixels"),
        ("a.npy", ones(8, 12, kind=np.float32), {}, r"holds float32 of shape \(8, 12\); a label map is whole"),
        ("a.npy", ones(3, 8, 12), {}, r"holds uint8 of shape \(3, 8, 12\)"),
        ("a.npy", ones(4, 2, 3, kind=np.float16), {}, "has 4 planes, and numbers are 0, 1, 2: name the 3 too"),
        ("a.npy", ones(2, 2, 3, kind=np.float16), {}, "has no plane for 'blue', which the protocol offers"),
        ("a.npy", np.array([None]), {}, "holds Python objects, which are not read"),
        ("a.npy", b"\x93NUMPY\x01\x00", {}, "cannot be read as PNG, TIFF, NPY, NPZ or JSON"),
        ("a.npz", b"PK\x03\x04broken", {}, "cannot be read as PNG, TIFF, NPY, NPZ or JSON"),
        ("a.json", b"{}", {}, r"a\.json is no list of segments"),
        ("a.json", b'[{"category_id": 1}]', {}, "is no list of segments in COCO's form: 'segmentation'"),
        ("a.json", b'[{"category_id": 1, "segmentation": {"size": [8, 12], "counts": [9]}}]', {}, "runs cover 9 pix"),
        ("a.png", b"", {}, "cannot be read as PNG, TIFF, NPY, NPZ or JSON"),
        ("a.png", Pillow.new("RGB", (12, 8)), {}, "has the mode RGB with 8 bits; a label map has one channel"),
        ("a.npy", ones(8, 12), {"classes": ("red", "gren")}, "'gren', which is no class; did you mean 'green'"),
        ("a.npy", ones(8, 12), {"nothing": (1,)}, "number 1 is a class and under `nothing`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_sentence_with_its_file(
    name: str, content: Any, settings: Any, words: str, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif isinstance(content, Pillow.Image):
        content.save(tmp_path / name)
    else:
        np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(MethodError, match=words):
        Folder(tmp_path, **settings).segment(GREY, NAMES, "a")


@pytest.mark.parametrize("image_id", ["../a", "x/../../a", "/a", ".a", "x//a", "..", "x\\a", "a\0"])
def test_an_id_is_never_a_path_out_of_the_folder(image_id: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "a.npy", ones(8, 12))
    with pytest.raises(MethodError, match=r"could lead out of .*, so no file is read for it"):
        Folder(tmp_path / "in").segment(GREY, NAMES, image_id)


def test_ids_may_have_folders_and_files_other_names(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "x").mkdir(parents=True)
    np.save(tmp_path / "elsewhere" / "x" / "a_pred.npy", ones(8, 12))
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "linked")
    os.symlink(tmp_path / "in", tmp_path / "elsewhere" / "circle")
    assert (Folder(tmp_path / "in", files="linked/*_pred.npy").segment(GREY, NAMES, "x/a") == 1).all()
    np.savez(tmp_path / "in" / "a.npz", one=ones(8, 12), two=2 * ones(8, 12))
    with pytest.raises(MethodError, match=r"holds several arrays \(one, two\); give `array`"):
        Folder(tmp_path / "in").segment(GREY, NAMES, "a")
    assert (Folder(tmp_path / "in", array="two").segment(GREY, NAMES, "a") == 2).all()
    np.save(tmp_path / "in" / "a.npy", ones(8, 12))
    told = r"has several predictions of 'a': a\.npy and a\.npz are both there; keep one, or name the ending .*'\*\.npy'"
    with pytest.raises(MethodError, match=told):
        Folder(tmp_path / "in").segment(GREY, NAMES, "a")
    with pytest.raises(MethodError, match="a changed image has none"):
        Folder(tmp_path / "in").segment(GREY, NAMES)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"files": "a.png"}, "one \\* for the image's id"), ({"files": "../*"}, "one \\* for the image's id"),
        ({"labels": {"0": "red"}, "first": 1}, "leave out classes and first"),
        ({"labels": {"x": "red"}}, "'x' is no number"), ({"nothing": (70000,)}, "'70000' is no number"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_told_at_once(settings: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=words):
        Folder(tmp_path, **settings)


def test_what_is_not_on_this_machine_is_told_with_all_else_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no folder .*none with predictions"):
        Folder(tmp_path / "none").models_to_fetch()
    with pytest.raises(ModelError, match=r"There is no file none\.txt with classes"):
        Folder(tmp_path, classes="none.txt").models_to_fetch()
    two = GRID.replace(
        "benchmarks:", "benchmarks:\n- {name: Far, use: 'toy_rooted:Rooted', with: {root: '${NO_SUCH}/a'}}"
    )
    (tmp_path / "grid.yaml").write_text(two)
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 2 and sorted(answer.stderr.splitlines()) == [
        "Far: its root names the variable NO_SUCH, which is not set: `export NO_SUCH=FOLDER`",
        f"Theirs: There is no folder {tmp_path / 'p'} with predictions; write one, or give another root.",
    ]
    assert not (tmp_path / "runs").exists(), "a sweep that was refused leaves no folder behind"


def test_a_list_of_failures_says_how_many_more_there_are(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "grid.yaml").write_text(GRID.replace("images: 4", "images: 23"))
    answer = door("grid.yaml", cwd=tmp_path)
    lines = answer.stderr.splitlines()
    assert answer.returncode == 3 and sum(line.startswith("  1 x ") for line in lines) == 20
    assert lines[-1] == "  and 3 more reasons, of 3 image results; the report lists all."


def test_names_in_a_grid_are_one_value_and_lists_of_them_an_axis(tmp_path: Path) -> None:
    write(tmp_path / "p", toy_stored.ByName(labels=True), np.save, ".npy")
    names = GRID.replace("labels: {0: red, 1: green, 2: blue}", "classes: [red, green, blue]")
    (tmp_path / "grid.yaml").write_text(names)
    (one,) = grids.read_grid(tmp_path / "grid.yaml").cells
    assert one.method.as_dict()["classes"] == ("red", "green", "blue")
    for name in ("few", "all"):
        (tmp_path / f"{name}.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "grid.yaml").write_text(names.replace("[red, green, blue]", "[few.txt, all.txt]"))
    assert len(grids.read_grid(tmp_path / "grid.yaml").cells) == 2, "files are values by themselves"
    (tmp_path / "grid.yaml").write_text(names.replace("[red, green, blue]", "[[red, green, blue], [blue, green, red]]"))
    assert [cell.method.as_dict()["classes"][0] for cell in grids.read_grid(tmp_path / "grid.yaml").cells] == [
        "red", "blue",
    ]  # fmt: skip


def test_an_image_without_a_file_is_a_failed_row(tmp_path: Path) -> None:
    write(tmp_path / "p", toy_stored.ByName(), np.save, ".npy")
    (tmp_path / "p" / "002.npy").unlink()
    found = rows(stored(tmp_path / "p"))
    assert [row.status for row in found] == ["ok", "ok", "failed", "ok"]
    assert "has no prediction of '002': there is no 002.png" in str(found[2].error)


def test_a_file_that_changes_makes_another_run_and_is_never_read_for_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "p", toy_stored.ByName(labels=True), np.save, ".npy")

    def planned() -> Any:
        return plans.make("x", [cell(stored(tmp_path / "p", nothing=(-1,)))], 2)

    old = planned()
    os.utime(tmp_path / "p" / "001.npy")
    assert planned().runs[0].run.run_id == old.runs[0].run.run_id
    opened = Folder(tmp_path / "p", nothing=(-1,))
    opened.open_models()
    np.save(tmp_path / "p" / "001.npy", ones(9, 12))
    assert planned().runs[0].run.run_id != old.runs[0].run.run_id
    with pytest.raises(MethodError, match=r"001\.npy was changed while the sweep ran"):
        opened.segment(Boxes(2).load("001").image, NAMES, "001")
    (shard,) = old.shards(9)
    found = [row for done in ShardWorker().run(shard) for row in done.rows]
    assert {row.status for row in found} == {"failed"} and "is not what was planned" in str(found[0].error)


GRID = """\
name: elsewhere
methods:
- name: Theirs
  use: methods.predictions:Folder
  with: {root: p, labels: {0: red, 1: green, 2: blue}, nothing: [-1]}
benchmarks:
- {name: Boxes, use: 'toy_world:Boxes', with: {images: 4}}
"""


def test_a_grid_names_the_folder_and_computes_anew_what_changed(tmp_path: Path) -> None:
    write(tmp_path / "p", toy_stored.ByName(labels=True), np.save, ".npy")
    (tmp_path / "grid.yaml").write_text(GRID)
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    assert Store.open(tmp_path / "runs", create=False).rows()["run_id"].n_unique() == 1
    np.save(tmp_path / "p" / "001.npy", ones(9, 12))
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    assert Store.open(tmp_path / "runs", create=False).rows()["run_id"].n_unique() == 2
    shutil.rmtree(tmp_path / "p")
    answer = door("grid.yaml", cwd=tmp_path)
    assert (answer.returncode, "Traceback" in answer.stderr) == (2, False)
    assert "There is no folder" in answer.stderr


def test_a_learner_that_asks_about_a_changed_image_is_told_that_there_is_no_prediction() -> None:
    asked = lessons.segmented(toy_stored.Told(), GREY, "", NAMES)
    assert np.asarray(asked).shape == (8, 12) and toy_stored.TOLD[-1] == ("", (8, 12, 3))


def test_the_loop_and_the_grid_of_the_page_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "predictions.md").read_text("utf-8")
    loop, entries = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("python", "yaml"))
    shapes = {"name": "Shapes", "use": "benchmarks.shapes:Shapes", "with": {"images": 4}}
    here = {"name": "Here", "use": "methods.controls:RandomLabels", "with": {"side": 0}}
    grid = {"name": "page", "methods": [yaml.safe_load(entries)["methods"][0], here], "benchmarks": [shapes]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"protocol": {"vocabulary": "all"}}))
    (tmp_path / "loop.py").write_text(loop)
    monkeypatch.chdir(tmp_path)
    names = Vocabulary(tuple((name,) for name in Shapes().classes))
    runpy.run_path("loop.py", {"my_model": lambda image: RandomLabels(side=0).segment(image, names)})
    assert door("grid.yaml", cwd=tmp_path).returncode == 0
    kept = Store.open(tmp_path / "runs", create=False).rows().sort("run_id", "image_id")
    one, other = (part.select("true", "predicted", "pixels").to_dicts() for _, part in kept.group_by("run_id"))
    assert one == other and len(one) == 4


def test_images_without_one_file_are_told_by_the_plan(tmp_path: Path) -> None:
    for name in ("000.png", "002.png", "002.npy", "notes.txt"):
        (tmp_path / name).touch()
    assert Folder(tmp_path).unanswered(["000", "001", "002"]) == ["001", "002"]
    assert Folder(tmp_path, files="*.png").unanswered(["000", "001", "002"]) == ["001"]
    three = Recipe.of("toy_world:Boxes", images=3)
    planned = plans.make("g", [Cell(Recipe.of("methods.predictions:Folder", root=str(tmp_path)), benchmark=three)], 2)
    (line,) = [one for one in plan_summary(planned, {}, 1) if "has nothing for" in one]
    assert line.endswith("has nothing for 2 images of Boxes, which will fail: 001, 002.")
