"""Folders as labs have them come back as they were drawn, image by image, and what does not fit is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import lab_trees
import numpy as np
import pytest
import trees
import yaml
from in_process import call, door
from PIL import Image
from sklearn.metrics import confusion_matrix

from benchmarks.folder import Folder
from harness.checks.__main__ import main
from harness.contracts import Benchmark, Recipe
from harness.protocol.given import checked_sample
from harness.recipes import loading

METHOD = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Shade:
    def segment(self, image, vocabulary):
        return (image.astype(np.int64).sum(axis=2) // 3) % len(vocabulary)
"""


@pytest.mark.parametrize("name", lab_trees.LABS)
def test_a_labs_folder_comes_back_as_it_was_drawn(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    lab = lab_trees.LABS[name](tmp_path, rng)
    folder = Folder(root=str(tmp_path), **lab.settings)
    assert isinstance(folder, Benchmark) and list(folder.ids()) == sorted(lab.truths)
    for image_id in folder.ids():
        sample = folder.load(image_id)
        np.testing.assert_array_equal(sample.truth, lab.truths[image_id])
        if not str(folder.files(image_id)[0]).endswith("JPG"):
            np.testing.assert_array_equal(sample.image, lab.pictures[image_id])
        assert all(path.is_file() for path in folder.files(image_id))
    before = folder.fingerprint()
    assert Folder(root=str(tmp_path), **lab.settings).fingerprint() == before
    with folder.files(folder.ids()[0])[0].open("ab") as image:
        image.write(b"0")
    assert Folder(root=str(tmp_path), **lab.settings).fingerprint() != before


PAGE = Path(__file__).parents[2] / "docs/data/folder.md"


@pytest.mark.parametrize(("name", "lab"), [("Rivers", "nested"), ("Streets", "colours"), ("Pets", "coco")])
def test_the_page_alone_is_enough_to_read_a_labs_folder(
    tmp_path: Path, rng: np.random.Generator, name: str, lab: str
) -> None:
    """What the page writes for a tree like this one, but for where it lies."""
    drawn = lab_trees.LABS[lab](tmp_path, rng)
    block = PAGE.read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    (entry,) = [one for one in yaml.safe_load(block)["benchmarks"] if one["name"] == name]
    folder = loading.build(Recipe.of(entry["use"], **{**entry["with"], "root": str(tmp_path)}))
    assert list(folder.ids()) == sorted(drawn.truths)
    for image_id, truth in drawn.truths.items():
        np.testing.assert_array_equal(folder.load(image_id).truth, truth)


def test_folders_are_swept_from_a_grid_and_score_as_scikit_learn_does(tmp_path: Path, rng: np.random.Generator) -> None:
    labs = {name: lab_trees.LABS[name](tmp_path / "data" / name, rng) for name in ("nested", "colours", "wide", "coco")}
    benchmarks = [
        {
            "name": name,
            "use": "benchmarks.folder:Folder",
            "with": {"root": f"data/{name}", **lab_trees.written(lab.settings)},
        }
        for name, lab in labs.items()
    ]
    grid = {
        "name": "labs", "methods": [{"name": "Shade", "use": "my_shade:Shade"}], "benchmarks": benchmarks,
        "protocol": {"vocabulary": "all"},
    }  # fmt: skip
    (tmp_path / "my_shade.py").write_text(METHOD)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    answer = door("grid.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    lines = {line["benchmark"]: line for line in csv.DictReader((tmp_path / "runs" / "leaderboard.csv").open())}
    for name, lab in labs.items():
        folder = Folder(root=str(tmp_path / "data" / name), **lab.settings)
        count = len(folder.classes)
        true, given = [], []
        for image_id, truth in lab.truths.items():
            shade = (folder.load(image_id).image.astype(int).sum(2) // 3) % count + 1
            scored = (truth > 0) & (truth <= count)
            true.append(truth[scored])
            given.append(shade[scored])
        matrix = confusion_matrix(np.concatenate(true), np.concatenate(given), labels=range(1, count + 1))
        union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
        there = union > 0
        expected = 100 * np.mean(np.diag(matrix)[there].astype(np.float64) / union[there])
        assert float(lines[name]["miou"]) == pytest.approx(expected, abs=0.006), name


def test_where_a_folder_lies_and_how_its_table_was_ordered_is_in_no_id(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    lab = lab_trees.write_wide(tmp_path / "a", rng)
    recipe = Recipe.of("benchmarks.folder:Folder", root=str(tmp_path / "a"), **lab.settings)
    turned = {**lab.settings, "labels": dict(reversed(lab.settings["labels"].items()))}
    assert recipe == Recipe.of("benchmarks.folder:Folder", root=str(tmp_path / "a"), **turned)
    built = loading.build(recipe)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = loading.build(Recipe.of("benchmarks.folder:Folder", root=str(tmp_path / "b"), **lab.settings))
    assert loading.settings_of(built)["labels"][0] == ("1000", "kind 0")
    assert moved.fingerprint() and moved.classes == built.classes
    other = {**lab.settings, "labels": {**lab.settings["labels"], "999": "kind 0"}}
    assert Folder(root=str(tmp_path / "b"), **other).fingerprint() != moved.fingerprint()


RAW = np.array([[0, 1, 2, 255], [2, 1, 0, 1], [1, 1, 2, 2]])  # not square


def masks(values: np.ndarray) -> dict[str, Any]:
    """Each kind of file that holds the values 0 to 2 and 255."""
    grey = Image.fromarray(values.astype(np.uint8))
    palette = grey.copy()
    palette.putpalette(trees.voc_colours())
    wide = Image.fromarray(values.astype(np.uint16))
    same = Image.fromarray(np.repeat(values[..., None], 3, 2).astype(np.uint8))
    green = Image.fromarray(np.stack([values + 3, values, values * 0], 2).clip(0, 255).astype(np.uint8))
    return {
        "grey.png": (grey, {}, {}), "palette.png": (palette, {}, {}), "wide.png": (wide, {}, {}),
        "grey.tif": (grey, {"compression": "tiff_lzw"}, {}), "wide.tiff": (wide, {"compression": "tiff_deflate"}, {}),
        "plain.tif": (wide, {}, {}), "palette.tif": (palette, {}, {}), "grey.bmp": (grey, {}, {}),
        "int.npy": (values.astype(np.int32), None, {}), "byte.npy": (values.astype(">u2"), None, {}),
        "same.png": (same, {}, {"channel": "same"}), "green.png": (green, {}, {"channel": "green"}),
    }  # fmt: skip


@pytest.mark.parametrize("name", masks(RAW))
def test_every_kind_of_mask_is_read(tmp_path: Path, name: str) -> None:
    mask, options, settings = masks(RAW)[name]
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", RAW.shape[::-1]).save(tmp_path / "images" / f"{Path(name).stem}.webp")
    if options is None:
        np.save(tmp_path / "masks" / name, mask)
    else:
        mask.save(tmp_path / "masks" / name, **options)
    folder = Folder(root=str(tmp_path), classes=("a", "b", "c"), ignore=(255,), **settings)
    sample = checked_sample(folder.load(folder.ids()[0]), folder.ids()[0], 3)
    np.testing.assert_array_equal(sample.truth, np.where(RAW == 255, 65535, RAW + 1))


@pytest.mark.parametrize("ending", ["png", "tif", "npy"])
def test_a_binary_mask_is_0_and_1_and_0_and_255_when_it_has_8_bits(tmp_path: Path, ending: str) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    inside = RAW == 1
    Image.new("RGB", RAW.shape[::-1]).save(tmp_path / "images/x.png")
    if ending == "npy":
        np.save(tmp_path / "masks/x.npy", inside)
    else:
        Image.fromarray(inside).save(tmp_path / f"masks/x.{ending}")
    binary = Folder(root=str(tmp_path), classes=("cell",), first=1, background=(0,))
    np.testing.assert_array_equal(binary.load("x").truth, inside)
    (tmp_path / f"masks/x.{ending}").unlink()
    Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(tmp_path / "masks/x.png")
    binary = Folder(root=str(tmp_path), classes=("cell",), labels={"255": "cell"}, background=(0,))
    np.testing.assert_array_equal(binary.load("x").truth, inside)


def test_what_is_not_named_can_be_ignored_or_background(tmp_path: Path, rng: np.random.Generator) -> None:
    lab = lab_trees.write_colours(tmp_path, rng)
    settings = {**lab.settings, "classes": ("sky",), "labels": {"70 130 180": "sky"}, "ignore": ()}
    for others, mark in (("ignored", 255), ("background", 0)):
        folder = Folder(root=str(tmp_path), **{**settings, "others": others})
        for image_id, truth in lab.truths.items():
            np.testing.assert_array_equal(folder.load(image_id).truth, np.where(truth == 2, 1, mark))


def test_annotations_are_painted_by_area_renamed_and_listed(tmp_path: Path, rng: np.random.Generator) -> None:
    lab = lab_trees.write_coco(tmp_path, rng)
    (tmp_path / "list.txt").write_text("b/2.png\n")
    settings: dict[str, Any] = {"classes": ("animal",), "labels": {"cat": "animal"}, "ignore": ("dog",)}
    folder = Folder(root=str(tmp_path), **lab.settings, **settings, split="list.txt", crowds="painted")
    assert folder.ids() == ("b/2",)
    np.testing.assert_array_equal(folder.load("b/2").truth, np.array([0, 1, 255, *[9] * 252, 255])[lab.truths["b/2"]])


def test_the_smallest_object_lies_on_top_when_painted_by_area(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    boxes = {1: (2, 2, 6, 6), 2: (1, 1, 16, 12)}  # left, top, right, bottom; the second covers the first
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": n, "segmentation": [[x, y, u, y, u, v, x, v]]}
            for n, (x, y, u, v) in boxes.items()
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    truth = np.zeros((20, 30), int)
    truth[1:12, 1:16] = 2
    settings: dict[str, Any] = {"root": str(tmp_path), "images": ".", "annotations": "a.json"}
    np.testing.assert_array_equal(Folder(**settings).load("a").truth, truth)
    truth[2:6, 2:6] = 1
    np.testing.assert_array_equal(Folder(**settings, paint="area").load("a").truth, truth)
    wider = Folder(**settings, polygons="pillow", paint="area").load("a").truth
    assert ((wider == 1).sum(), (wider > 0).sum()) == (25, 16 * 12)


def test_images_without_a_mask_are_left_out_only_when_that_is_said(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    lab = lab_trees.write_nested(tmp_path, rng)
    (tmp_path / "ann_dir/val/north/a_1_lbl.png").unlink()
    folder = Folder(root=str(tmp_path), **lab.settings, unpaired="left_out")
    assert list(folder.ids()) == ["south/a_1", "south/deep.er/b"]
    assert Folder(root=str(tmp_path), **lab.settings, unpaired="left_out").ids() == folder.ids()
    assert caplog.text.count("left out 1 images without a mask (img_dir/val/north/a_1.JPG)") == 1


def test_links_to_folders_are_followed_once(tmp_path: Path, rng: np.random.Generator) -> None:
    lab = lab_trees.write_nested(tmp_path / "there", rng)
    (tmp_path / "here").mkdir()
    for name in ("img_dir", "ann_dir", "classes.txt"):
        (tmp_path / "here" / name).symlink_to(tmp_path / "there" / name)
    (tmp_path / "there/img_dir/val/south/circle").symlink_to(tmp_path / "there/img_dir/val")
    folder = Folder(root=str(tmp_path / "here"), **lab.settings)
    assert list(folder.ids()) == sorted(lab.truths)


def test_the_gate_draws_what_it_read(tmp_path: Path, rng: np.random.Generator) -> None:
    lab_trees.write_colours(tmp_path / "data", rng)
    labels = "{128 64 128: road, 70 130 180: sky, 0 0 142: car}"
    words = ["root=data", "images=*/rgb/*.tif", "masks=*/label/*_L.png", "split=lists/val.txt",
             "classes=[road, sky, car]", f"labels={labels}", "ignore=['0 0 0']"]  # fmt: skip
    answer = call(main, "benchmark", "benchmarks.folder:Folder", "--draw", "seen.png", "--with", *words, cwd=tmp_path)
    assert answer.returncode == 0, answer
    assert "Drawn in seen.png: seq1/0001, seq1/0002, seq2/0001; look whether" in answer.stdout
    sheet = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"))
    assert sheet.shape[1] > 3 * 192 and sheet.std() > 10
    assert (sheet == (230, 159, 0)).all(-1).any()  # the legend's first colour, as road is painted everywhere
    nowhere = call(main, "benchmark", "benchmarks.folder:Folder", "--draw", "no/x.png", "--with", *words, cwd=tmp_path)
    assert nowhere.returncode == 2 and "--draw no/x.png cannot be written" in nowhere.stderr
